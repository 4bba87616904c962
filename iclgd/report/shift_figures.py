"""Figures of what learners do outside of training: on shifted tasks, and applied again and again."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from iclgd.report.results import Array, Curve, mean_and_deviation
from iclgd.report.style import colour, draw_losses, in_range, label, scale_losses

NUM_COLUMNS = 4
X_LABELS = {
    "num_noise": "number of noisy targets",
    "num_context": "number of context points",
    "distribution": "distribution of the inputs",
    "mixture_input_range": "input range, mixed distributions",
    "mixture_weight_scale": "weight scale, mixed distributions",
}


def out_of_distribution(record: dict[str, Any]) -> Figure | None:
    """Plot losses over the values of every shift; [vO] figure 4."""
    if not record:
        return None
    num_columns = min(NUM_COLUMNS, len(record))
    num_rows = -(-len(record) // num_columns)
    figure = Figure(figsize=(max(3.3 * num_columns, 5), 2.9 * num_rows + 0.4), layout="constrained")
    grid = figure.subplots(num_rows, num_columns, squeeze=False)
    for axes in grid.ravel()[len(record) :]:
        axes.remove()
    for axes, (name, shift) in zip(grid.flat, record.items(), strict=False):
        _shift(axes, name, shift)
    for axes in grid[:, 1:].ravel():
        axes.set_ylabel("")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False)
    return figure


def _shift(axes: Axes, name: str, shift: dict[str, Any]) -> None:
    """Draw one shift: lines over numbers; points over words, which have no order."""
    values = shift["values"]
    losses = {predictor: np.array(of_seeds, float) for predictor, of_seeds in shift["losses"].items()}
    if any(isinstance(value, str) for value in values):
        _points(axes, values, losses)
    else:
        x = np.array(values, float)
        draw_losses(axes, {predictor: Curve(x, each) for predictor, each in losses.items()}, marker=".", markersize=4)
    if name == "condition_number":
        axes.set(xscale="log", xlim=(values[0] / 1.5, values[-1] * 1.5))  # said, since there may be nothing but gaps
    axes.set_xlabel(X_LABELS.get(name, name.replace("_", " ")))


def _points(axes: Axes, words: list[str], losses: dict[str, Array]) -> None:
    """Draw losses over words, which have no order: points, and bars of one standard deviation over seeds."""
    x = np.arange(len(words))
    scale_losses(axes, losses)
    for index, (predictor, values) in enumerate(losses.items()):
        mean, deviation = mean_and_deviation(in_range(axes, predictor, values))
        places = x + 0.15 * (index - (len(losses) - 1) / 2)
        its_colour, its_label = colour(predictor), label(predictor)
        axes.errorbar(places, mean, deviation, fmt="o", markersize=4, capsize=2, color=its_colour, label=its_label)
    axes.set_xticks(x, words, rotation=30, ha="right")


def iterated(record: dict[str, Any]) -> Figure | None:
    """Plot the loss over how often one layer, or as many gradient steps, are applied; [vO] figure 4, right."""
    if not record:
        return None
    figure = Figure(figsize=(5.4, 3.6), layout="constrained")
    axes = figure.subplots()
    curves = {
        predictor: Curve(np.arange(len(losses[0])), np.array(losses, float))
        for predictor, losses in record["losses"].items()
    }
    draw_losses(axes, curves)
    axes.set_xlabel(f"applications, dampened by {record['dampening']:g}")
    axes.legend(frameon=False, fontsize=8)
    return figure
