"""Panels of losses, of learners or of settings: on a logarithmic axis where they span decades."""

from collections.abc import Iterable, Mapping

import numpy as np

from iclgd.measures.ranges import NOT_NEGATIVE
from iclgd.report.results import MIXTURE, Curve
from iclgd.report.style import DECADES
from iclgd.review.charts.groups import Notes
from iclgd.review.charts.points import decades, line, middle, points_each, positive_range
from iclgd.review.charts.titles import learner, role
from iclgd.review.document import Axis, Plot


def losses_plot(
    name: str,
    curves: Mapping[str, Curve],
    x: str,
    y: str,
    num_series: int,
    is_of_learners: bool = False,
    notes: Notes | None = None,
) -> Plot:
    """Return a panel of losses.

    The mean of both weights has a gap where it is above all others, as in the figures: before training has found the
    construction it may be any function.

    Args:
        name: of the panel.
        curves: by learner, or by setting.
        x: label of the x axis.
        y: label of the y axis.
        num_series: lines of the whole chart.
        is_of_learners: whether the curves are those of learners.
        notes: are told of that gap.
    """
    has_a_say = [key for key in curves if not (is_of_learners and key == MIXTURE)]
    is_log = decades([middle(curves[key].values) for key in has_a_say], DECADES)
    _, high = positive_range([middle(curves[key].values, is_log) for key in has_a_say])
    top = 2 * high if is_log else 1.1 * high
    lines = []
    for key, curve in curves.items():
        values = curve.values
        if is_of_learners and key == MIXTURE:
            is_out = middle(values, is_log) > top
            values = np.where(is_out, np.nan, values)
            if notes is not None and is_out.any():
                notes.add(f"{learner(key)}: gaps where its loss is above all others shown")
        label, its_role = (learner(key), role(key)) if is_of_learners else (key, "other")
        lines.append(line(label, curve.x, values, its_role, is_log, points_each(num_series), NOT_NEGATIVE))
    return Plot(name, Axis(x), Axis(axis_label(y, is_log, curves.values()), is_log), lines)


def axis_label(text: str, is_log: bool, curves: Iterable[Curve]) -> str:
    """Return an axis' label, which says so where means of several repetitions are geometric ones."""
    is_geometric = is_log and any(len(curve.values) > 1 for curve in curves)
    return f"{text.partition(' (')[0]}, geometric mean" if is_geometric else text  # both are too long for small panels
