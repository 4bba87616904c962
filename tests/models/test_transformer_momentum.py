from dataclasses import replace

import pytest
import torch
from torch import Tensor

from iclgd.data import LinearRegressionTask
from iclgd.models import GradientDescentMomentum, Transformer, TransformerConfig
from iclgd.models.constructions import (
    BY_HAND,
    gd_plus_plus_transformer,
    gradient_descent_transformer,
    interpolate,
    interpolated,
)
from iclgd.report import weight_products
from tests.fixtures import assert_close

TASK = LinearRegressionTask(num_context=6, input_dim=4, output_dim=2)
X, Y, QUERY, TARGET = TASK.sample(5, torch.Generator().manual_seed(0), torch.float64)
PLAIN = TransformerConfig(4, init_scale=1.0, momentum=0.6)


def model_of(config: TransformerConfig) -> Transformer:
    return Transformer(config, TASK.input_dim, TASK.output_dim).initialize(torch.Generator().manual_seed(1)).double()


@pytest.mark.parametrize("recurrent", [False, True])
@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize(
    "changes", [{}, {"attention": "softmax", "num_heads": 2}, {"update_targets_only": True, "dampening": 0.5}]
)
def test_tokens_have_a_velocity(recurrent: bool, learned: bool, changes: dict[str, object]) -> None:
    config = replace(PLAIN, recurrent=recurrent, learn_momentum=learned, **changes)  # type: ignore[arg-type]
    model = model_of(config)
    hidden = model.embed(model.tokens(X, Y, QUERY))
    velocity = torch.zeros_like(hidden)
    for layer, found in zip(model.sequence(), model.hidden_states(X, Y, QUERY)[1:], strict=True):
        velocity = 0.6 * velocity + (layer(hidden) - hidden)  # without momentum a layer adds its own update alone
        hidden = hidden + velocity
        assert_close(found, hidden, 1e-7)  # learned ones begin as 0.6 in single precision
    assert_close(model(X, Y, QUERY), model.predict(hidden), 1e-7)


@pytest.mark.parametrize(
    "changes",
    [
        {"mlp": True, "layer_norm": True},
        {"clip": 0.5},
        {"out_projection": True, "bias": True},
        {"in_projection": 7, "input_mlp": True},
        {"tokens": "separate", "positional_encoding": "concatenate", "positional_channels": 2},
        {"update_targets_only": True, "in_projection": 9, "clip": 0.3, "mlp": True},
    ],
)
def test_what_only_the_query_needs_is_what_all_tokens_have(changes: dict[str, object]) -> None:
    model = model_of(replace(PLAIN, **changes))  # type: ignore[arg-type]
    predictions = model.layer_predictions(X, Y, QUERY)
    for number in range(1, 5):
        assert_close(model(X, Y, QUERY, num_layers=number), predictions[number], 1e-12)
    still = model_of(replace(PLAIN, momentum=0.0, **changes))  # type: ignore[arg-type]
    still.load_state_dict(model.state_dict())
    assert_close(still(X, Y, QUERY, num_layers=1), predictions[1], 1e-12)
    assert (still(X, Y, QUERY, num_layers=2) - predictions[2]).abs().max() > 1e-3 * predictions[2].abs().max()


@pytest.mark.parametrize("recurrent", [False, True])
def test_without_momentum_nothing_has_changed(recurrent: bool) -> None:
    model = model_of(replace(PLAIN, recurrent=recurrent, momentum=0.0))
    assert not [name for name in model.state_dict() if "momentum" in name]
    hidden = model.tokens(X, Y, QUERY)
    for layer in model.sequence():
        hidden = layer(hidden)
    assert torch.equal(model.hidden_states(X, Y, QUERY)[-1], hidden)


@pytest.mark.parametrize(("recurrent", "number"), [(False, 3), (True, 1)])
def test_what_is_learned_has_a_gradient_and_nothing_else_is_there(recurrent: bool, number: int) -> None:
    model = model_of(replace(PLAIN, recurrent=recurrent, learn_momentum=True))
    momenta = {name: each for name, each in model.named_parameters() if name.endswith(".momentum")}
    assert len(momenta) == number
    torch.autograd.backward(model(X, Y, QUERY).square().sum())
    assert all(parameter.grad is not None for parameter in model.parameters())  # as several processes need

    def prediction(*values: Tensor) -> Tensor:
        return torch.func.functional_call(model, dict(zip(momenta, values, strict=True)), (X, Y, QUERY))  # type: ignore[no-any-return]

    assert torch.autograd.gradcheck(prediction, tuple(each.detach().requires_grad_() for each in momenta.values()))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"momentum": 1.0}, "model.momentum must be at least 0 and below 1, got 1.0"),
        ({"momentum": -0.1}, "model.momentum must be at least 0 and below 1, got -0.1"),
        ({"momentum": float("nan")}, "below 1, got nan"),
        ({"num_layers": 1, "momentum": 0.5}, "with model.num_layers=1 it must be 0"),
        ({"num_layers": 1, "learn_momentum": True}, "and model.learn_momentum false"),
    ],
)
def test_momentum_without_meaning_is_refused(values: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TransformerConfig(**{"num_layers": 2, **values})  # type: ignore[arg-type]


def test_the_construction_keeps_its_momentum_among_its_weights() -> None:
    start = torch.randn(2, 4, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    model = gradient_descent_transformer(4, 2, 0.3, 5, start, torch.float64, momentum=-0.4)
    blank = gradient_descent_transformer(4, 2, 0.0, 5, start, torch.float64, momentum=0.0)
    blank.load_state_dict(model.state_dict())
    expected = GradientDescentMomentum(0.3, -0.4, 5, start)(X, Y, QUERY)
    assert_close(blank(X, Y, QUERY), expected, 1e-13)
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_the_mean_of_weights_is_that_of_momenta_too() -> None:
    constructions = [gradient_descent_transformer(4, 2, 0.3, 3, momentum=value) for value in (0.2, 0.6)]
    batch = (X.float(), Y.float(), QUERY.float())
    expected = GradientDescentMomentum(0.3, 0.4, 3)(*batch)
    assert_close(interpolate(*constructions)(*batch), expected)
    # A momentum that is fixed, and layers with weights of their own.
    fixed = Transformer(TransformerConfig(3, momentum=0.2, update_targets_only=True), 4, 2)
    for layer in fixed.sequence():
        layer.attention.load_state_dict(constructions[0].sequence()[0].attention.state_dict())
    others = {"gd": gradient_descent_transformer(4, 2, 9.0, 3), "gd_momentum": constructions[1]}
    mixture = interpolated(fixed, others)
    assert mixture is not None
    assert_close(mixture(*batch), expected)
    moving = {"gd_plus_plus": gd_plus_plus_transformer(4, [2.0], [0.2], 2, 3), "gd": constructions[1]}
    beside_gradient_descent = interpolated(fixed, moving)
    assert beside_gradient_descent is not None
    assert_close(beside_gradient_descent(*batch), expected)
    without = interpolate(gradient_descent_transformer(4, 2, 0.3, 3), constructions[1])
    assert_close(without(*batch), GradientDescentMomentum(0.3, 0.3, 3)(*batch))


def test_figures_show_the_weights_by_hand_of_which_the_mean_is_taken() -> None:
    assert weight_products.BY_HAND == BY_HAND
