"""The intervals beside scipy's, and beside published ones."""

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import optimize, stats

from iclgd.report.comparisons import Estimate
from iclgd.runs.difference_intervals import from_intervals, paired_means, paired_shares, unpaired_means


def answers(both: int, only_first: int, only_second: int, none: int) -> tuple[NDArray[Any], NDArray[Any]]:
    first = np.repeat([1.0, 1.0, 0.0, 0.0], [both, only_first, only_second, none])
    second = np.repeat([1.0, 0.0, 1.0, 0.0], [both, only_first, only_second, none])
    return first, second


def test_paired_means_are_those_of_scipy() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=30), rng.normal(0.2, 2, size=30)
    expected = stats.ttest_rel(second, first).confidence_interval(0.95)
    found = paired_means(first, second)
    assert found.difference == pytest.approx(second.mean() - first.mean(), rel=1e-12)
    assert found[1:] == pytest.approx((expected.low, expected.high), rel=1e-12)


def test_unpaired_means_are_those_of_scipy() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=5), rng.normal(1, 3, size=9)
    expected = stats.ttest_ind(second, first, equal_var=False).confidence_interval(0.95)
    found = unpaired_means(first, second)
    assert found[1:] == pytest.approx((expected.low, expected.high), rel=1e-12)
    assert unpaired_means(np.ones(2), np.ones(3)) == (0.0, 0.0, 0.0)


def test_shares_have_the_published_interval() -> None:
    # Fagerland, Lydersen & Laake 2014, table 4: airway hyper-responsiveness, 1 and 1, 7 and 12 children.
    found = paired_shares(*answers(both=1, only_first=7, only_second=1, none=12))
    assert tuple(round(each, 3) for each in found) == (-0.286, -0.517, -0.026)


@pytest.mark.parametrize("cells", [(10, 3, 9, 5), (0, 0, 4, 0), (5, 0, 0, 5), (0, 7, 0, 1), (100, 20, 5, 300)])
def test_the_score_is_at_its_quantile_at_both_ends(cells: tuple[int, int, int, int]) -> None:
    """The variance at each end is that of the likelihood's maximum, found here by a search."""
    both, only_first, only_second, none = cells
    number = sum(cells)
    found = paired_shares(*answers(*cells))

    def score(delta: float) -> float:
        def minus_likelihood(q: float) -> float:
            terms = [(only_second, q + delta), (only_first, q), (both + none, 1 - 2 * q - delta)]
            return -sum(count * math.log(max(share, 1e-300)) for count, share in terms if count)

        low, high = max(0.0, -delta), (1 - delta) / 2
        q = optimize.minimize_scalar(minus_likelihood, bounds=(low, high), method="bounded", options={"xatol": 1e-12}).x
        distance = only_second - only_first - number * delta
        return distance / math.sqrt(number * (2 * q + delta - delta**2))

    for end, sign in ((found.low, 1), (found.high, -1)):
        if abs(end) < 1 - 1e-9:
            assert score(end) == pytest.approx(sign * 1.959964, abs=1e-3)


@pytest.mark.parametrize(("only_first", "only_second"), [(5, 15), (6, 15), (20, 20), (1, 4), (0, 3), (0, 4), (9, 2)])
def test_zero_is_outside_just_if_mcnemar_says_so(only_first: int, only_second: int) -> None:
    statistic = (only_first - only_second) ** 2 / (only_first + only_second)
    found = paired_shares(*answers(30, only_first, only_second, 30))
    assert (found.low > 0 or found.high < 0) == (stats.chi2.sf(statistic, 1) < 0.05)


def test_shares_that_are_alike_are_not_certain_and_turn_round() -> None:
    found = paired_shares(*answers(10, 0, 0, 0))
    assert (found.difference, found.low) == (0.0, -found.high)
    assert found.high == pytest.approx(1.959964**2 / (10 + 1.959964**2), rel=1e-6)  # its closed form
    first, second = answers(10, 3, 7, 2)
    there, back = paired_shares(first, second), paired_shares(second, first)
    assert there == pytest.approx((-back.difference, -back.high, -back.low), abs=1e-12)


def test_intervals_of_both_are_joined() -> None:
    # Of equal, symmetric intervals it is the textbook's: sqrt(2) times as wide.
    found = from_intervals(Estimate(1.0, 0.8, 1.2), Estimate(1.5, 1.3, 1.7))
    assert found == pytest.approx((0.5, 0.5 - 0.2 * math.sqrt(2), 0.5 + 0.2 * math.sqrt(2)))
    # Newcombe 1998, method 10: 56/70 beside 48/80 has 0.2 [0.0524, 0.3339] from two Wilson intervals.
    wilson = [stats.binomtest(k, n).proportion_ci(method="wilson") for k, n in ((48, 80), (56, 70))]
    estimates = [Estimate(k / n, ci.low, ci.high) for (k, n), ci in zip(((48, 80), (56, 70)), wilson, strict=True)]
    assert tuple(round(each, 4) for each in from_intervals(*estimates)) == (0.2, 0.0524, 0.3339)
