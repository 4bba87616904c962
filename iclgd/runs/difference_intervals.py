"""95 % intervals of differences: paired, where two runs saw the same queries, tasks or seeds, else unpaired."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from iclgd.crossed_effects import mean_interval
from iclgd.report.comparisons import Estimate
from iclgd.student_t import t_quantile

Array = NDArray[Any]
ALPHA = 0.05
NORMAL_QUANTILE = 1.959963984540054  # of 0.975
NUM_HALVINGS = 60  # after which an end has its last digit


class Interval(NamedTuple):
    """A difference, the second minus the first, with the ends of its 95 % interval."""

    difference: float
    low: float
    high: float


def paired_means(first: Array, second: Array) -> Interval:
    """Return the difference of two means over the same things, by Student's t of the differences.

    Args:
        first: shape ``(N,)``.
        second: of the same, ``(N,)``.

    Example:
        >>> "{:.2f} [{:.2f}, {:.2f}]".format(*paired_means(np.array([1.0, 2.0, 3.0]), np.array([2.0, 3.0, 5.0])))
        '1.33 [-0.10, 2.77]'
    """
    differences = second - first
    return _student(float(differences.mean()), float(differences.var(ddof=1)) / len(first), len(first) - 1.0)


def crossed_means(first: Array, second: Array) -> Interval:
    """Return the difference of two means over the same draws and queries, both drawn at random.

    Args:
        first: shape ``(K, Q)``, K at least 2.
        second: of the same draws and queries, ``(K, Q)``.

    Example:
        >>> one, other = np.array([[1.0, 2.0], [1.0, 3.0]]), np.array([[2.0, 3.5], [2.5, 4.0]])
        >>> "{:.2f} [{:.2f}, {:.2f}]".format(*crossed_means(one, other))
        '1.25 [-1.93, 4.43]'
    """
    return Interval(*mean_interval(second - first))


def unpaired_means(first: Array, second: Array) -> Interval:
    """Return the difference of two means over different things; Welch 1947.

    Args:
        first: shape ``(N,)``, N at least 2.
        second: shape ``(M,)``, M at least 2.
    """
    parts = [float(each.var(ddof=1)) / len(each) for each in (first, second)]
    variance = sum(parts)
    freedoms = [part**2 / (len(each) - 1) for part, each in zip(parts, (first, second), strict=True)]
    freedom = max(1.0, variance**2 / sum(freedoms)) if sum(freedoms) else math.inf  # less by underflow alone
    return _student(float(second.mean() - first.mean()), variance, freedom)


def paired_shares(first: Array, second: Array) -> Interval:
    r"""Return the difference of two shares of the same queries, by inverting the paired score test; Tango 1998.

    .. math:: \frac{b - c - N \delta}{\sqrt{N (2 q + \delta (1 - \delta))}} = \pm z

    where b queries are right in the second alone, c in the first alone, and q is the likelihood's best share of the
    latter if the difference is :math:`\delta`. Zero is outside just if McNemar's test (without correction) says so at
    5 %; and where both are right on the same queries the interval is not a point.

    Args:
        first: 1 or 0 for each query, ``(N,)``.
        second: of the same queries.

    Example:
        >>> right = np.arange(64) % 2
        >>> "{:.3f} [{:.3f}, {:.3f}]".format(*paired_shares(right, right))
        '0.000 [-0.057, 0.057]'
    """
    number = len(first)
    b, c = float(((second == 1) & (first == 0)).sum()), float(((first == 1) & (second == 0)).sum())
    difference = (b - c) / number

    def score(delta: float) -> float:
        linear = (2 * number - b + c) * delta - b - c
        q = (math.sqrt(max(0.0, linear**2 + 8 * number * c * delta * (1 - delta))) - linear) / (4 * number)
        variance = number * (2 * q + delta * (1 - delta))
        distance = b - c - number * delta
        return distance / math.sqrt(variance) if variance > 0 else math.copysign(math.inf, distance)

    def end(far: float, quantile: float) -> float:
        inside = difference
        for _ in range(NUM_HALVINGS):
            middle = (inside + far) / 2
            inside, far = (middle, far) if abs(score(middle)) < quantile else (inside, middle)
        return inside

    return Interval(difference, end(-1.0, NORMAL_QUANTILE), end(1.0, NORMAL_QUANTILE))


def from_intervals(first: Estimate, second: Estimate) -> Interval:
    """Return the difference of two independent estimates from their own intervals; Zou & Donner 2008 (MOVER).

    Example:
        >>> "{:.1f} [{:.1f}, {:.1f}]".format(*from_intervals(Estimate(1.0, 0.6, 1.4), Estimate(2.0, 1.7, 2.3)))
        '1.0 [0.5, 1.5]'
    """
    difference = second.value - first.value
    low = difference - math.hypot(second.value - second.low, first.high - first.value)
    high = difference + math.hypot(second.high - second.value, first.value - first.low)
    return Interval(difference, low, high)


def all_finite(*values: Sequence[float] | Array) -> bool:
    """Say whether all numbers are finite; of others no interval is made."""
    return all(bool(np.isfinite(np.asarray(each, float)).all()) for each in values)


def _student(difference: float, variance: float, freedom: float) -> Interval:
    quantile = NORMAL_QUANTILE if math.isinf(freedom) else t_quantile(freedom, 1 - ALPHA / 2)
    half = quantile * math.sqrt(variance)
    return Interval(difference, difference - half, difference + half)
