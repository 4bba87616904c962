"""Which key decides: checked against PED-ANOVA's formula."""

import math
import random

import numpy as np
import pytest

from iclgd.sweeps.progress.importance import importance
from iclgd.sweeps.progress.settings import Row


def grid(loss: str) -> list[Row]:
    """Return 4 x 3 x 2 trials; the metric is an expression of a, b and seed."""
    points = [{"a": a, "b": f"b{b}", "seed": seed} for seed in range(2) for a in range(4) for b in range(3)]
    places = [(point["a"], int(str(point["b"])[1]), point["seed"]) for point in points]
    losses = [eval(loss, {}, dict(zip(("a", "b", "seed"), place, strict=True))) for place in places]
    return [Row(i, point, loss, "done") for i, (point, loss) in enumerate(zip(points, losses, strict=True))]


def divergence(best: list[int], every: list[int], number: int) -> float:
    """Return Pearson's divergence of the distributions of a category's values, each with a prior of weight one."""

    def density(indices: list[int]) -> np.ndarray:
        distinct, counts = np.unique(indices, return_counts=True)
        kernels = np.full((len(distinct) + 1, number), 1 / (len(distinct) + 1))
        kernels[np.arange(len(distinct)), distinct] += 1
        weights = np.append(counts, 1) / (counts.sum() + 1)
        return np.asarray(weights @ (kernels / kernels.sum(1, keepdims=True)))

    top, local = density(best), density(every)
    return float((local * (top / local - 1) ** 2).sum())


def test_the_shares_are_those_of_the_formula() -> None:
    trials = grid("a + 1.5 * b + 0.01 * seed + 0.001 * a * b")
    best = sorted(trials, key=lambda row: row.metric or 0.0)[:5]
    a = divergence([row.values["a"] for row in best], [row.values["a"] for row in trials], 4)
    b = divergence([int(row.values["b"][1]) for row in best], [int(row.values["b"][1]) for row in trials], 3)
    shares = importance(trials)
    assert shares == pytest.approx({"b": b / (a + b), "a": a / (a + b)}, rel=1e-6)
    assert list(shares or {}) == sorted(shares or {}, key=lambda key: -(shares or {})[key])


@pytest.mark.parametrize("goal", ["minimize", "maximize"])
def test_the_key_that_decides_has_most_and_seeds_have_no_share(goal: str) -> None:
    shares = importance(grid("a + 0.01 * b + 0.001 * seed"), goal)
    assert shares is not None
    assert set(shares) == {"a", "b"}
    assert shares["a"] > 0.9
    assert sum(shares.values()) == pytest.approx(1)
    assert set(importance(grid("float(seed)"), goal, over=("a",)) or {}) == {"b", "seed"}


def test_of_numbers_that_are_drawn() -> None:
    rng = random.Random(0)
    trials = [
        Row(i, {"rate": 10 ** rng.uniform(-4, -1), "other": rng.random(), "fixed": 1}, None, "done") for i in range(60)
    ]
    trials = [Row(row.number, row.values, abs(math.log10(row.values["rate"]) + 2), "done") for row in trials]
    shares = importance(trials)
    assert shares is not None
    assert set(shares) == {"rate", "other"}
    assert shares["rate"] > 2 * shares["other"]


def test_nothing_is_said_where_there_is_too_little() -> None:
    trials = grid("float(a)")
    assert importance([]) is None
    assert importance(trials[:9]) is None
    assert importance(grid("1.0")) is None
    assert importance([Row(row.number, row.values, math.nan, "done") for row in trials]) is None
    assert importance([Row(row.number, {"seed": row.number}, row.metric, "done") for row in trials]) is None
