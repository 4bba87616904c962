"""Distances of distributions beside numpy in double precision."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from iclgd.metrics import Bootstrap, NextTokenOverlap, Resampling, TotalVariation, next_token_overlap, total_variation


def distributions(*shape: int) -> list[Tensor]:
    """Return two that are somewhat alike."""
    first, noise = 3 * torch.randn(2, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return [first.log_softmax(-1), (first + noise / 3).log_softmax(-1)]


@pytest.mark.parametrize("k", [1, 10, 200, 300])
def test_overlap_counts_the_tokens_in_both_lists(k: int) -> None:
    first, second = distributions(7, 200)
    expected = [
        len(set(np.argsort(-one)[:k].tolist()) & set(np.argsort(-other)[:k].tolist())) / min(k, 200)
        for one, other in zip(first.numpy(), second.numpy(), strict=True)
    ]
    assert next_token_overlap(first, second, k).tolist() == pytest.approx(expected, abs=1e-15)
    assert k >= 200 or 0 < sum(expected) < 7


def test_total_variation_is_half_the_sum_of_differences() -> None:
    first, second = distributions(3, 4, 200)
    expected = np.abs(np.exp(first.numpy()) - np.exp(second.numpy())).sum(-1) / 2
    np.testing.assert_allclose(total_variation(first, second).numpy(), expected, rtol=0, atol=1e-15)
    common = np.minimum(np.exp(first.numpy()), np.exp(second.numpy())).sum(-1)
    np.testing.assert_allclose(expected, 1 - common, rtol=0, atol=1e-12)


def test_their_ends() -> None:
    one, other = torch.tensor([[[1.0, 0.0, 0.0, 0.0]], [[0.0, 0.5, 0.5, 0.0]]], dtype=torch.float64).log()
    assert total_variation(one, one).tolist() == [0]
    assert total_variation(one, other).tolist() == [1]
    first, second = distributions(1, 40)
    assert next_token_overlap(first, first, 10).tolist() == [1]
    assert next_token_overlap(first, -first, 10).tolist() == [0]
    assert (total_variation(first, second) > 0).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_lower_precision_is_that_of_the_numbers_alone(dtype: torch.dtype) -> None:
    first, second = (each.to(dtype) for each in distributions(5, 3000))
    found = total_variation(first, second)
    expected = np.abs(np.exp(first.double().numpy()) - np.exp(second.double().numpy())).sum(-1) / 2
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-13)
    assert found.dtype == next_token_overlap(first, second, 10).dtype == torch.float64


@pytest.mark.parametrize("metric", [NextTokenOverlap(), TotalVariation()])
def test_a_distribution_that_is_not_finite_makes_the_mean_nan(metric: NextTokenOverlap | TotalVariation) -> None:
    first, second = distributions(5, 30)
    first[2] = math.nan
    for inputs in ((first, second), (second, first)):
        wrapped = Bootstrap(metric, Resampling(20))
        wrapped.update(*inputs)
        assert wrapped.compute().isnan().all()


def test_what_does_not_fit_is_refused_in_one_line() -> None:
    first, second = distributions(5, 30)
    with pytest.raises(ValueError, match=r"^first and second must have one shape, got \(5, 30\) and \(4, 30\)$"):
        total_variation(first, second[:4])
    with pytest.raises(ValueError, match=r"^k must be at least 1, got 0$"):
        next_token_overlap(first, second, 0)
    with pytest.raises(ValueError, match=r"^k must be at least 1, got 0$"):
        NextTokenOverlap(k=0)
    with pytest.raises(ValueError, match=r"^second must have shape \(B, V\) = \(5, 30\), got \(5, 29\)$"):
        TotalVariation().update(first, second[:, :-1])
