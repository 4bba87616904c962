"""The backbone beside the published ones, and beside itself asked for one position at a time."""

import re
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from iclgd.analysis.sensitivity import predict_with_sensitivity
from iclgd.models import faster_modules
from iclgd.models.every_position import EveryPositionLearner
from iclgd.models.faster_modules import OneDNNConv1D
from iclgd.models.function_transformer import FunctionTransformer, FunctionTransformerConfig
from iclgd.vendors.transformers import Conv1D
from tests.fixtures import assert_close
from tests.function_references import arrays, numbers
from tests.published_backbones import garg_weights, published_model

TOLERANCE, OF_GRADIENTS = 3e-6, 5e-5
INITS = ("default_init", "random")
SMALL = FunctionTransformerConfig(num_layers=2, num_heads=2, hidden_size=8)


def small(layout: str, num_points: int = 7) -> FunctionTransformer:
    config = replace(SMALL, layout=layout, init_scale=0.5)
    return FunctionTransformer(config, 3, num_points, torch.Generator().manual_seed(1)).double()


def prompts(num_points: int = 6) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x, query = torch.randn(2, 4, num_points, 3, generator=generator, dtype=torch.float64)
    return x, torch.randn(4, num_points, generator=generator, dtype=torch.float64), query


@pytest.mark.parametrize("init", INITS)
def test_tokens_of_one_width_are_read_as_published(init: str) -> None:
    stored = arrays(f"C5_transformer_{init}")
    model, x, y = published_model(stored, "garg2022"), stored["xs"], stored["ys"]
    tokens = model.tokens(x, y)
    assert torch.equal(tokens, stored["tokens"])
    assert_close(model.read_in(tokens), stored["embeddings"], TOLERANCE)
    states = model.hidden_states(tokens)
    assert_close(states, stored["last_hidden"], TOLERANCE)
    assert_close(model.read_out(states).squeeze(-1), stored["readout_all_tokens"], TOLERANCE)
    assert_close(model.at_every_position(x, y), stored["predictions"], TOLERANCE)
    first = int(stored["first_points"])
    assert_close(model.at_every_position(x[:, :first], y[:, :first]), stored["predictions_first_points"], TOLERANCE)
    some = model.at_every_position(x, y, positions=stored["inds"].tolist())
    assert_close(some, stored["predictions_inds"], TOLERANCE)


@pytest.mark.parametrize("init", INITS)
def test_gradients_by_the_queries_are_as_published(init: str) -> None:
    stored = arrays(f"C5_transformer_{init}")
    model, x, y = published_model(stored, "garg2022"), stored["xs"], stored["ys"]
    query = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(model.at_every_position(x, y, query).sum(), query)
    assert_close(gradient, stored["gradient_wrt_query"], OF_GRADIENTS)
    for position in (1, 5, 9):  # the same by the call of a predictor, as analyses have it
        problem = (x[:, :position], y[:, :position, None], x[:, position])
        prediction, sensitivity = predict_with_sensitivity(model, *problem)
        assert_close(prediction[:, 0], stored["predictions"][:, position], TOLERANCE)
        assert_close(sensitivity[:, 0], stored["gradient_wrt_query"][:, position], OF_GRADIENTS)


@pytest.mark.parametrize("init", INITS)
def test_targets_in_a_channel_of_their_own_are_read_as_published(init: str) -> None:
    stored = arrays(f"D3_transformer_{init}")
    model = published_model(stored, "raventos2023")
    assert torch.equal(model.tokens(stored["xs"], stored["ys"]), stored["tokens"])
    predictions = model.at_every_position(stored["xs"], stored["ys"])
    assert_close(predictions, stored["predictions"], TOLERANCE)
    assert (predictions - stored["ys"]).square().mean().item() == pytest.approx(stored["loss"].item(), rel=1e-5)


@pytest.mark.parametrize("layout", ["garg2022", "raventos2023"])
def test_other_queries_are_answered_as_prompt_by_prompt(layout: str) -> None:
    model = small(layout)
    x, y, query = prompts()
    with torch.no_grad():
        ours = model.at_every_position(x, y, query)
        for position in range(6):
            replaced = torch.cat([x[:, :position], query[:, position : position + 1]], 1)
            alone = model.at_every_position(replaced, y[:, : position + 1], positions=[position])
            assert_close(ours[:, position : position + 1], alone, 1e-12)
            asked = model(x[:, :position], y[:, :position, None], query[:, position])
            assert_close(asked, alone, 1e-12)
        assert_close(model.at_every_position(x, y, query, positions=[4, 0, 4]), ours[:, [4, 0, 4]], 1e-12)
        assert_close(model.at_every_position(x, y, x.clone()), model.at_every_position(x, y), 1e-12)


def test_the_answer_at_a_position_depends_on_the_examples_before_it_alone() -> None:
    model, (x, y, query) = small("garg2022"), prompts()
    for tensor in (x, y, query):
        tensor.requires_grad_()
    gradients = torch.autograd.grad(model.at_every_position(x, y, query)[:, 3].sum(), (x, y, query))
    of_x, of_y, of_query = (gradient.abs().reshape(4, 6, -1).sum((0, 2)) for gradient in gradients)
    assert (of_x > 0).tolist() == (of_y > 0).tolist() == [True] * 3 + [False] * 3
    assert (of_query > 0).tolist() == [False] * 3 + [True] + [False] * 2


def test_it_is_a_learner_at_every_position_without_words() -> None:
    model = small("garg2022")
    assert isinstance(model, EveryPositionLearner)
    assert not [name for name in model.state_dict() if "wte" in name]


@pytest.mark.parametrize("size", ["tiny", "small", "standard"])
def test_published_sizes_have_the_published_parameters(size: str) -> None:
    stored = numbers("C5_parameter_counts")[size]
    config = FunctionTransformerConfig(stored["n_layer"], stored["n_head"], stored["n_embd"])
    with torch.device("meta"):
        model = FunctionTransformer(config, stored["n_dims"], stored["n_positions"], torch.Generator("cpu"))
    assert sum(weight.numel() for weight in model.parameters()) == stored["used_parameters"]


def test_first_weights_have_the_published_spread() -> None:
    stored = numbers("C5_parameter_counts")
    sizes, spreads = stored["tiny"], stored["default_init_std"]
    config = FunctionTransformerConfig(sizes["n_layer"], sizes["n_head"], sizes["n_embd"])
    model = FunctionTransformer(config, sizes["n_dims"], sizes["n_positions"], torch.Generator().manual_seed(0))
    for name, weight in garg_weights(model).items():
        if weight.numel() > 1:
            error = 5 * spreads[name] * (1 / weight.numel()) ** 0.5  # five standard errors of both, at least
            assert abs(weight.std().item() - spreads[name]) <= error, name
    own = FunctionTransformer(replace(config, layout="raventos2023"), 20, 101, torch.Generator().manual_seed(0))
    for layer in (own.read_in, own.read_out):
        assert layer.bias is None
        assert layer.weight.std().item() == pytest.approx(0.02, rel=0.3)


def test_large_maps_give_the_same_in_less_time(monkeypatch: pytest.MonkeyPatch) -> None:
    config = replace(SMALL, num_layers=1, hidden_size=256, init_scale=0.1)
    found = []
    for is_there in (False, True):
        monkeypatch.setattr(faster_modules, "has_onednn", lambda is_there=is_there: is_there)
        model = FunctionTransformer(config, 3, 6, torch.Generator().manual_seed(0))
        x, y, _ = (tensor.float() for tensor in prompts())
        loss = (model.at_every_position(x, y) - y).square().mean()
        names, weights = zip(*model.named_parameters(), strict=True)
        found.append((loss, *torch.autograd.grad(loss, weights)))
        kinds = {type(module) for module in model.modules()}
        assert (OneDNNConv1D in kinds) is (Conv1D not in kinds) is is_there
    for name, plain, fast in zip(("loss", *names), *found, strict=True):
        assert_close(fast, plain, 1e-4 if name.endswith("bias") else 1e-5)


def test_the_seed_chooses_the_weights_and_nothing_else() -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first, again = small("garg2022").state_dict(), small("garg2022").state_dict()
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(first[name], again[name]) for name in first)
    other = FunctionTransformer(SMALL, 3, 7, torch.Generator().manual_seed(2))
    assert not torch.equal(other.read_in.weight.double(), first["read_in.weight"])


def test_longer_prompts_than_there_are_positions_are_refused_in_one_line() -> None:
    x, y, query = prompts(8)
    model = small("garg2022")
    message = re.escape("the model has positions for 7 points of a prompt (model.num_points), got 8")
    with pytest.raises(ValueError, match=f"^{message}$"):
        model.at_every_position(x, y)
    with pytest.raises(ValueError, match=f"^{message}$"):
        model(x[:, :7], y[:, :7, None], query[:, 7])
    assert model.at_every_position(x, y, positions=[6]).shape == (4, 1)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"layout": "garg"}, "model.layout must be one of: garg2022, raventos2023; got 'garg'; did you mean garg2022?"),
        ({"num_heads": 3}, "model.hidden_size must be a multiple of 3 heads, got 8"),
        ({"num_points": 0}, "model.num_points must be at least 1, got 0"),
        ({"num_layers": 0}, "model.num_layers must be at least 1, got 0"),
    ],
)
def test_bad_values_are_named(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        replace(SMALL, **values)  # type: ignore[arg-type]


def test_positions_are_those_of_the_task_unless_said() -> None:
    assert SMALL.points_for(41) == 41
    assert replace(SMALL, num_points=101).points_for(41) == 101
    with pytest.raises(ValueError, match=r"^model.num_points must be at least task.num_points \(41\), got 40$"):
        replace(SMALL, num_points=40).points_for(41)
