import pytest
import torch

from iclgd.data.functions import FUNCTION_TASKS
from iclgd.metrics.positions import PositionSummary, draw_prompts, summarize_positions
from tests.fixtures import assert_close
from tests.function_references import arrays, numbers

NAMES = {  # of the published code
    "linear_regression": "linear",
    "sparse_linear_regression": "sparse_linear",
    "relu_2nn_regression": "relu_network",
    "decision_tree": "decision_tree",
}


def test_mean_deviation_and_interval_are_as_published() -> None:
    stored = arrays("C8_metrics")
    drawn = stored["bootstrap_indices"].long()
    assert len(drawn) == stored["bootstrap_trials"]
    summary = summarize_positions(stored["metrics"], drawn)
    for name, published in zip(
        PositionSummary._fields, ("mean", "std", "bootstrap_low", "bootstrap_high"), strict=True
    ):
        assert_close(getattr(summary, name), stored[f"aggregate_{published}"], 2e-5)


def test_everything_is_divided() -> None:
    stored = arrays("C8_metrics")
    drawn = stored["bootstrap_indices"].long()
    whole, half = (summarize_positions(stored["metrics"], drawn, divisor) for divisor in (1.0, 2.0))
    for one, other in zip(whole, half, strict=True):
        torch.testing.assert_close(one, 2 * other)


@pytest.mark.parametrize("name", NAMES)
def test_divisors_are_the_published_ones(name: str) -> None:
    stored = numbers("C8_normalisation")["normalisation"][name]
    task = FUNCTION_TASKS[NAMES[name]](name=NAMES[name], input_dim=stored["n_dims"])
    assert task.mean_square == stored["divisor"] == stored["std_divisor"]


def test_the_interval_covers_nine_means_of_ten() -> None:
    generator = torch.Generator().manual_seed(0)
    errors = torch.randn(100, 2000, generator=generator).exp()  # 2000 positions are as many repetitions
    summary = summarize_positions(errors, draw_prompts(300, 100, generator))
    covered = (summary.low <= torch.e**0.5) & (torch.e**0.5 <= summary.high)
    assert covered.double().mean().item() == pytest.approx(0.87, abs=0.05)  # of a skewed distribution a little fewer


def test_bad_shapes_are_named() -> None:
    message = r"errors and drawn must have the shapes .*, got \(3, 2\) and \(5, 4\)"
    with pytest.raises(ValueError, match=message):
        summarize_positions(torch.zeros(3, 2), torch.zeros(5, 4, dtype=torch.long))
