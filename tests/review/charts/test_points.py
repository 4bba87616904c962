import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from iclgd.review.charts.points import MOST_POINTS, course, line, number, points_each, spread_on, thinned
from iclgd.review.document import Series

VALUES = st.lists(st.one_of(st.floats(-1e6, 1e6), st.just(math.nan)), min_size=1, max_size=600)


@given(VALUES, st.integers(5, 60))
def test_thinning_keeps_ends_extremes_and_gaps(values: list[float], most: int) -> None:
    places = thinned(values, most)
    kept = np.array(values)[places]
    assert len(places) <= max(most, 0)
    assert sorted(set(places.tolist())) == places.tolist()
    assert (places[0], places[-1]) == (0, len(values) - 1)
    finite = [value for value in values if not math.isnan(value)]
    if finite:
        assert np.nanmin(kept) == min(finite)
        assert np.nanmax(kept) == max(finite)
    assert np.isnan(kept).any() == (len(finite) < len(values))


def test_few_points_all_stay() -> None:
    assert thinned(np.arange(MOST_POINTS)).tolist() == list(range(MOST_POINTS))


def test_a_spike_of_one_step_survives() -> None:
    values = np.zeros((1, 10_000))
    values[0, 7777] = 5.0
    drawn = line("", np.arange(10_000), values)
    assert len(drawn.x) <= MOST_POINTS
    assert (drawn.x[list(drawn.y).index(5)], max(y for y in drawn.y if y is not None)) == (7777, 5)


def test_bands_are_student_intervals() -> None:
    values = np.random.default_rng(0).normal(2.0, 0.3, (5, 7))
    drawn = line("", np.arange(7), values)
    low, high = stats.t.interval(0.95, 4, values.mean(0), stats.sem(values, axis=0))
    assert drawn.y == pytest.approx(values.mean(0), rel=1e-5)
    assert drawn.low == pytest.approx(low, rel=1e-5)
    assert drawn.high == pytest.approx(high, rel=1e-5)


def test_bands_on_logarithmic_axes_are_ratios() -> None:
    values = np.random.default_rng(1).lognormal(0.0, 1.0, (4, 3))
    drawn = line("", np.arange(3), values, is_log=True)
    logs = np.log(values)
    ends = stats.t.interval(0.95, 3, logs.mean(0), stats.sem(logs, axis=0))
    assert drawn.y == pytest.approx(stats.gmean(values), rel=1e-5)
    assert [drawn.low, drawn.high] == [pytest.approx(np.exp(end), rel=1e-5) for end in ends]


def test_what_is_not_finite_in_one_seed_is_a_gap_in_mean_and_band() -> None:
    drawn = line("", [0, 1, 2], np.array([[1.0, math.inf, 3.0], [1.5, 2.0, 1e200]]))
    assert drawn.y == [1.25, None, None]
    assert [each is None for each in drawn.low] == [False, True, True]


def test_a_logarithmic_axis_has_no_place_for_zero() -> None:
    assert math.isnan(spread_on([0.0, 1.0], is_log=True).mean)


def test_one_run_has_no_band() -> None:
    drawn = line("", [0, 1], np.array([[1.0, 2.0]]))
    assert (drawn.y, drawn.low, drawn.high) == ([1, 2], [], [])


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_numbers_have_six_digits_or_are_nothing(value: float) -> None:
    found = number(value)
    if not abs(value) < 1e100:
        assert found is None
    else:
        assert found == pytest.approx(value, rel=5.1e-6, abs=0)


def test_many_lines_have_fewer_points_each() -> None:
    assert points_each(1) == MOST_POINTS
    assert points_each(24) * 24 <= 2400
    assert points_each(10_000) == 40


def test_a_line_without_numbers_is_told_as_such() -> None:
    assert course(Series("loss", [0, 1], [None, None])) == "loss: not a number anywhere"
