import math
import warnings

import numpy as np
import pytest
import torch
from torch import Tensor

from iclgd.metrics import (
    Accuracy,
    Bootstrap,
    QueryMean,
    Resampling,
    WilsonInterval,
    bootstrap_weights,
    random_scores,
    random_updates,
)


class Mean(QueryMean):
    def values(self, numbers: Tensor) -> Tensor:
        return numbers


def numbers(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def measured(values: Tensor, num_replicates: int, batch_size: int, indices: Tensor | None = None) -> Bootstrap:
    indices = torch.arange(len(values)) if indices is None else indices
    metric = Bootstrap(Mean(values.shape[1]), Resampling(num_replicates, seed=3))
    for batch, places in zip(values.split(batch_size), indices.split(batch_size), strict=True):
        metric.update(batch, indices=places)
    return metric


def test_weights_are_poisson_distributed() -> None:
    weights = bootstrap_weights(torch.arange(400), 1000, seed=0)
    assert weights.shape == (400, 1000)
    assert weights.dtype == torch.float64
    counts = torch.bincount(weights.flatten().long(), minlength=6)[:6] / weights.numel()
    expected = torch.tensor([math.exp(-1) / math.factorial(k) for k in range(6)])
    torch.testing.assert_close(counts, expected, rtol=0, atol=0.004)  # five standard errors
    assert weights.mean(0).std().item() == pytest.approx(0.05, rel=0.15)  # independent over queries
    assert weights.mean(1).std().item() == pytest.approx(1000**-0.5, rel=0.2)  # and over replicates


def test_weights_depend_on_seed_and_index_alone() -> None:
    weights = bootstrap_weights(torch.arange(20), 50, seed=0)
    assert torch.equal(bootstrap_weights(torch.tensor([7, 3]), 50, seed=0), weights[[7, 3]])
    assert torch.equal(bootstrap_weights(torch.arange(20), 30, seed=0), weights[:, :30])
    assert not torch.equal(bootstrap_weights(torch.arange(20), 50, seed=1), weights)
    assert bootstrap_weights(torch.arange(20), 0, seed=0).shape == (20, 0)
    assert bootstrap_weights(torch.arange(0), 5, seed=0).shape == (0, 5)


def test_drawing_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    bootstrap_weights(torch.arange(3), 5, seed=0)
    random_updates(torch.arange(3), (2, 4), 0, "gaussian")
    assert torch.equal(torch.get_rng_state(), before)


def test_random_numbers_depend_on_seed_and_index_alone() -> None:
    gaussian = random_updates(torch.arange(50), (3, 400), 0, "gaussian")
    uniform = random_updates(torch.arange(50), (3, 400), 0, "uniform")
    scores = random_scores(torch.arange(50), (3, 400), 0)
    for drawn in (gaussian, uniform, scores):
        assert drawn.shape == (50, 3, 400)
        assert drawn.dtype == torch.float64
        assert len(drawn.unique()) == drawn.numel()
    assert torch.equal(random_updates(torch.tensor([9]), (3, 400), 0, "gaussian"), gaussian[9:10])
    assert torch.equal(random_updates(torch.tensor([9]), (3, 400), 0, "uniform"), uniform[9:10])
    assert torch.equal(random_scores(torch.tensor([9]), (3, 400), 0), scores[9:10])
    assert not torch.equal(random_scores(torch.tensor([9]), (3, 400), 1), scores[9:10])
    assert not torch.equal(scores, uniform)
    assert (gaussian.mean().item(), gaussian.std().item()) == pytest.approx((0, 1), abs=0.02)
    for drawn in (uniform, scores):
        assert (drawn.mean().item(), drawn.std().item()) == pytest.approx((0.5, 12**-0.5), abs=0.01)
        assert 0 <= drawn.min() < 0.001 < 0.999 < drawn.max() < 1


def test_interval_is_that_of_an_ordinary_bootstrap() -> None:
    values = numbers(300, 1)
    mean, low, high = measured(values, 2000, 300).compute()[0].tolist()
    drawn = values[:, 0].numpy()[np.random.default_rng(0).integers(300, size=(2000, 300))].mean(1)
    expected_low, expected_high = np.percentile(drawn, [2.5, 97.5])
    width = expected_high - expected_low
    assert mean == pytest.approx(values.mean().item(), abs=1e-12)
    assert (low, high) == pytest.approx((expected_low, expected_high), abs=0.1 * width)


def test_interval_follows_from_the_weights() -> None:
    values, weights = numbers(9, 2), bootstrap_weights(torch.arange(9), 100, seed=3)
    replicates = (weights.T @ values / weights.sum(0)[:, None]).numpy()
    replicates = np.concatenate([replicates, replicates.mean(1, keepdims=True)], 1)
    rows = measured(values, 100, 4).compute()
    assert rows.shape == (3, 3)
    assert rows[:, 0].tolist() == pytest.approx([*values.mean(0).tolist(), values.mean().item()], abs=1e-12)
    np.testing.assert_allclose(rows[:, 1:].numpy().T, np.percentile(replicates, [2.5, 97.5], axis=0), atol=1e-12)


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_nothing_depends_on_the_batch_size_or_the_order(batch_size: int) -> None:
    values = numbers(64, 3)
    expected = measured(values, 50, 64).compute()
    order = torch.randperm(64, generator=torch.Generator().manual_seed(1))
    for metric in (measured(values, 50, batch_size), measured(values[order], 50, batch_size, order)):
        torch.testing.assert_close(metric.compute(), expected, rtol=0, atol=1e-12)


def test_states_of_two_instances_add_up() -> None:
    values, indices = numbers(30, 3), torch.arange(30)
    first = measured(values[:11], 50, 5, indices[:11])
    first.merge_state(measured(values[11:], 50, 5, indices[11:]))
    torch.testing.assert_close(first.compute(), measured(values, 50, 30).compute(), rtol=0, atol=1e-12)


def test_without_replicates_there_is_no_interval() -> None:
    rows = measured(numbers(8, 2), 0, 3).compute()
    assert not rows[:, 0].isnan().any()
    assert rows[:, 1:].isnan().all()


@pytest.mark.parametrize("num_replicates", [0, 20])
def test_an_empty_set_is_nan(num_replicates: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchmetrics: compute before update
        rows = Bootstrap(Mean(2), Resampling(num_replicates)).compute()
    assert rows.shape == (3, 3)
    assert rows.isnan().all()
    assert measured(torch.empty(0, 2), num_replicates, 1).compute().isnan().all()


def test_replicates_without_a_query_are_left_out() -> None:
    rows = measured(torch.tensor([[2.0, 4.0]]), 20, 1).compute()
    assert rows.tolist() == [[2, 2, 2], [4, 4, 4], [3, 3, 3]]


def test_reset_forgets() -> None:
    metric = measured(numbers(8, 2), 5, 3)
    metric.reset()
    metric.update(torch.ones(1, 2))
    assert torch.equal(metric.compute(), torch.ones(3, 3, dtype=torch.float64))


def test_queries_without_indices_are_numbered_as_they_come() -> None:
    values = numbers(30, 2)
    updated, called = (Bootstrap(Mean(2), Resampling(50, seed=3)) for _ in range(2))
    for batch, indices in zip(values.split(7), torch.arange(30).split(7), strict=True):
        updated.update(batch)
        assert torch.equal(called(batch), measured(batch, 50, 7, indices).compute())  # of each batch alone
    for metric in (updated, called):
        torch.testing.assert_close(metric.compute(), measured(values, 50, 7).compute(), rtol=0, atol=1e-12)
        metric.reset()
        metric.update(values)
        assert torch.equal(metric.compute(), measured(values, 50, 30).compute())


def test_metrics_that_share_a_resampling_draw_once(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    monkeypatch.setattr(
        "iclgd.metrics.bootstrap.bootstrap_weights", lambda *args: drawn.append(args) or bootstrap_weights(*args)
    )
    resampling = Resampling(20, seed=3)
    metrics = [Bootstrap(Mean(2), resampling) for _ in range(3)]
    for batch, indices in zip(numbers(12, 2).split(6), torch.arange(12).split(6), strict=True):
        for metric in metrics:
            metric.update(batch, indices=indices)
    assert len(drawn) == 2
    assert torch.equal(metrics[2].compute(), measured(numbers(12, 2), 20, 6).compute())


def test_errors_are_one_line() -> None:
    metric = Bootstrap(Mean(2), Resampling(5))
    with pytest.raises(ValueError, match=r"^values must have shape \(B, L\) = \(B, 2\), got \(4, 3\)$"):
        metric.update(torch.ones(4, 3))
    with pytest.raises(ValueError, match=r"^indices must have shape \(B,\) = \(4,\), got \(3,\)$"):
        metric.update(torch.ones(4, 2), indices=torch.arange(3))
    with pytest.raises(ValueError, match=r"^metric must be a QueryMean, got Accuracy$"):
        Bootstrap(Accuracy())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^metric must be a Share, got Mean$"):
        WilsonInterval(Mean(2))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^num_layers must be at least 1, got 0$"):
        Mean(0)
    with pytest.raises(ValueError, match=r"^num_replicates must not be negative, got -1$"):
        Resampling(-1)
    with pytest.raises(ValueError, match=r"^num_replicates must not be negative, got -1$"):
        bootstrap_weights(torch.arange(2), -1, seed=0)
    for indices in (torch.ones(2), torch.tensor(3), torch.ones(2, 2, dtype=torch.long)):
        with pytest.raises(ValueError, match=r"^indices must be a vector of integers, got torch\..* of shape \("):
            bootstrap_weights(indices, 3, seed=0)
        with pytest.raises(ValueError, match=r"^indices must be a vector of integers"):
            random_scores(indices, (2, 3), seed=0)
    with pytest.raises(ValueError, match=r"^kind must be one of gaussian, uniform, got 'normal'$"):
        random_updates(torch.arange(2), (2, 3), 0, "normal")
    with pytest.raises(TypeError, match="abstract"):
        QueryMean(1)  # type: ignore[abstract]
