"""Intervals over draws and queries: closed forms, and how often they cover in simulations of known variances."""

import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from iclgd.crossed_effects import crossed_variance
from iclgd.metrics import crossed_mean_interval, crossed_share_interval

NUM_DRAWS, NUM_QUERIES = 5, 128
# Standard deviations of draws, queries and what is left. Of shares the last is 1: that of what decides an answer.
MEANS = {
    "queries": (0, 1, 0),
    "queries and noise": (0, 1, 1),
    "draws": (1, 0, 0),
    "draws and noise": (0.2, 0, 1),
    "both": (0.1, 1, 0.5),
    "both alike": (0.09, 1, 1),
    "mostly draws": (0.5, 1, 1),
    "noise": (0, 0, 1),
}
SHARES = {
    "queries": (0, 3),
    "queries and noise": (0, 1),
    "draws": (0.2, 0),
    "both": (0.15, 1),
    "mostly draws": (0.3, 1),
    "noise": (0, 0),
}
# Near 1 the interval reaches 1: only one side can be missed, and it covers up to 97.5 % by design.
BOUNDS = {0.7: (0.92, 0.97), 0.9: (0.92, 0.97), 0.99: (0.92, 0.98)}
FEW, MANY = 250, 1000  # simulations of a mix
Generator = np.random.Generator


def latent(generator: Generator, draws: float, queries: float, rest: float, number: int) -> Iterator[Tensor]:
    for _ in range(number):
        values = draws * generator.standard_normal((NUM_DRAWS, 1)) + queries * generator.standard_normal(NUM_QUERIES)
        yield torch.from_numpy(values + rest * generator.standard_normal((NUM_DRAWS, NUM_QUERIES)))


def covers(interval: Tensor, value: float) -> bool:
    return bool(interval[-2] <= value <= interval[-1])


def over_queries(values: Tensor) -> Tensor:
    """Return the interval of one level, as of a bootstrap over queries."""
    means = values.mean(0)
    reach = 1.96 * means.std() / math.sqrt(len(means))
    return torch.stack([means.mean() - reach, means.mean() + reach])


def coverage_of_means(name: str, number: int) -> tuple[float, float]:
    found = list(latent(np.random.default_rng(0), *MEANS[name], number))
    two = np.mean([covers(crossed_mean_interval(values), 0.0) for values in found])
    return float(two), float(np.mean([covers(over_queries(values), 0.0) for values in found]))


def coverage_of_shares(name: str, share: float, number: int) -> tuple[float, float]:
    draws, queries = SHARES[name]
    rest = 0.0 if name == "queries" else 1.0
    threshold = stats.norm.ppf(share) * math.sqrt(draws**2 + queries**2 + rest**2)
    found = [values > -threshold for values in latent(np.random.default_rng(1), draws, queries, rest, number)]
    right = [values.double() for values in found]
    two = np.mean([covers(crossed_share_interval(each, torch.ones_like(each)), share) for each in right])
    return float(two), float(np.mean([covers(over_queries(each), share) for each in right]))


@pytest.mark.parametrize("name", ["queries and noise", "mostly draws"])
def test_means_are_covered(name: str) -> None:
    two_levels, one_level = coverage_of_means(name, FEW)
    assert 0.92 <= two_levels <= 0.97
    assert one_level < 0.97 if name == "queries and noise" else one_level < 0.7


@pytest.mark.parametrize(("name", "share"), [("both", 0.9), ("mostly draws", 0.9), ("queries", 0.99)])
def test_shares_are_covered(name: str, share: float) -> None:
    two_levels, one_level = coverage_of_shares(name, share, FEW)
    assert BOUNDS[share][0] <= two_levels <= BOUNDS[share][1]
    assert one_level < two_levels


@pytest.mark.slow
@pytest.mark.parametrize("name", MEANS)
def test_means_are_covered_in_every_mix(name: str) -> None:
    two_levels, _ = coverage_of_means(name, MANY)
    assert 0.92 <= two_levels <= 0.97


@pytest.mark.slow
@pytest.mark.parametrize("share", BOUNDS)
@pytest.mark.parametrize("name", SHARES)
def test_shares_are_covered_in_every_mix(name: str, share: float) -> None:
    two_levels, _ = coverage_of_shares(name, share, MANY)
    assert BOUNDS[share][0] <= two_levels <= BOUNDS[share][1]


@pytest.mark.slow
def test_ratios_are_covered() -> None:
    """As Rec2FTP: of the queries that finetuning puts right (a tenth to a half), the share that context gets right."""
    generator, number, inside = np.random.default_rng(2), MANY, 0
    for ours, theirs in zip(latent(generator, 0.2, 1, 1, number), latent(generator, 0.2, 1, 1, number), strict=True):
        counts = (theirs > stats.norm.ppf(0.7) * math.sqrt(2.04)).double()
        terms = counts * (ours > -stats.norm.ppf(0.9) * math.sqrt(2.04))
        inside += covers(crossed_share_interval(terms, counts), 0.9)
    assert 0.92 <= inside / number <= 0.97


def test_the_variance_is_that_of_the_analysis_of_variance() -> None:
    values = torch.randn(4, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    values += torch.arange(9.0)  # queries that differ
    table = values.numpy()
    rows, columns, mean = table.mean(1), table.mean(0), table.mean()
    of_draws = 9 * rows.var(ddof=1)
    of_queries = 4 * columns.var(ddof=1)
    rest = ((table - rows[:, None] - columns + mean) ** 2).sum() / (3 * 8)
    variance, freedom = crossed_variance(table)
    assert variance == pytest.approx((of_draws + of_queries - rest) / 36)
    expected = (of_draws + of_queries - rest) ** 2 / (of_draws**2 / 3 + (of_queries - rest) ** 2 / 8)
    assert freedom == pytest.approx(expected)
    reach = stats.t.ppf(0.975, expected) * math.sqrt(variance)
    assert crossed_mean_interval(values).tolist() == pytest.approx([mean, mean - reach, mean + reach])


def test_draws_that_are_all_the_same_leave_the_queries() -> None:
    queries = torch.tensor([0.1, 0.5, 0.4, 0.9], dtype=torch.float64)
    interval = crossed_mean_interval(queries.expand(3, -1))
    expected = stats.t.interval(0.95, 3, queries.mean(), stats.sem(queries))
    assert interval[1:].tolist() == pytest.approx(expected)


def test_one_query_leaves_the_draws() -> None:
    draws = torch.tensor([[0.1], [0.5], [0.4]], dtype=torch.float64)
    expected = stats.t.interval(0.95, 2, draws.mean(), stats.sem(draws[:, 0]))
    assert crossed_mean_interval(draws)[1:].tolist() == pytest.approx(expected)


def test_the_ends_of_shares() -> None:
    ones = torch.ones(5, 128)
    low = stats.binomtest(128, 128).proportion_ci(method="wilson").low
    assert crossed_share_interval(ones, ones).tolist() == pytest.approx([1.0, low, 1.0])
    assert crossed_share_interval(0 * ones, ones).tolist() == pytest.approx([0.0, 0.0, 1 - low])
    assert crossed_share_interval(0 * ones, 0 * ones).isnan().all()
    assert crossed_share_interval(ones * math.nan, ones).isnan().all()
    values = torch.tensor([[0.5, math.nan], [0.5, 0.5]])
    assert crossed_mean_interval(values).isnan().all()
    checkers = torch.eye(2)  # no draw and no query is better than another
    assert crossed_variance(checkers.numpy())[0] > 0


def test_one_draw_is_refused() -> None:
    with pytest.raises(ValueError, match="values must have shape"):
        crossed_variance(np.ones((1, 5)))
