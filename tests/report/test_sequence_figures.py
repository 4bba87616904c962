"""Figures of runs on sequences, from small records."""

from typing import Any

import numpy as np

from iclgd.report.figures import draw
from iclgd.report.results import Results
from iclgd.report.sequence_figures import by_position, learning_curve, probes


def _curve(*means: float) -> dict[str, list[float]]:
    return {"mean": list(means), "low": [0.9 * mean for mean in means], "high": [1.1 * mean for mean in means]}


def _layers(*means: float) -> list[dict[str, Any]]:
    return [{"mean": m, "low": m - 0.01, "high": m + 0.01, "by_position": [0.0, m, m]} for m in means]


def test_the_loss_is_plotted_over_positions_beside_the_learners() -> None:
    record = {"learners": {"transformer": _curve(1.0, 0.5, float("nan")), "gd": _curve(1.0, 0.8, 0.7)}}
    figure = draw(lambda results: by_position(record, results), Results())
    assert figure is not None
    (axes,) = figure.axes
    assert [line.get_label() for line in axes.get_lines()] == ["trained transformer", "gradient descent"]
    assert np.asarray(axes.get_lines()[0].get_xdata()).tolist() == [1, 2, 3]
    assert draw(lambda results: by_position({}, results), Results()) is None


def test_probes_have_a_point_for_each_layer() -> None:
    record = {
        "first_position": 1,
        "targets": {"preconditioned": _layers(0.2, 0.5, 0.9), "next_state": _layers(0.1, 0.3, 0.4)},
    }
    figure = draw(lambda results: probes(record, results), Results())
    assert figure is not None
    over_depth, over_positions = figure.axes
    assert len(over_depth.containers) == 2
    assert len(over_positions.get_lines()) == 3 + 1  # layers, and where means begin
    assert draw(lambda results: probes({}, results), Results()) is None


def test_the_learning_curve_has_the_learners_levels() -> None:
    metrics = [{"step": step, "loss/transformer": 1 / (step + 1), "loss/gd": 0.5} for step in (0, 10, 20)]
    figure = draw(learning_curve, Results(metrics=metrics))
    assert figure is not None
    assert len(figure.axes[0].get_lines()) == 2
    assert draw(learning_curve, Results()) is None
