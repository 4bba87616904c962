"""95 % intervals of means by resampling: the bootstrap's percentiles; Efron & Tibshirani 1993, chapter 13."""

from typing import NamedTuple

import torch
from torch import Tensor

LEVELS = (0.025, 0.975)  # of a 95 % interval


class MeanInterval(NamedTuple):
    """A mean over tasks and its 95 % interval."""

    mean: float
    low: float
    high: float


def resample(num_tasks: int, num_resamples: int, generator: torch.Generator) -> Tensor:
    """Return each task's share of each resample, (R, B), in double precision: a multinomial count over B.

    Args:
        num_tasks: B.
        num_resamples: R.
        generator: on the CPU.
    """
    drawn = torch.randint(num_tasks, (num_resamples, num_tasks), generator=generator)
    counts = torch.zeros(num_resamples, num_tasks, dtype=torch.float64)
    return counts.scatter_add_(1, drawn, torch.ones((), dtype=torch.float64).expand_as(drawn)) / num_tasks


def percentiles(resampled: Tensor) -> tuple[Tensor, Tensor]:
    """Return the ends of the 95 % interval, from resampled means along the last axis, (..., R) -> (...)."""
    low, high = torch.quantile(resampled, resampled.new_tensor(LEVELS), dim=-1)
    return low, high


def mean_intervals(values: Tensor, shares: Tensor) -> dict[str, list[float]]:
    """Return means over tasks with their 95 % intervals, for a record.

    The same resamples for several measures make their differences paired. A mean of what is not finite is NaN, and so
    is its interval.

    Args:
        values: of B tasks at P positions, (B, P).
        shares: of :func:`resample`, (R, B).

    Returns:
        ``mean``, ``low`` and ``high``, of P numbers each.

    Example:
        >>> shares = resample(100, 50, torch.Generator().manual_seed(0))
        >>> found = mean_intervals(torch.arange(100.0)[:, None], shares)
        >>> found["mean"], found["low"][0] < 49.5 < found["high"][0]
        ([49.5], True)
    """
    numbers = values.detach().double().cpu()
    is_finite = numbers.isfinite().all(0)
    kept = numbers.where(is_finite, torch.zeros_like(numbers))
    mean, (low, high) = kept.mean(0), percentiles((shares @ kept).T)
    nan = torch.full_like(mean, torch.nan)
    ends = zip(("mean", "low", "high"), (mean, low, high), strict=True)
    return {name: torch.where(is_finite, each, nan).tolist() for name, each in ends}
