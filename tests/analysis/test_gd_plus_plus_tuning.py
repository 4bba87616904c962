import pytest
import torch

from iclgd.analysis.gd_plus_plus_tuning import keep_diagonals_, tuned_as_published
from iclgd.analysis.gradients import training_loss
from iclgd.data import LinearRegressionTask
from iclgd.models.gd_plus_plus import best_gd_plus_plus
from iclgd.models.transformer import Transformer, TransformerConfig
from tests.fixtures import assert_close, layer_weights, load_reference, problem


def test_gradients_equal_published() -> None:
    arrays = load_reference("A5_gdpp_hp_gradient")
    model = Transformer(TransformerConfig(2, recurrent=True), 10)
    attention = model.sequence()[0].attention
    attention.load_state_dict(layer_weights(arrays, "w_"))
    loss = 0.5 * (arrays["target"] - model(*problem(arrays["tokens"]))[:, 0]).square().mean()
    loss.backward()
    for name, gradient in layer_weights(arrays, "grad_").items():
        assert_close(attention.get_parameter(name).grad, gradient)
    keep_diagonals_(attention, 10)
    for name, gradient in layer_weights(arrays, "masked_").items():
        if name in ("query", "key"):
            assert not attention.get_parameter(name).grad.any()
            assert not gradient.any()
        else:
            assert_close(attention.get_parameter(name).grad, gradient)


@pytest.mark.parametrize("recurrent", [True, False])
def test_tuning_approaches_the_optimum_and_stays_gd_plus_plus(recurrent: bool) -> None:
    task = LinearRegressionTask(num_context=10, input_dim=10)
    config = TransformerConfig(2, recurrent=recurrent)
    batch = task.sample(10_000, torch.Generator().manual_seed(1))
    start, tuned = (tuned_as_published(task, config, steps, torch.Generator().manual_seed(0)) for steps in (0, 200))
    before, after = (training_loss(model, batch).item() for model in (start, tuned))
    best = best_gd_plus_plus(*batch, num_steps=2, shared=recurrent)
    optimum = 0.5 * (best(*batch[:3]) - batch.target).square().sum(-1).mean().item()
    assert optimum < after < before
    assert len(tuned.layers) == (1 if recurrent else 2)
    for layer in tuned.sequence():
        for product in (layer.attention.qk_matrix()[0], layer.attention.ov_matrix()[0]):
            assert torch.equal(product, torch.diag(product.diagonal()))
            assert product.diagonal()[:-1].unique().numel() == 1
