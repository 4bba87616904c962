import torch

from iclgd.analysis.sensitivity import predict_with_sensitivity
from iclgd.data import LinearRegressionTask
from iclgd.models import GradientDescent
from iclgd.models.transformer import Transformer, TransformerConfig
from tests.fixtures import assert_close

TASK = LinearRegressionTask(num_context=5, input_dim=3, output_dim=2)


def test_sensitivity_of_a_linear_learner_is_its_weight() -> None:
    x, y, query, _ = TASK.sample(4, torch.Generator().manual_seed(0), torch.float64)
    learner = GradientDescent(0.2, num_steps=3)
    prediction, sensitivity = predict_with_sensitivity(learner, x, y, query)
    assert_close(prediction, learner(x, y, query), 1e-12)
    assert_close(sensitivity, learner.weight(x, y), 1e-12)


def test_sensitivity_agrees_with_finite_differences() -> None:
    generator = torch.Generator().manual_seed(0)
    x, y, query, _ = TASK.sample(4, generator, torch.float64)
    config = TransformerConfig(num_layers=2, num_heads=2, attention="softmax", init_scale=1.0)
    model = Transformer(config, 3, 2).initialize(generator).double()
    _, sensitivity = predict_with_sensitivity(model, x, y, query)
    step = 1e-6
    for dim in range(3):
        shift = step * torch.eye(3, dtype=torch.float64)[dim]
        difference = (model(x, y, query + shift) - model(x, y, query - shift)) / (2 * step)
        assert_close(sensitivity[:, :, dim], difference.detach(), 1e-7)


def test_it_works_without_gradients_and_leaves_none_behind() -> None:
    x, y, query, _ = TASK.sample(4, torch.Generator().manual_seed(0))
    model = Transformer(TransformerConfig(), 3, 2).initialize(torch.Generator().manual_seed(0))
    with torch.no_grad():
        prediction, sensitivity = predict_with_sensitivity(model, x, y, query)
    assert not prediction.requires_grad
    assert not sensitivity.requires_grad
    assert not query.requires_grad
    assert all(parameter.grad is None for parameter in model.parameters())
