"""Where models are as near to ridge as to dMMSE: closed forms, and intervals that hold what they say."""

import math

import numpy as np
import pytest

from iclgd.report.crossing import Crossing, Distances, crossing, crossing_text

NUMBERS = [4, 16, 64, 256, 1024, 4096]


def distances(ratio: float, error: float = 0.001) -> Distances:
    """Return distances of sum 1 whose ratio, dMMSE's over ridge's, is given."""
    ridge = 1 / (1 + ratio)
    difference = (1 - ridge) - ridge
    return Distances(ridge, 1 - ridge, difference - 1.959964 * error, difference + 1.959964 * error)


def along(power: float, at: float) -> dict[int, list[Distances]]:
    """Return models whose ratio is a power of the number of tasks, 1 where it is ``at``."""
    return {number: [distances((number / at) ** power)] for number in NUMBERS}


@pytest.mark.parametrize(("power", "at"), [(1.0, 100.0), (0.5, 700.0), (2.0, 5.0)])
def test_a_power_law_crosses_where_it_is_one(power: float, at: float) -> None:
    found = crossing(along(power, at))
    assert found is not None
    assert found.at == pytest.approx(at, rel=1e-6)
    assert found.low < at < found.high
    assert found.over == "prompts"


def test_models_that_are_the_learners_have_no_ratio_and_a_crossing_all_the_same() -> None:
    exact = {16: [Distances(1.0, 0.0, -1.0, -1.0)], 256: [Distances(0.0, 1.0, 1.0, 1.0)]}
    found = crossing(exact)
    assert found is not None
    assert found[:3] == pytest.approx((64, 64, 64))


def test_a_crossing_that_was_not_reached_has_no_number() -> None:
    few, many = distances(0.1), distances(10.0)
    assert crossing({4: [few], 16: [few]}) == Crossing(math.inf, math.inf, math.inf, "prompts")
    assert crossing({4: [many], 16: [many]}) == Crossing(0.0, 0.0, 0.0, "prompts")
    unsure = crossing({4: [few], 16: [distances(1.01, error=0.1)]})
    assert unsure is not None
    assert 4 < unsure.low < unsure.at < 16
    assert unsure.high == math.inf


def test_the_last_change_counts() -> None:
    ratios = {4: 0.1, 16: 2.0, 64: 0.5, 256: 2.0}
    found = crossing({number: [distances(ratio)] for number, ratio in ratios.items()})
    assert found is not None
    assert found.at == pytest.approx(128)


def test_what_is_not_finite_has_no_crossing() -> None:
    assert crossing({}) is None
    assert crossing({4: [Distances(1.0, math.nan, 0.0, 0.0)], 16: [distances(2.0)]}) is None
    assert crossing({4: [Distances(1.0, 2.0, math.nan, math.nan)], 16: [distances(2.0)]}) is None


def test_seeds_are_resampled_where_there_are_three() -> None:
    models = {number: [distances(number / 100 * factor) for factor in (0.5, 1.0, 2.0)] for number in NUMBERS}
    found = crossing(models)
    assert found is not None
    assert found.over == "seeds"
    assert 40 < found.low < found.at < found.high < 250
    alike = crossing({number: [distances(number / 100)] * 3 for number in NUMBERS})
    assert alike is not None
    assert alike[:3] == pytest.approx((100, 100, 100))


def test_the_interval_over_prompts_holds_the_truth_as_often_as_it_says() -> None:
    generator, error, held = np.random.default_rng(1), 0.1, 0
    for _ in range(200):
        models = {}
        for number in (16, 64, 256):
            truth = distances((number / 64) ** 0.5)
            difference = truth.dmmse - truth.ridge + error * generator.normal()
            ends = (difference - 1.959964 * error, difference + 1.959964 * error)
            models[number] = [Distances((1 - difference) / 2, (1 + difference) / 2, *ends)]
        found = crossing(models)
        assert found is not None
        held += found.low <= 64 <= found.high
    assert 180 <= held <= 199  # 95 % of 200, and four standard errors


def test_texts_say_what_was_resampled() -> None:
    assert crossing_text(Crossing(0.0, 0.0, 90.0, "seeds"), NUMBERS) == (
        "nearer to ridge already with the fewest, 4 tasks [below 4, 90] (95% interval over seeds)"
    )
    assert crossing_text(Crossing(math.inf, 3000.0, math.inf, "seeds"), NUMBERS).startswith(
        "nearer to dMMSE up to the most, 4,096 tasks [3,000, above 4,096]"
    )
