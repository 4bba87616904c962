"""Figures of analyses of models of functions: gradients by the query, tasks between two, shifts."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from iclgd.report.position_figures import LOOKS
from iclgd.report.results import Results, drawable
from iclgd.report.style import COLUMN, FAINT, OTHER, PAGE, SMALL, label, legend_below, name_ticks
from iclgd.report.titles import value_of

NUM_COLUMNS = 4
EXAMPLES = "examples in the context"
BANDS = "bands: 95% intervals of the mean over prompts (bootstrap)"
SMALLEST = 1e-5  # of an error that is drawn: where least squares has none, there is rounding
HIGHEST = 30.0  # of an error that is drawn, in errors of predicting zero: least squares in noise has any
TITLES = {"none": "as in training", "weight_times": "weights times", "input_times": "inputs times"}


def draw_interval(axes: Axes, x: Any, found: dict[str, list[float]], learner: str, **style: Any) -> None:
    """Plot a learner's means with a band of their intervals.

    Args:
        axes: where.
        x: of each mean.
        found: ``mean``, ``low`` and ``high``.
        learner: whose.
        style: of the line, beside the learner's own.
    """
    colour, line = LOOKS.get(learner, (OTHER, "--"))
    mean, low, high = (drawable(np.array(found[key], float)) for key in ("mean", "low", "high"))
    look: dict[str, Any] = {"color": colour, "linestyle": line, "label": label(learner), **style}
    axes.plot(x, mean, zorder=2 if line == "-" else 3, **look)  # a dashed line may lie on a whole one
    axes.fill_between(x, low, high, color=look["color"], alpha=0.2, linewidth=0)


def gradient_by_query(record: dict[str, Any], results: Results) -> Figure | None:
    """Plot the cosine of gradients with the true weights, and with the part that the examples tell; Garg figure 3b."""
    if not record:
        return None
    figure = Figure(figsize=(PAGE, 2.9), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    shown = {"weight": "with the true weights", "projected_weight": "with their projection on the examples"}
    lows = []
    for axes, (key, title) in zip(panels, shown.items(), strict=True):
        for learner, found in record["cosines"].items():
            draw_interval(axes, record["positions"], found[key], learner)
            lows.append(drawable(np.array(found[key]["low"], float)))
        axes.axhline(1, color=FAINT, linewidth=1, zorder=0)
        _mark_dimensions(axes, results)
        axes.set_title(title)
        _examples(axes, record["positions"])
    lowest = np.nanmin(np.concatenate(lows)) if np.isfinite(np.concatenate(lows)).any() else 0.0
    panels[0].set_ylim(min(0.0, 1.1 * float(lowest)), 1.05)
    panels[0].set_ylabel("cosine of the gradient by the query")
    legend_below(
        figure, *panels[0].get_legend_handles_labels(), f"{BANDS}; dotted: as many examples as inputs", ncols=3
    )
    return figure


def interpolated_tasks(record: dict[str, Any], results: Results) -> Figure | None:
    """Plot errors on tasks between two of the pool; Raventós et al., section 3.3."""
    if not record:
        return None
    figure = Figure(figsize=(COLUMN, 2.9), layout="constrained")
    axes = figure.subplots()
    for learner, found in record["errors"].items():
        draw_interval(axes, record["shares"], found, learner)
    axes.set(xlabel="share α of the first task", ylabel="squared error / inputs", xlim=(0, 1))
    axes.set_ylim(bottom=0)
    note = f"mean over positions, without noise of targets; {BANDS}"
    legend_below(figure, *axes.get_legend_handles_labels(), note, ncols=3)
    return figure


def function_shifts(record: dict[str, Any], results: Results) -> Figure | None:
    """Plot errors at every position under each shift; Garg et al., figure 4 and appendix B."""
    if not record:
        return None
    num_columns = min(NUM_COLUMNS, len(record))
    num_rows = -(-len(record) // num_columns)
    width = PAGE if num_columns > 1 else COLUMN
    figure = Figure(figsize=(width, 1.5 * num_rows + 0.9), layout="constrained")
    grid = figure.subplots(num_rows, num_columns, squeeze=False)
    for axes in grid.ravel()[len(record) :]:
        axes.remove()
    handles: dict[str, Any] = {}
    for axes, (name, found) in zip(grid.flat, record.items(), strict=False):
        _shift(axes, found)
        axes.set_title(_title(name), fontsize=SMALL)
        _mark_dimensions(axes, results)
        axes.set_xlabel("")
        handles |= {text: line for line, text in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.supylabel("squared error / mean square of the functions", fontsize="medium")
    figure.supxlabel(EXAMPLES, fontsize="medium")
    note = f"grey: predicting zero; dotted: as many examples as inputs; {BANDS}"
    legend_below(figure, [*handles.values()], [*handles], note, ncols=5)
    return figure


def _title(name: str) -> str:
    for beginning, text in TITLES.items():
        if name.startswith(beginning):
            return f"{text} {name.removeprefix(beginning).strip('_')}".strip()
    return name.replace("_", " ")


def _shift(axes: Axes, found: dict[str, Any]) -> None:
    zero = found["zero"]
    axes.axhline(zero, color=FAINT, linewidth=1, zorder=0)
    lows = []
    for learner, errors in found["errors"].items():
        draw_interval(axes, found["positions"], errors, learner)
        mean = drawable(np.array(errors["mean"], float))
        lows.append(mean[mean > SMALLEST * zero])
    axes.set_yscale("log", nonpositive="mask")
    low = float(min((each.min() for each in lows if len(each)), default=zero))
    axes.set_ylim(low / 1.5, HIGHEST * zero if _exceeds(found, zero) else 3 * zero)
    name_ticks(axes)
    axes.tick_params(labelsize=SMALL)
    _examples(axes, found["positions"])


def _exceeds(found: dict[str, Any], zero: float) -> bool:
    model = np.array(found["errors"]["transformer"]["mean"], float)
    return bool(np.isfinite(model).any() and np.nanmax(model) > 2 * zero)


def _examples(axes: Axes, positions: list[int]) -> None:
    axes.set_xlabel(EXAMPLES)
    axes.set_xlim(positions[0], max(positions[-1], positions[0] + 1))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, steps=[1, 2, 5, 10]))


def _mark_dimensions(axes: Axes, results: Results) -> None:
    dim = value_of(results.config, "task.input_dim")
    if isinstance(dim, int):
        axes.axvline(dim, color=OTHER, linestyle=(0, (1, 2)), linewidth=0.8, zorder=0)
