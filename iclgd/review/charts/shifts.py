"""Charts of what learners do outside of training: on shifted tasks, and applied again and again."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from iclgd.report.results import Curve, Results
from iclgd.report.shift_figures import X_LABELS
from iclgd.report.style import LOSS
from iclgd.review.charts.groups import Group, Notes, together
from iclgd.review.charts.losses import losses_plot
from iclgd.review.charts.points import number, numbers, short, spread_on, told_panels
from iclgd.review.charts.titles import learner, role, title
from iclgd.review.document import Axis, Chart, Mark, Plot, Series
from iclgd.review.texts import shortened

MOST_CHARTS = 3  # settings that have a chart of their own
LOGARITHMIC = ("condition_number",)
IN_TRAINING = "training"


def out_of_distribution(groups: Sequence[Group], notes: Notes) -> list[Chart]:
    """Return losses over the values of every shift, the value in training marked; [vO] figure 4."""
    charts = []
    having = [group for group in groups if any("out_of_distribution" in run.results.analyses for run in group.runs)]
    for group in _first(having, "out_of_distribution", notes):
        shifts = _of_all_runs(group, "out_of_distribution")
        panels = [_shift(group, name, notes) for name in shifts]
        text = told_panels(panels)
        charts.append(
            Chart("out_of_distribution", title("loss on shifted tasks", [group], "out_of_distribution"), panels, text)
        )
    return charts


def _first(groups: list[Group], name: str, notes: Notes) -> list[Group]:
    if len(groups) > MOST_CHARTS:
        notes.add(f"{name}: charts of the first {MOST_CHARTS} of {len(groups)} settings that have it")
    return groups[:MOST_CHARTS]


def _of_all_runs(group: Group, analysis: str) -> list[str]:
    """Return the names within an analysis' record."""
    return group.names(lambda results: [*results.analyses.get(analysis, {})])


def _shift(group: Group, name: str, notes: Notes) -> Plot:
    """Return a panel: lines over numbers, points over words, which have no order."""
    label = X_LABELS.get(name, name.replace("_", " "))
    records = [shift for run in group.runs if (shift := run.results.analyses.get("out_of_distribution", {}).get(name))]
    values = records[0]["values"]
    predictors = dict.fromkeys(predictor for record in records for predictor in record["losses"])
    is_of_words = any(isinstance(value, str) for value in values)
    curves = {}
    for predictor in predictors:

        def read(results: Results, predictor: str = predictor) -> Curve | None:
            shift = results.analyses.get("out_of_distribution", {}).get(name, {})
            losses = shift.get("losses", {}).get(predictor)
            if losses is None or shift["values"] != values:
                return None
            return Curve(np.arange(len(values)) if is_of_words else np.array(values, float), np.array(losses, float))

        if curve := together(group, read, f"{name} of {predictor}", notes):
            curves[predictor] = curve
    training = _in_training(group.config, name)
    if not is_of_words:
        plot = losses_plot(label, curves, label, LOSS, len(curves), is_of_learners=True, notes=notes)
        at = number(training) if isinstance(training, int | float) else None
        marks = [Mark(at, IN_TRAINING, "x")] if at is not None else []
        return Plot(label, Axis(label, name in LOGARITHMIC), plot.y, plot.series, marks)
    words = [
        f"{shortened(value, 40)} ({IN_TRAINING})" if value == training else shortened(value, 40) for value in values
    ]
    series = [_points(learner(predictor), words, curve, predictor) for predictor, curve in curves.items()]
    return Plot(label, Axis(label), Axis(LOSS), series)


def _points(label: str, words: Sequence[str], curve: Curve, predictor: str) -> Series:
    spreads = [spread_on(column.tolist(), is_log=False) for column in curve.values.T]
    has_bars = len(curve.values) > 1
    low, high = (numbers([each[end] for each in spreads if has_bars]) for end in (1, 2))
    return Series(label, words, numbers([each.mean for each in spreads]), low, high, role(predictor), joined=False)


def _in_training(config: Mapping[str, Any], shift: str) -> Any:
    """Return a shift's value in training: that of the task's key of this name; ``None`` if there is no such key.

    Example:
        >>> _in_training({"task.input_range": 1.0, "task.covariance": "isotropic"}, "input_range")
        1.0
    """
    if shift == "condition_number" and config.get("task.covariance") == "isotropic":
        return 1.0
    return config.get(f"task.{shift}")


def iterated(groups: Sequence[Group], notes: Notes) -> list[Chart]:
    """Return the loss over how often one layer, or as many steps, are applied, a panel a setting; [vO] figure 4."""
    found = []
    for group in groups:
        records = [run.results.analyses["iterated"] for run in group.runs if "iterated" in run.results.analyses]
        if not records:
            continue
        curves = {}
        for predictor in dict.fromkeys(name for record in records for name in record["losses"]):

            def read(results: Results, predictor: str = predictor) -> Curve | None:
                losses = results.analyses.get("iterated", {}).get("losses", {}).get(predictor)
                return None if losses is None else Curve(np.arange(len(losses[0])), np.array(losses, float))

            if curve := together(group, read, f"iterated, {predictor}", notes):
                curves[predictor] = curve
        found.append((group, records[0]["dampening"], curves))
    number_of_lines = sum(len(curves) for _, _, curves in found)
    panels = [
        losses_plot(
            group.label,
            curves,
            f"applications, dampened by {short(dampening)}",
            LOSS,
            number_of_lines,
            is_of_learners=True,
        )
        for group, dampening, curves in found
    ]
    if not panels:
        return []
    text = told_panels(panels)
    return [
        Chart(
            "iterated",
            title("one layer applied again and again", [each[0] for each in found], "iterated"),
            panels,
            text,
        )
    ]
