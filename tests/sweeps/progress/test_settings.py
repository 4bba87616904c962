"""Trials grouped by settings: which is the best, and how sure that is."""

import math

import numpy as np
import pytest
from scipy import stats

from iclgd.sweeps.progress.settings import (
    Row,
    best_row,
    best_setting,
    difference,
    most_seeds,
    overlap,
    ranked,
    settings_of,
)
from iclgd.sweeps.progress.texts import against, found

Losses = dict[str, list[float | None]]


def rows(losses: Losses) -> list[Row]:
    """Return trials of settings by name; ``None`` is one that has not ended."""
    trials = [(name, seed, loss) for name, of_it in losses.items() for seed, loss in enumerate(of_it)]
    return [
        Row(number, {"name": name, "seed": seed}, loss, "waiting" if loss is None else "done")
        for number, (name, seed, loss) in enumerate(trials)
    ]


def order(losses: Losses, goal: str = "minimize") -> str:
    return "".join(str(setting.values["name"]) for setting in ranked(settings_of(rows(losses)), goal))


def why(losses: Losses) -> dict[str, str]:
    settings = settings_of(rows(losses))
    return {str(each.values["name"]): each.why_not_best(most_seeds(settings)) for each in settings}


LUCKY: Losses = {"a": [0.5, 0.5, 0.6], "b": [0.1, 0.9, 0.9], "c": [0.7, 0.7, 0.7]}


def test_the_best_setting_is_not_that_of_the_best_trial() -> None:
    trials = rows(LUCKY)
    trial, setting = best_row(trials, "minimize"), best_setting(settings_of(trials), "minimize")
    assert trial is not None
    assert setting is not None
    assert (trial.values["name"], trial.metric) == ("b", 0.1)
    assert setting.values == {"name": "a"}
    assert order(LUCKY) == "abc"
    assert order(LUCKY, "maximize") == "cba"


@pytest.mark.parametrize("number", [2, 3, 5, 40])
def test_the_interval_is_students(number: int) -> None:
    losses = np.random.default_rng(number).normal(3, 2, number)
    (setting,) = settings_of(rows({"a": losses.tolist()}))
    expected = stats.t.interval(0.95, number - 1, losses.mean(), stats.sem(losses))
    assert setting.spread is not None
    assert setting.spread.mean == pytest.approx(losses.mean())
    assert (setting.spread.low, setting.spread.high) == pytest.approx(expected)
    assert setting.spread.deviation == pytest.approx(losses.std(ddof=1))
    assert (setting.done, setting.planned) == (number, number)


@pytest.mark.parametrize("goal", ["minimize", "maximize"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_setting_that_is_not_finite_is_never_the_best(goal: str, value: float) -> None:
    losses: Losses = {"a": [value, 0.1, 0.9], "b": [0.5, 0.5, 0.5]}
    assert order(losses, goal) == "ba"
    assert why(losses) == {"a": "not finite in 1 of 3 seeds", "b": ""}
    assert best_setting(settings_of(rows({"a": [value, 0.1]})), goal) is None
    assert best_row(rows({"a": [value]}), goal) is None


def test_a_setting_with_seeds_that_are_missing_waits_for_them() -> None:
    losses: Losses = {"a": [0.1, None, None], "b": [0.5, 0.5, 0.5], "c": [0.6, 0.6, 0.6], "d": [None, None, None]}
    assert order(losses) == "bcad"
    assert why(losses) == {"a": "1 of 3 seeds done", "b": "", "c": "", "d": "none of 3 seeds done"}


def test_while_no_setting_is_complete_those_with_most_seeds_are_compared() -> None:
    losses: Losses = {"a": [0.1, None, None], "b": [0.5, 0.7, None], "c": [0.5, 0.6, None]}
    assert order(losses) == "cba"
    assert "" not in why(losses).values()


def test_a_search_may_draw_settings_more_or_less_often_but_not_once_against_many() -> None:
    losses: Losses = {"a": [0.1], "b": [0.5, 0.5, 0.5, 0.5], "c": [0.3, 0.4]}
    assert order(losses) == "cba"
    assert why(losses) == {"a": "1 seed, others have 4", "b": "", "c": ""}
    assert order({"a": [0.1], "b": [0.2], "c": [0.05]}) == "cab"


def test_one_seed_twice_is_no_repetition() -> None:
    trials = [Row(i, {"rate": 0.1, "seed": 0}, 0.5 + i, "done") for i in range(2)]
    failed = Row(2, {"rate": 0.1, "seed": 1}, None, "failed")
    (setting,) = settings_of([failed, *trials])
    assert (setting.by_seed, setting.done, setting.planned) == ({(0,): 0.5}, 1, 2)


def test_what_is_a_seed_may_be_said() -> None:
    trials = [
        Row(i, {"seed": i % 2, "demonstrations.seed": i // 2, "tags": ["a", i > 1]}, float(i), "done") for i in range(4)
    ]
    assert [each.values["tags"] for each in settings_of(trials)] == [["a", False], ["a", True]]
    by_draw = settings_of(trials, ("demonstrations.seed",))
    assert [each.values["seed"] for each in by_draw] == [0, 1, 0, 1]
    assert len(settings_of(trials, ("seed", "demonstrations.seed", "tags"))) == 1


def test_the_difference_is_paired_over_the_seeds_that_both_have() -> None:
    losses: Losses = {"a": [1.0, 5.0, 9.0, 2.0], "b": [1.2, 5.1, 9.3, None]}
    first, second = settings_of(rows(losses))
    paired = difference(first, second)
    pairs = np.array([-0.2, -0.1, -0.3])
    expected = stats.t.interval(0.95, 2, pairs.mean(), stats.sem(pairs))
    test = stats.ttest_rel([1.0, 5.0, 9.0], [1.2, 5.1, 9.3])
    assert paired is not None
    assert paired.number == 3
    assert paired.mean == pytest.approx(-0.2)
    assert (paired.low, paired.high) == pytest.approx(expected)
    assert (paired.high < 0) == (test.pvalue < 0.05)
    assert first.spread is not None
    assert second.spread is not None
    assert overlap(first.spread, second.spread)
    text = "the intervals overlap; paired over 3 seeds they differ by -0.200 [-0.45, 0.05]: not told apart"
    assert against(first, second) == text


def test_one_seed_has_no_interval_to_compare() -> None:
    first, second = settings_of(rows({"a": [1.0], "b": [2.0]}))
    assert against(first, second) == "too few seeds in common for a paired difference"
    assert found(first) == "1 over 1 of 1 seed"
