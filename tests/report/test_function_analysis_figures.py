"""Figures of analyses of models of functions."""

import math
from typing import Any

import numpy as np
import pytest

from iclgd.report.function_analysis_figures import function_shifts, gradient_by_query, interpolated_tasks
from iclgd.report.results import Results
from iclgd.report.task_diversity_figures import DiverseModel, crossing_of, distances_by_position, over_tasks

RESULTS = Results(config={"task": {"input_dim": 2}})


def interval(*means: float) -> dict[str, list[float]]:
    return {"mean": [*means], "low": [0.9 * mean for mean in means], "high": [1.1 * mean for mean in means]}


def model(number: int, seed: int, ridge: float, dmmse: float) -> DiverseModel:
    summary = {}
    for prefix in ("", "new_functions/"):
        summary |= {f"{prefix}distance/ridge": ridge, f"{prefix}distance/dmmse": dmmse}
        summary |= {f"{prefix}distance/difference": dmmse - ridge}
        summary |= {f"{prefix}distance/difference_low": dmmse - ridge - 0.01}
        summary |= {f"{prefix}distance/difference_high": dmmse - ridge + 0.01}
        summary |= {f"{prefix}error/{name}": 0.3 for name in ("transformer", "ridge", "dmmse")}
    return DiverseModel(number, seed, summary)


def test_cosines_have_a_panel_for_each_truth() -> None:
    cosines = {name: {key: interval(0.2, 0.8) for key in ("weight", "projected_weight")} for name in ("transformer",)}
    figure = gradient_by_query({"positions": [1, 2], "cosines": cosines}, RESULTS)
    assert figure is not None
    left, right = figure.axes
    assert (left.get_title(), right.get_title()) == ("with the true weights", "with their projection on the examples")
    assert list(left.get_lines()[0].get_ydata()) == [0.2, 0.8]
    assert [2, 2] in [list(line.get_xdata()) for line in left.get_lines()]  # as many examples as inputs
    assert gradient_by_query({}, RESULTS) is None


def test_a_model_without_gradients_has_a_figure_with_gaps() -> None:
    gaps = {name: [math.nan] * 2 for name in ("mean", "low", "high")}
    cosines = {"transformer": {"weight": gaps, "projected_weight": gaps}}
    figure = gradient_by_query({"positions": [1, 2], "cosines": cosines}, RESULTS)
    assert figure is not None
    assert figure.axes[0].get_ylim() == pytest.approx((0.0, 1.05))


def test_tasks_between_two_have_a_line_for_each_learner() -> None:
    errors = {name: interval(*np.linspace(0.1, 0.3, 3)) for name in ("transformer", "ridge", "dmmse")}
    figure = interpolated_tasks({"shares": [0.0, 0.5, 1.0], "errors": errors}, RESULTS)
    assert figure is not None
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["trained transformer", "ridge", "dMMSE"]
    assert interpolated_tasks({}, RESULTS) is None


def test_shifts_have_panels_whose_axis_is_of_the_errors_of_the_model() -> None:
    def found(zero: float, *means: float) -> dict[str, Any]:
        positions = list(range(len(means)))
        errors = {"transformer": interval(*means), "least_squares": interval(*([1e-12] * len(means)))}
        return {"positions": positions, "zero": zero, "errors": errors}

    record = {
        "none": found(1.0, 1.0, 0.5, 0.1),
        "orthogonal": found(1.0, 1.0, 1.1),
        "weight_times_3": found(9.0, 9.0, 40.0),
    }
    figure = function_shifts(record, RESULTS)
    assert figure is not None
    assert [axes.get_title() for axes in figure.axes] == ["as in training", "orthogonal", "weights times 3"]
    for axes in figure.axes:
        assert axes.get_yscale() == "log"
        low, high = axes.get_ylim()
        assert 1e-3 < low < high  # rounding errors of least squares do not stretch the axis
    assert figure.axes[2].get_ylim()[1] > 40
    assert function_shifts({}, RESULTS) is None


def test_distances_by_position_have_a_panel_for_each_kind_of_task() -> None:
    distances = {name: interval(0.1, 0.2) for name in ("ridge", "dmmse", "difference")}
    of_tasks = [{"prefix": prefix, "distances": distances} for prefix in ("", "new_functions/")]
    figure = distances_by_position(Results(analyses={"task_diversity": {"of_tasks": of_tasks}}))
    assert figure is not None
    assert [axes.get_title() for axes in figure.axes] == ["functions of the pool", "new functions"]
    assert len(figure.axes[0].get_lines()) == 2
    assert distances_by_position(Results()) is None


def test_the_figure_over_tasks_names_the_crossing() -> None:
    models = [model(number, seed, 4 / number, number / 64) for number in (4, 16, 64) for seed in (0, 1)]
    found = crossing_of(models)
    assert found is not None
    assert found.at == pytest.approx(16)
    figure = over_tasks(models, "a sweep")
    assert figure._suptitle.get_text() == "a sweep"  # type: ignore[attr-defined]
    assert "as near to ridge as to dMMSE at 16 tasks" in figure.legends[0].get_title().get_text().replace("\n", " ")
    top, bottom = figure.axes[1], figure.axes[3]
    marks = [line.get_xdata()[0] for line in top.get_lines() if len(set(line.get_xdata())) == 1]
    assert any(mark == pytest.approx(found.at) for mark in marks)
    assert (top.get_xscale(), top.get_yscale()) == ("log", "log")
    points = top.get_lines()[0]
    assert list(points.get_xdata()) == [4, 4, 16, 16, 64, 64]
    assert [text.get_text() for text in bottom.get_xticklabels()] == ["4", "16", "64"]


def test_a_diverged_model_leaves_a_gap() -> None:
    models = [model(4, 0, 1.0, 0.1), model(16, 0, math.nan, math.nan)]
    assert crossing_of(models) is None
    figure = over_tasks(models, "")
    line = figure.axes[0].get_lines()[1]
    assert list(np.isnan(line.get_ydata())) == [False, True]
