"""Charts of analyses of single models: which algorithm a layer is, and sine waves as learners see them."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from iclgd.measures.ranges import NOT_NEGATIVE
from iclgd.report.function_figures import LEARNERS, normalised
from iclgd.report.results import drawable
from iclgd.report.verdicts import place_text, verdict_text
from iclgd.review.charts.groups import Group, Notes
from iclgd.review.charts.points import middle, number, numbers, short, spread_on, thinned, whole_or_rounded
from iclgd.review.charts.titles import learner, role, title
from iclgd.review.document import Axis, Chart, Mark, Plot, Series

NUM_LEARNERS = 12  # the nearest ones
MOST_CHARTS, MOST_LAYERS, MOST_FUNCTIONS = 3, 6, 3
DISTANCE = "mean distance between sensitivities, L2"


def which_algorithm(groups: Sequence[Group], notes: Notes) -> list[Chart]:
    """Return the distances to the nearest learners, a chart for each setting, a panel for each layer.

    Of one seed bars have the analysis' own interval, over tasks; of several they are means over seeds with theirs.
    """
    having = [(group, seeds) for group in groups if (seeds := _seeds(group))]
    if len(having) > MOST_CHARTS:
        notes.add(f"which_algorithm: charts of the first {MOST_CHARTS} of {len(having)} settings that have it")
    charts = []
    for group, seeds in having[:MOST_CHARTS]:
        layers = sorted({verdict["layer"] for seed in seeds for verdict in seed["verdicts"]})
        if len(layers) > MOST_LAYERS:
            notes.add(f"which_algorithm: the first {MOST_LAYERS} of {len(layers)} layers are shown")
        panels, texts = [], []
        for layer in layers[:MOST_LAYERS]:
            verdicts = [verdict for seed in seeds for verdict in seed["verdicts"] if verdict["layer"] == layer]
            rows = [[row for row in seed["rows"] if row["layer"] == layer] for seed in seeds]
            panels.append(
                Plot(
                    place_text(verdicts[0]).lower(),
                    Axis("learner"),
                    Axis(DISTANCE),
                    [_distances(rows, notes)],
                    bars=True,
                )
            )
            texts.append(verdict_text(verdicts[0]) if len(verdicts) == 1 else _named(layer, verdicts))
        if panels:
            what = "distance to the nearest learners"
            charts.append(Chart("which_algorithm", title(what, [group], "which_algorithm"), panels, " ".join(texts)))
    return charts


def _seeds(group: Group) -> list[dict[str, Any]]:
    """Return what was found of every seed of all runs."""
    records = [run.results.analyses.get("which_algorithm", {}) for run in group.runs]
    return [seed for record in records for seed in record.get("seeds", [])]


def _distances(rows: Sequence[Sequence[dict[str, Any]]], notes: Notes) -> Series:
    """Return the distances of the learners that are nearest in the mean over seeds, the nearest first."""
    by_learner: dict[str, list[dict[str, Any]]] = {}
    for of_seed in rows:
        for row in of_seed:
            by_learner.setdefault(row["learner"], []).append(row)
    spreads = {}
    for name, found in by_learner.items():
        distances = drawable(np.array([row["sensitivity_l2"] for row in found], float)).tolist()
        if len(found) < len(rows):
            notes.add(
                f"which_algorithm: {name} was compared in {len(found)} of {len(rows)} seeds alone, and is left out"
            )
        elif not all(map(math.isfinite, distances)):
            notes.add(f"which_algorithm: the distance to {name} is not finite in every seed, and is left out")
        elif len(rows) == 1:
            spreads[name] = (distances[0], found[0]["sensitivity_l2_low"], found[0]["sensitivity_l2_high"])
        else:
            spreads[name] = spread_on(distances, is_log=False, within=NOT_NEGATIVE)[:3]
    nearest = sorted(spreads, key=lambda name: spreads[name][0])[:NUM_LEARNERS]
    means, low, high = (numbers([spreads[name][end] for name in nearest]) for end in range(3))
    label = "distance" if len(rows) == 1 else f"mean of {len(rows)} seeds"
    return Series(label, nearest, means, low, high, joined=False)


def _named(layer: int, verdicts: Sequence[dict[str, Any]]) -> str:
    """Say how often which learner was named."""
    counts = Counter(verdict["learner"] for verdict in verdicts).most_common(3)
    return f"Layer {layer}: " + ", ".join(f"{name} in {count} of {len(verdicts)} seeds" for name, count in counts) + "."


def functions(groups: Sequence[Group], notes: Notes) -> list[Chart]:
    """Return sine waves with their context, and predictions before and after it is seen; [vO] figure 5.

    The last panel has the first function's kernels: the weight of its first example for a query at each x.
    """
    having = [(group, run) for group in groups for run in group.runs if run.results.analyses.get("functions")]
    if not having:
        return []
    if len(having) > 1:
        notes.add(f"functions: of the first of {len(having)} runs")
    group, run = having[0]
    drawn = run.results.analyses["functions"]["functions"]
    if len(drawn) > MOST_FUNCTIONS:
        notes.add(f"functions: the first {MOST_FUNCTIONS} of {len(drawn)}")
    panels = [_function(f"function {place}", each) for place, each in enumerate(drawn[:MOST_FUNCTIONS], start=1)]
    if not panels:
        return []
    text = "; ".join(f"{panel.title}: {_errors(panel, each)}" for panel, each in zip(panels, drawn, strict=False)) + "."
    panels.append(_kernels(drawn[0]))
    return [Chart("functions", title("sine waves before and after the context", [group], of_tasks=False), panels, text)]


def _function(name: str, function: dict[str, Any]) -> Plot:
    x = function["x"]
    lines = [_line("true function", x, function["target"])]
    for each in LEARNERS:
        lines += [
            _line(f"{learner(each)}, {when}", x, function[each][when], role(each) if when == "after" else "other")
            for when in ("before", "after")
        ]
    context = function["context"]
    places = [whole_or_rounded(place) for place in context["x"]]
    points = Series("context", places, numbers(np.array(context["y"], float)), joined=False)
    return Plot(name, Axis("x"), Axis("y"), [*lines, points])


def _line(label: str, x: Sequence[float], y: Sequence[float], its_role: Any = "other") -> Series:
    values = drawable(np.array(y, float))
    places = thinned(values)
    return Series(label, [whole_or_rounded(x[place]) for place in places], numbers(values[places]), role=its_role)


def _errors(panel: Plot, function: dict[str, Any]) -> str:
    """Say how far predictions are from the function: root mean squared errors over what is drawn."""
    target = np.array(function["target"], float)
    parts = []
    for each in LEARNERS:
        for when in ("before", "after"):
            error = middle((np.array(function[each][when], float) - target)[:, None] ** 2)[0] ** 0.5
            parts.append(f"{learner(each)}, {when}: {short(number(error))}")
    return f"root mean squared error over {len(target)} points: " + ", ".join(parts)


def _kernels(function: dict[str, Any]) -> Plot:
    lines = [
        _line(learner(each), function["x"], list(normalised(function[each]["kernel"])), role(each)) for each in LEARNERS
    ]
    mark = Mark(whole_or_rounded(function["context"]["x"][0]), "the example", "x")
    axis = Axis("weight / largest absolute weight")
    return Plot("kernels of the first function's first example", Axis("x of the query"), axis, lines, [mark])
