"""Errors under Garg's shifts: closed forms, and where each is defined."""

import json
from dataclasses import replace

import pytest

from iclgd.analysis.every_position.shifts import SCALES, SHIFTS, function_shifts
from iclgd.analysis.every_position.subject import MODEL, FunctionSubject
from iclgd.data.functions import LinearFunctionTask
from iclgd.models.learners import LeastSquares
from tests.analysis.every_position.models import CLEAN, POOL

SUBJECT = FunctionSubject(0, LinearFunctionTask(num_points=9, input_dim=4), LeastSquares())


@pytest.fixture(scope="module")
def record():  # type: ignore[no-untyped-def]
    return function_shifts(SUBJECT, list(SHIFTS), 1000, 20)


def test_all_shifts_have_errors_with_intervals(record) -> None:  # type: ignore[no-untyped-def]
    assert list(record) == list(SHIFTS)
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    for name, found in record.items():
        assert found["errors"][MODEL] == found["errors"]["least_squares"], name
        assert set(found["errors"]) - {MODEL} == {"least_squares", "averaging"} | (
            {"ridge"} if name == "noise" else set()
        )
        for numbers in found["errors"].values():
            assert all(low <= mean <= high for mean, low, high in zip(*numbers.values(), strict=True))


def test_least_squares_has_its_expected_errors(record) -> None:  # type: ignore[no-untyped-def]
    plain = [max(4 - position, 0) / 4 for position in range(9)]  # of the weight's directions that are not seen yet
    means = {name: found["errors"]["least_squares"]["mean"] for name, found in record.items()}
    assert means["none"] == pytest.approx(plain, abs=0.08)
    assert means["half_subspace"] == pytest.approx([max(2 - position, 0) / 2 for position in range(9)], abs=0.12)
    for text, scale in SCALES.items():  # the same random numbers at every scale
        for what in ("input", "weight"):
            scaled = [scale**2 * error for error in means["none"]]
            assert means[f"{what}_times_{text}"] == pytest.approx(scaled, rel=1e-3, abs=1e-6)
    assert means["overlapping"][0] == pytest.approx(means["none"][0])
    assert means["overlapping"][1:] == pytest.approx([0.0] * 8, abs=1e-6)


def test_orthogonal_queries_are_asked_while_there_are_any(record) -> None:  # type: ignore[no-untyped-def]
    assert record["orthogonal"]["positions"] == [0, 1, 2, 3]
    # Nothing of the weight is known along the query: the error is that of predicting zero.
    assert record["orthogonal"]["errors"]["least_squares"]["mean"] == pytest.approx([1.0] * 4, abs=0.15)
    assert record["none"]["positions"] == list(range(9))
    assert record["none"]["zero"] == pytest.approx(1.0, abs=0.05)
    assert record["weight_times_3"]["zero"] == pytest.approx(9 * record["none"]["zero"], rel=1e-5)


def test_shifts_change_what_they_say_and_draw_new_functions() -> None:
    assert SHIFTS["none"].apply(POOL) == replace(POOL, num_tasks=0)
    assert SHIFTS["skewed"].apply(CLEAN) == replace(CLEAN, input_covariance="skewed")
    doubled = replace(CLEAN, input_scale=2.0)
    assert SHIFTS["input_times_3"].apply(doubled) == replace(CLEAN, input_scale=6.0)
    assert SHIFTS["noise"].apply(POOL) == replace(POOL, num_tasks=0, noise_std=1.0, renormalize=True)


def test_an_unknown_shift_is_named() -> None:
    with pytest.raises(ValueError, match=r"shift must be one of: none, skewed, .*; got 'rotated'"):
        function_shifts(SUBJECT, ["rotated"], 10, 5)
