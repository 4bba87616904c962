import pytest
import torch

from iclgd.analysis.functions import transformer_kernel
from iclgd.analysis.iterated import iterate, losses_per_application
from iclgd.data import LinearRegressionTask, SineTask
from iclgd.models import GradientDescent
from iclgd.models.constructions import gradient_descent_transformer
from iclgd.models.transformer import Transformer, TransformerConfig

TASK = LinearRegressionTask(num_context=5, input_dim=3)
BATCH = TASK.sample(20, torch.Generator().manual_seed(0), torch.float64)
ARCHITECTURES = {
    "plain": TransformerConfig(init_scale=0.3),
    "softmax": TransformerConfig(attention="softmax", num_heads=2, init_scale=0.3),
    "norm that the first layer lacks": TransformerConfig(layer_norm=True, init_scale=0.3),
    "norm": TransformerConfig(layer_norm=True, recurrent=True, init_scale=0.3),
    "bias and dampening": TransformerConfig(bias=True, dampening=0.5, init_scale=0.3),
}


def build(config: TransformerConfig) -> Transformer:
    return Transformer(config, 3).initialize(torch.Generator().manual_seed(1)).double()


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_one_undampened_application_is_the_model(name: str) -> None:
    model = build(ARCHITECTURES[name])
    prediction = model(*BATCH[:3]).detach()
    expected = 0.5 * (BATCH.target - prediction).square().sum(-1).mean()
    losses = losses_per_application(iterate(model, 1, 1.0), BATCH)
    torch.testing.assert_close(losses[1], expected)
    zero = 0.5 * BATCH.target.square().sum(-1).mean()
    torch.testing.assert_close(losses[0], zero)
    assert model.config == ARCHITECTURES[name]  # left as it was


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_applications_change_the_targets_alone_by_the_dampened_update(name: str) -> None:
    model = build(ARCHITECTURES[name])
    hidden = model.embed(model.tokens(*BATCH[:3]))
    (layer,) = model.sequence()
    expected = []
    for _ in range(4):
        expected.append(0.5 * (BATCH.target + hidden[-1, -1:].T).square().sum(-1).mean())
        seen = hidden if layer.norm is None else layer.norm(hidden)
        update = 0.75 * model.config.dampening * layer.attention(seen[:-1], seen)
        hidden = torch.cat([hidden[:, :-1], hidden[:, -1:] + update[:, -1:]], dim=1)
    torch.testing.assert_close(losses_per_application(iterate(model, 3, 0.75), BATCH), torch.stack(expected))


def test_the_construction_takes_dampened_gradient_steps() -> None:
    construction = gradient_descent_transformer(3, learning_rate=0.4, dtype=torch.float64)
    losses = losses_per_application(iterate(construction, 6, 0.75), BATCH)
    for steps, loss in enumerate(losses):
        prediction = GradientDescent(0.75 * 0.4, steps)(*BATCH[:3])
        torch.testing.assert_close(loss, 0.5 * (BATCH.target - prediction).square().sum(-1).mean())


@pytest.mark.parametrize("recurrent", [False, True])
@pytest.mark.parametrize("attention", ["linear", "softmax"])
def test_a_kernel_weighs_what_the_layer_sees(attention: str, recurrent: bool) -> None:
    config = TransformerConfig(attention=attention, layer_norm=True, recurrent=recurrent, init_scale=0.5)
    model = Transformer(config, 1).initialize(torch.Generator().manual_seed(1)).double()
    x, y, query, _ = SineTask().sample(7, torch.Generator().manual_seed(2), torch.float64)
    hidden = model.tokens(x, y, query)
    (layer,) = model.sequence()
    seen = hidden if layer.norm is None else layer.norm(hidden)
    values = (layer.attention.ov_matrix()[0].T @ seen[:-1])[:, -1]  # (N, B)
    prediction = -(hidden[-1, -1] + (transformer_kernel(model, x, y, query).T * values).sum(0))
    torch.testing.assert_close(prediction, model(x, y, query)[:, 0])
