"""Linear probes: what they find where the answer is known."""

import pytest
import torch

from iclgd.analysis.sequences.by_position import mean_with_interval
from iclgd.analysis.sequences.controls import Controls, make_controls
from iclgd.analysis.sequences.probes import held_out_squares, preconditioned_inputs, probes
from iclgd.data.sequences import LinearSystemTask, NonlinearSystemTask
from iclgd.models.sequences import SequenceTransformer, SequenceTransformerConfig, least_squares
from iclgd.models.sequences.solvers import sequence_losses
from iclgd.models.sequences.tokens import shifted
from iclgd.models.sequences.transformer import SequenceLayer

TASK = LinearSystemTask(length=7, state_dim=3)
CONTROLS = Controls(num_lags=1, features=None, regularization=0.5, learning_rate=0.1)


def test_probes_read_what_is_linear_and_nothing_else() -> None:
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randn(600, 4, 5, generator=generator, dtype=torch.float64)
    mixing = torch.randn(5, 2, generator=generator, dtype=torch.float64)
    noise = torch.randn(600, 4, 2, generator=generator, dtype=torch.float64)
    for target, expected in ((tokens @ mixing + 3, 1.0), (tokens @ mixing + 2.0 * noise, None), (noise, 0.0)):
        residual, total = held_out_squares(tokens, target)
        assert residual.shape == (300, 4)
        share = (1 - residual.sum(0) / total.sum(0)).mean().item()
        if expected is None:
            signal = (tokens @ mixing).var().item()
            expected = signal / (signal + 4)
        assert share == pytest.approx(expected, abs=0.05)


def test_inputs_are_preconditioned_by_the_past() -> None:
    batch = TASK.sample(4, torch.Generator().manual_seed(1), torch.float64)
    found = preconditioned_inputs(CONTROLS, batch.inputs)
    before = shifted(batch.inputs)
    for position in range(7):
        past = before[:, : position + 1]
        moment = past.mT @ past + 0.5 * torch.eye(3, dtype=torch.float64)
        expected = torch.linalg.inv(moment) @ batch.inputs[:, position, :, None]
        assert torch.allclose(found[:, position], expected.squeeze(-1))


def test_the_mesa_layer_knows_what_least_squares_predicts() -> None:
    """A layer with the weights of least squares: its prediction is read perfectly where the next state has no noise."""
    task = LinearSystemTask(length=7, state_dim=3, noise_std=0.0)
    batch = task.sample(400, torch.Generator().manual_seed(2), torch.float64)
    model = SequenceTransformer(SequenceTransformerConfig(), 3).double()
    (layer,) = model.layers
    assert isinstance(layer, SequenceLayer)
    attention = layer.attention
    assert attention.log_strength is not None
    identity, none = torch.eye(3, dtype=torch.float64), torch.zeros(3, 3, dtype=torch.float64)
    blocks = {"query": (0, 1, 0, 0), "key": (0, 0, 0, 1), "value": (0, 1, 0, 0)}
    for name, places in blocks.items():
        weight = torch.cat([identity if place else none for place in places], 1)
        getattr(attention, name).weight.data = torch.cat([weight, torch.zeros(9, 12, dtype=torch.float64)])
    output = torch.zeros(12, 12, dtype=torch.float64)
    output[:3, :3] = identity
    attention.output.weight.data = output
    attention.log_strength.data = torch.tensor([1e4], dtype=torch.float64).log()
    expected = least_squares(shifted(batch.inputs), batch.inputs, batch.inputs, 1e-4)
    assert torch.allclose(model(batch.inputs), expected)
    record = probes(model, CONTROLS, batch, seed=0)
    before, after = record["targets"]["next_state"]
    assert after["mean"] > 0.99
    assert before["mean"] < 0.3
    assert after["low"] <= after["mean"] <= after["high"]
    assert record["first_position"] == 3


def test_controls_are_at_their_best_on_other_sequences() -> None:
    controls = make_controls(TASK, 1, TASK.sample(256, torch.Generator().manual_seed(3), torch.float64))
    batch = TASK.sample(256, torch.Generator().manual_seed(4), torch.float64)
    losses = {
        name: sequence_losses(each, batch.targets).mean() for name, each in controls.predictions(batch.inputs).items()
    }
    assert losses["least_squares"] < losses["delayed_least_squares"] < losses["gd"]
    assert losses["gd"] < sequence_losses(torch.zeros_like(batch.targets), batch.targets).mean()


def test_controls_of_nonlinear_systems_know_the_network() -> None:
    task = NonlinearSystemTask(length=30, state_dim=3, hidden_dim=9, noise_std=0.01)
    tuning = task.sample(100, torch.Generator().manual_seed(5), torch.float64)
    controls = make_controls(task, 1, tuning)
    predicted = controls.predictions(tuning.inputs)["least_squares"]
    late = sequence_losses(predicted, tuning.targets)[:, 15:].mean()
    without = Controls(1, None, controls.regularization).predictions(tuning.inputs)["least_squares"]
    assert late < 0.01
    assert sequence_losses(without, tuning.targets)[:, 15:].mean() > 5 * late


def test_intervals_cover_what_they_should() -> None:
    values = torch.randn(400, 50, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    found = mean_with_interval(values)
    covered = [low <= 0 <= high for low, high in zip(found["low"], found["high"], strict=True)]
    assert 43 <= sum(covered) <= 50
    values[0, 0] = torch.nan
    assert mean_with_interval(values)["mean"][0] != mean_with_interval(values)["mean"][0]
