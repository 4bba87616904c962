"""The metric classes over text models: each in parts, merged and against its pure function."""

import math
from collections.abc import Callable

import pytest
import torch
from scipy.stats import binomtest
from torch import Tensor

from iclgd import metrics
from iclgd.metrics import (
    Accuracy,
    BootstrapMean,
    Kendall,
    RandomKendall,
    RandomSimAOU,
    Rec2FTP,
    SimAM,
    SimAMDelta,
    SimAOU,
    TopKRecall,
    UpdateSimilarity,
    bootstrap_weights,
)

B, L, R = 64, 3, 40


def numbers(*shape: int) -> list[Tensor]:
    return list(torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))


def answers(number: int) -> list[Tensor]:
    return [each > 0 for each in numbers(number, B)]


def mask() -> Tensor:
    lengths = 1 + torch.arange(B) % 6
    return torch.arange(6) < lengths[:, None]


Case = tuple[Callable[[], BootstrapMean], list[Tensor], Callable[..., Tensor]]


def share(correct: Tensor) -> Tensor:
    return correct.double()[:, None]


def percentage(zero_shot: Tensor, in_context: Tensor, finetuned: Tensor) -> Tensor:
    return 100 * in_context[~zero_shot & finetuned].double()[:, None]


def recall(first: Tensor, second: Tensor) -> Tensor:
    return metrics.top_k_recall(first, second, 4)


CASES: dict[str, Case] = {
    "Accuracy": (lambda: Accuracy(R), answers(1), share),
    "Rec2FTP": (lambda: Rec2FTP(R), answers(3), percentage),
    "SimAOU": (lambda: SimAOU(L, R), numbers(3, B, L, 5), metrics.sim_aou),
    "RandomSimAOU": (lambda: RandomSimAOU(L, R), numbers(3, B, L, 5), metrics.random_sim_aou),
    "SimAM": (lambda: SimAM(L, R), [*numbers(2, B, L, 2, 6), mask()], metrics.sim_am),
    "SimAMDelta": (lambda: SimAMDelta(L, R), [*numbers(3, B, L, 2, 6), mask()], metrics.sim_am_delta),
    "UpdateSimilarity": (lambda: UpdateSimilarity(L, R), numbers(2, B, L, 2, 5), metrics.update_similarity),
    "Kendall": (lambda: Kendall(L, R), numbers(2, B, L, 9), metrics.kendall_tau),
    "RandomKendall": (lambda: RandomKendall(L, R), numbers(2, B, L, 9), metrics.kendall_tau),
    "TopKRecall": (lambda: TopKRecall(L, R, k=4), numbers(2, B, L, 9), recall),
}
names = pytest.mark.parametrize("name", CASES)


def measured(name: str, rows: slice = slice(0, B), batch_size: int = B) -> BootstrapMean:
    make, inputs, _ = CASES[name]
    metric = make()
    for places in torch.arange(B)[rows].split(batch_size):
        metric.update(*(each[places] for each in inputs), bootstrap_weights(places, R, seed=0))
    return metric


@names
def test_values_are_means_of_the_pure_function(name: str) -> None:
    _, inputs, function = CASES[name]
    means = function(*inputs).mean(0)
    rows = measured(name).compute()
    if len(means) == 1:
        assert rows.shape == (3,)
        rows = rows[None]
        expected = means.tolist()
    else:
        assert rows.shape == (L + 1, 3)
        expected = [*means.tolist(), means.mean().item()]
    assert rows.dtype == torch.float64
    assert rows[:, 0].tolist() == pytest.approx(expected, abs=1e-12)
    assert (rows[:, 1] <= rows[:, 0]).all()
    assert (rows[:, 0] <= rows[:, 2]).all()
    assert (rows[:, 1] < rows[:, 2]).all()


@names
@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_metrics_do_not_depend_on_the_batch_size(name: str, batch_size: int) -> None:
    parts = measured(name, batch_size=batch_size).compute()
    torch.testing.assert_close(parts, measured(name).compute(), rtol=0, atol=1e-12)


@names
def test_metrics_add_up_over_instances(name: str) -> None:
    metric = measured(name, slice(0, 20))
    metric.merge_state(measured(name, slice(20, B)))
    torch.testing.assert_close(metric.compute(), measured(name).compute(), rtol=0, atol=1e-12)


@names
def test_single_precision_and_gradients_are_taken(name: str) -> None:
    make, inputs, _ = CASES[name]
    floats = [each.float().requires_grad_() if each.dtype == torch.float64 else each for each in inputs]
    metric = make()
    metric.update(*floats, bootstrap_weights(torch.arange(B), R, seed=0))
    assert not metric.compute().requires_grad
    torch.testing.assert_close(metric.compute(), measured(name).compute(), rtol=1e-4, atol=1e-4)


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
@names
def test_an_empty_set_is_nan(name: str) -> None:
    assert CASES[name][0]().compute().isnan().all()


def test_recall_is_nan_if_finetuning_puts_nothing_right() -> None:
    metric, wrong, right = Rec2FTP(R), torch.zeros(4, dtype=torch.bool), torch.ones(4, dtype=torch.bool)
    weights = bootstrap_weights(torch.arange(4), R, seed=0)
    metric.update(wrong, right, wrong, weights)
    metric.update(right, right, right, weights)
    assert metric.compute().isnan().all()
    metric.update(wrong[:1], right[:1], right[:1], weights[:1])
    assert metric.compute().tolist() == pytest.approx([100, 20.6549, 100], abs=1e-4)  # of one query


@pytest.mark.parametrize(("num_right", "num"), [(0, 1), (1, 1), (1, 2), (3, 7), (64, 64), (0, 64), (1234, 2000)])
def test_intervals_of_shares_are_wilsons(num_right: int, num: int) -> None:
    interval = binomtest(num_right, num).proportion_ci(0.95, "wilson")
    expected = [num_right / num, interval.low, interval.high]
    right = torch.arange(num) < num_right
    weights = bootstrap_weights(torch.arange(num), 1, seed=0)
    accuracy, recall = Accuracy(1), Rec2FTP(1)
    accuracy.update(right, weights)
    recall.update(torch.zeros_like(right), right, torch.ones_like(right), weights)
    assert accuracy.compute().tolist() == pytest.approx(expected, abs=1e-14)
    assert recall.compute().tolist() == pytest.approx([100 * each for each in expected], abs=1e-12)


def test_what_is_no_answer_is_neither_right_nor_wrong() -> None:
    right = torch.tensor([1.0, math.nan, 0.0, 1.0])
    weights = bootstrap_weights(torch.arange(4), R, seed=0)
    accuracy = Accuracy(R)
    accuracy.update(right, weights)
    assert accuracy.compute().isnan().all()
    recall = Rec2FTP(R)
    recall.update(torch.tensor([0.0, 1.0, 0.0, 0.0]), right, torch.tensor([1.0, 1.0, 1.0, 1.0]), weights)
    assert recall.compute()[0].item() == pytest.approx(200 / 3)  # which does not rest on the answer that is missing
    for which in range(3):
        unknown = [torch.tensor([0.0, 0.0]), torch.tensor([1.0, 1.0]), torch.tensor([1.0, 1.0])]
        unknown[which] = torch.tensor([float(unknown[which][0]), math.nan])
        recall = Rec2FTP(R)
        recall.update(*unknown, weights[:2])
        assert recall.compute().isnan().all()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", [name for name in CASES if name not in ("Accuracy", "Rec2FTP")])
def test_one_number_that_is_not_finite_makes_the_mean_nan(name: str, value: float) -> None:
    make, inputs, _ = CASES[name]
    inputs = [each.clone() for each in inputs]
    inputs[0][-1, 1, ..., 0] = value
    if name.startswith(("Kendall", "RandomKendall", "TopK")):  # of ranks, which infinity has, too
        inputs[0][-1, 1] = math.nan
    metric = make()
    for places in torch.arange(B).split(7):
        metric.update(*(each[places] for each in inputs), bootstrap_weights(places, R, seed=0))
    assert metric.compute().isnan().all(-1).tolist() == [False, True, False, True]  # its layer, and the mean over all


def test_a_cosine_with_numbers_that_are_not_finite_is_nan() -> None:
    bad = torch.tensor([[math.nan, 0.0], [math.inf, 1.0], [math.nan, math.nan], [-math.inf, math.inf]])
    for other in (torch.zeros(4, 2), torch.ones(4, 2), bad):
        assert metrics.cosine(bad, other).isnan().all()
        assert metrics.cosine(other, bad).isnan().all()


def test_perfect_similarity_is_one() -> None:
    outputs, changed = numbers(2, B, L, 5)
    metric = SimAOU(L, R)
    metric.update(outputs, changed, changed, bootstrap_weights(torch.arange(B), R, seed=0))
    torch.testing.assert_close(metric.compute(), torch.ones(L + 1, 3, dtype=torch.float64), rtol=0, atol=1e-12)


def test_errors_are_one_line() -> None:
    three, four = torch.ones(3, dtype=torch.bool), torch.ones(4, dtype=torch.bool)
    with pytest.raises(ValueError, match=r"^correct must be boolean, got torch.int64$"):
        Accuracy(0).update(three.long(), torch.empty(3, 0))
    with pytest.raises(ValueError, match=r"^correct must have shape \(B,\), got \(1, 3\)$"):
        Accuracy(0).update(three[None], torch.empty(1, 0))
    with pytest.raises(ValueError, match=r"^weights must have shape \(B, R\) = \(3, 2\), got \(3, 0\)$"):
        Accuracy(2).update(three, torch.empty(3, 0))
    with pytest.raises(ValueError, match=r"^zero_shot_correct and finetuned_correct must have one shape"):
        Rec2FTP(0).update(three, three, four, torch.empty(3, 0))
    with pytest.raises(ValueError, match=r"^weights must have shape \(B, R\) = \(3, R\), got \(4, 0\)$"):
        Rec2FTP(0).update(three, three, three, torch.empty(4, 0))
    with pytest.raises(ValueError, match=r"^values must have shape \(B, L\) = \(B, 2\), got \(64, 3\)$"):
        Kendall(2, 0).update(*CASES["Kendall"][1], torch.empty(B, 0))
    with pytest.raises(ValueError, match=r"^k must be at least 1, got 0$"):
        TopKRecall(1, 0, k=0)
