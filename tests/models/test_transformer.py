import json

import pytest
import torch
from torch import nn

from iclgd.analysis.gradients import clip_by_global_norm
from iclgd.data import LinearRegressionTask
from iclgd.models.attention import SelfAttention
from iclgd.models.transformer import Transformer, TransformerConfig
from iclgd.modules.regression import TrainingConfig
from tests.fixtures import FOLDER, assert_close, layer_weights, load_reference, problem, transformer


@pytest.mark.parametrize("name", ["A1_lsa1_a", "A1_lsa1_b"])
def test_one_layer_equals_published(name: str) -> None:
    arrays = load_reference(name)
    model = transformer(arrays, "w_")
    x, y, query = problem(arrays["tokens"])
    prediction = model(x, y, query)
    assert_close(prediction[:, 0], arrays["prediction"])
    assert_close(model.hidden_states(x, y, query)[-1].permute(2, 0, 1), arrays["hidden"])
    loss = 0.5 * (arrays["target"] - prediction[:, 0]).square().mean()
    assert_close(loss, arrays["loss"])


def test_optimiser_steps_equal_published() -> None:
    arrays = load_reference("A1_train_steps")
    model = transformer(arrays, "w0_")
    config = TrainingConfig()
    published = (config.learning_rate, config.beta1, config.beta2, config.weight_decay, config.gradient_clip)
    stored = [arrays[key].item() for key in ("lr", "b1", "b2", "weight_decay", "grad_clip")]
    assert published == pytest.approx(stored, rel=1e-6)
    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=config.learning_rate,
        betas=(config.beta1, config.beta2),
        eps=arrays["eps"].item(),
        weight_decay=config.weight_decay,
        fused=True,
    )
    layer = model.layers[0].attention
    for step in range(4):
        prediction = model(*problem(arrays["tokens"][step]))[:, 0]
        loss = 0.5 * (arrays["target"][step] - prediction).square().mean()
        assert_close(loss, arrays["train_loss"][step])
        optimizer.zero_grad()
        loss.backward()
        if step == 0:
            for name, gradient in layer_weights(arrays, "grad0_").items():
                assert_close(layer.get_parameter(name).grad, gradient)
        clip_by_global_norm(list(model.parameters()), config.gradient_clip)
        optimizer.step()
        if step in (0, 3):
            for name, weight in layer_weights(arrays, f"w{step + 1}_").items():
                assert_close(layer.get_parameter(name), weight, 1e-4)


def test_initializer_has_the_published_moments() -> None:
    stored = json.loads((FOLDER / "init_statistics.json").read_text())
    generator = torch.Generator().manual_seed(0)
    layer = SelfAttention(11)
    draws = []
    for _ in range(200):
        layer.initialize(stored["init_scale"], generator)
        draws += [parameter.detach().flatten().clone() for parameter in layer.parameters()]
    weights = torch.cat(draws)
    assert len(weights) == stored["n"]
    assert weights.std().item() == pytest.approx(stored["std"], rel=0.01)
    cut = 2 * stored["sqrt_scale_over_fan_in"] / 0.87962566103423978
    assert weights.abs().max().item() <= cut
    assert weights.abs().max().item() == pytest.approx(stored["max_abs"], rel=0.01)


def test_initial_scale_is_divided_by_depth() -> None:
    shallow, deep = (
        Transformer(TransformerConfig(num_layers=depth), 10).initialize(torch.Generator().manual_seed(0))
        for depth in (1, 4)
    )
    assert_close(deep.layers[0].attention.query * 2, shallow.layers[0].attention.query)


@pytest.mark.parametrize("attention", ["linear", "softmax"])
@pytest.mark.parametrize(
    ("num_layers", "num_heads", "recurrent"), [(1, 1, False), (1, 3, False), (3, 2, False), (3, 1, True)]
)
def test_prediction_is_the_query_token_of_the_full_computation(
    num_layers: int, num_heads: int, recurrent: bool, attention: str
) -> None:
    task = LinearRegressionTask(num_context=5, input_dim=3, output_dim=2)
    generator = torch.Generator().manual_seed(0)
    config = TransformerConfig(num_layers, num_heads, recurrent, attention, init_scale=1.0)
    model = Transformer(config, 3, 2).initialize(generator).double()
    x, y, query, _ = task.sample(7, generator, torch.float64)
    expected = -model.hidden_states(x, y, query)[-1][-1, -2:].T
    assert_close(model(x, y, query), expected, 1e-12)


def test_recurrent_layers_share_weights() -> None:
    separate = Transformer(TransformerConfig(num_layers=3), 4)
    shared = Transformer(TransformerConfig(num_layers=3, recurrent=True), 4)
    assert len(list(separate.parameters())) == 12
    assert len(list(shared.parameters())) == 4
    assert len(shared.sequence()) == len(separate.sequence()) == 3


def test_query_is_never_a_key() -> None:
    generator = torch.Generator().manual_seed(0)
    layer = SelfAttention(4)
    layer.initialize(1.0, generator)
    hidden = torch.randn(6, 4, 2, generator=generator)
    changed = hidden.clone()
    changed[-1] += 1.0
    assert torch.equal(layer(hidden[:-1], hidden)[:-1], layer(changed[:-1], changed)[:-1])


def test_unknown_attention_is_refused() -> None:
    with pytest.raises(ValueError, match="must be one of linear, softmax, mixture, got 'cosine'"):
        SelfAttention(4, attention="cosine")


def test_clipping_is_exact() -> None:
    parameters = [nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(1))]
    parameters[0].grad, parameters[1].grad = torch.tensor([3.0, 0.0]), torch.tensor([4.0])
    clip_by_global_norm(parameters, 10.0)
    assert parameters[0].grad.tolist() == [3.0, 0.0]
    clip_by_global_norm(parameters, 0.001)
    assert parameters[0].grad.tolist() == pytest.approx([0.0006, 0.0], rel=1e-6)
    assert parameters[1].grad.tolist() == pytest.approx([0.0008], rel=1e-6)
