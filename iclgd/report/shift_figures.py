"""Figures of what learners do outside of training: on shifted tasks, and applied again and again."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from iclgd.report.results import Array, Curve, Results
from iclgd.report.style import (
    COLUMN,
    LOSS,
    OTHER,
    PAGE,
    band_note,
    centre_and_ends,
    colour,
    draw_losses,
    in_range,
    label,
    legend_below,
    scale_losses,
)
from iclgd.report.titles import value_of

NUM_COLUMNS = 3
X_LABELS = {
    "num_noise": "number of noisy targets",
    "num_context": "number of context points",
    "distribution": "distribution of the inputs",
    "mixture_input_range": "input range, mixed distributions",
    "mixture_weight_scale": "weight scale, mixed distributions",
}
KEYS = {"mixture_input_range": "input_range", "mixture_weight_scale": "weight_scale"}  # of tasks; else a shift's name
MIXED = {"distribution": "mixture", "normalize": True}  # what these shifts change besides
MARKERS = "osD^vPX"  # of points over words
TRAINING: dict[str, Any] = {"color": OTHER, "linestyle": (0, (1, 1)), "linewidth": 1.0, "zorder": 0}


def out_of_distribution(record: dict[str, Any], results: Results) -> Figure | None:
    """Plot losses over the values of every shift; [vO] figure 4. A line marks the value in training."""
    if not record:
        return None
    num_columns = min(NUM_COLUMNS, len(record))
    num_rows = -(-len(record) // num_columns)
    width = PAGE if num_columns > 1 else COLUMN
    figure = Figure(figsize=(width, 1.75 * num_rows + 0.75 + 0.5 * (num_columns < NUM_COLUMNS)), layout="constrained")
    grid = figure.subplots(num_rows, num_columns, squeeze=False)
    for axes in grid.ravel()[len(record) :]:
        axes.remove()
    is_marked = False
    for axes, (name, shift) in zip(grid.flat, record.items(), strict=False):
        _shift(axes, name, shift)
        is_marked |= _mark_training(axes, shift["values"], in_training(name, value_of(results.config, "task") or {}))
        axes.set_ylabel("")
    figure.supylabel(LOSS, fontsize="medium")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    if is_marked:
        handles, labels = [*handles, Line2D([], [], **TRAINING)], [*labels, "in training"]
    legend_below(figure, handles, labels, *_notes(figure, record), ncols=min(len(labels), 5 if num_columns > 1 else 2))
    return figure


def _notes(figure: Figure, record: dict[str, Any]) -> list[str]:
    """Return what bands are on each kind of axis."""
    shown = zip(figure.axes, record.values(), strict=False)
    notes = {axes.get_yscale(): band_note(axes, len(next(iter(shift["losses"].values())))) for axes, shift in shown}
    if len(notes) < 2 or not any(notes.values()):
        return list(notes.values())
    return [f"{scale} axes: {notes[scale]}" for scale in ("linear", "log")]


def in_training(shift: str, task: Mapping[str, Any]) -> Any:
    """Return the value of a shift that gives the tasks of training; ``None`` where none does.

    Args:
        shift: its name.
        task: the config of the task.

    Example:
        >>> in_training("input_range", {"input_range": 1.0, "distribution": "uniform"})
        1.0
        >>> in_training("mixture_input_range", {"input_range": 1.0, "distribution": "uniform"})
        >>> in_training("condition_number", {"covariance": "isotropic", "condition_number": 5.0})
        1.0
    """
    if shift == "condition_number" and task.get("covariance") != "rotated":
        return 1.0 if task.get("covariance") == "isotropic" else None
    if any(task.get(key) != value for key, value in MIXED.items() if shift in KEYS):
        return None
    return task.get(KEYS.get(shift, shift))


def _mark_training(axes: Axes, values: list[Any], trained: Any) -> bool:
    """Draw a line at the value of training, if it is one that the panel shows; say whether it is."""
    if trained in values and isinstance(trained, str):
        axes.axvline(values.index(trained), **TRAINING)
    elif isinstance(trained, int | float) and not any(isinstance(value, str) for value in values):
        if not min(values) <= trained <= max(values):
            return False
        axes.axvline(trained, **TRAINING)
    else:
        return False
    return True


def _shift(axes: Axes, name: str, shift: dict[str, Any]) -> None:
    """Draw one shift: lines over numbers; points over words, which have no order."""
    values = shift["values"]
    losses = {predictor: np.array(of_seeds, float) for predictor, of_seeds in shift["losses"].items()}
    if any(isinstance(value, str) for value in values):
        _points(axes, values, losses)
    else:
        x = np.array(values, float)
        draw_losses(axes, {predictor: Curve(x, each) for predictor, each in losses.items()}, marker=".", markersize=3)
        if all(isinstance(value, int) for value in values) and name != "condition_number":
            axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, steps=[1, 2, 5, 10]))
    if name == "condition_number":
        axes.set(xscale="log", xlim=(values[0] / 1.5, values[-1] * 1.5))  # said, since there may be nothing but gaps
    axes.set_xlabel(X_LABELS.get(name, name.replace("_", " ")))


def _points(axes: Axes, words: list[str], losses: dict[str, Array]) -> None:
    """Draw losses over words, which have no order: points, and bars of one standard deviation over seeds."""
    x = np.arange(len(words))
    scale_losses(axes, losses)
    for index, (predictor, values) in enumerate(losses.items()):
        middle, low, high = centre_and_ends(axes, in_range(axes, predictor, values))
        places = x + 0.15 * (index - (len(losses) - 1) / 2)
        bars = np.maximum([middle - low, high - middle], 0)
        look: dict[str, Any] = {"color": colour(predictor), "fmt": MARKERS[index % len(MARKERS)], "markersize": 3}
        axes.errorbar(places, middle, bars, capsize=2, elinewidth=1, label=label(predictor), **look)
    axes.set_xticks(x, words, rotation=25, ha="right", rotation_mode="anchor")


def iterated(record: dict[str, Any], results: Results) -> Figure | None:
    """Plot the loss over how often one layer, or as many gradient steps, are applied; [vO] figure 4, right."""
    if not record:
        return None
    figure = Figure(figsize=(COLUMN, 2.9), layout="constrained")
    axes = figure.subplots()
    curves = {
        predictor: Curve(np.arange(len(losses[0])), np.array(losses, float))
        for predictor, losses in record["losses"].items()
    }
    draw_losses(axes, curves, is_log=True)
    axes.set_xlabel(f"applications, dampened by {record['dampening']:g}")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    num_seeds = max(len(curve.values) for curve in curves.values())
    legend_below(figure, *axes.get_legend_handles_labels(), band_note(axes, num_seeds))
    return figure
