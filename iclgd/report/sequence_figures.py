"""Figures of runs on sequences: loss over training and over positions, and what probes read from layers."""

from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from iclgd.report.results import Results, drawable
from iclgd.report.style import (
    BLUE,
    COLUMN,
    LINES,
    PAGE,
    VERMILION,
    colour,
    draw_losses,
    label,
    legend_below,
    scale_losses,
)

LOSS = "loss (0.5 x squared error)"
LEARNERS = ("transformer", "least_squares", "delayed_least_squares", "gd")
TARGETS = {  # of probes: label, colour and line
    "preconditioned": ("preconditioned inputs", BLUE, "-"),
    "next_state": ("next observation", VERMILION, "--"),
}


def learning_curve(results: Results) -> Figure | None:
    """Plot the loss over training, beside the learners'."""
    curves = {name: curve for name in LEARNERS if (curve := results.curve(f"loss/{name}"))}
    if "transformer" not in curves:
        return None
    figure = Figure(figsize=(COLUMN, 2.8), layout="constrained")
    axes = figure.subplots()
    draw_losses(axes, curves, LOSS)
    axes.set_xlabel("training step")
    legend_below(figure, *axes.get_legend_handles_labels())
    return figure


def by_position(record: dict[str, Any], results: Results) -> Figure | None:
    """Plot the loss at every position with 95 % intervals, beside the learners'."""
    learners = {name: found for name, found in record.get("learners", {}).items() if found["mean"]}
    if not learners:
        return None
    figure = Figure(figsize=(PAGE, 3.0), layout="constrained")
    axes = figure.subplots()
    means = {name: drawable(np.array(found["mean"], float)) for name, found in learners.items()}
    scale_losses(axes, {name: mean[None] for name, mean in means.items()}, LOSS, is_log=True)
    for name, found in learners.items():
        positions = np.arange(1, len(means[name]) + 1)
        axes.plot(positions, means[name], color=colour(name), linestyle=LINES.get(name, "--"), label=label(name))
        low, high = (drawable(np.array(found[key], float)) for key in ("low", "high"))
        axes.fill_between(positions, low, high, color=colour(name), alpha=0.2, linewidth=0)
    axes.set_xlabel("observations seen")
    legend_below(figure, *axes.get_legend_handles_labels(), "bands: 95 % intervals", ncols=4)
    return figure


def probes(record: dict[str, Any], results: Results) -> Figure | None:
    """Plot how well probes read each target from each layer, and the first of them at every position."""
    targets = record.get("targets", {})
    if not targets:
        return None
    figure = Figure(figsize=(PAGE, 3.0), layout="constrained")
    over_depth, over_positions = figure.subplots(1, 2)
    for name, layers in targets.items():
        text, its_colour, line = TARGETS[name]
        _over_depth(over_depth, layers, text, its_colour, line)
    over_depth.set(xlabel="after layer", ylabel="explained share of variance")
    over_depth.xaxis.set_major_locator(MaxNLocator(integer=True))
    over_depth.legend(loc="best")
    colours: Colormap = colormaps["viridis"]
    layers = targets["preconditioned"]
    for index, layer in enumerate(layers):
        values = drawable(np.array(layer["by_position"], float))
        style = colours(0.9 * index / max(1, len(layers) - 1))
        over_positions.plot(np.arange(1, len(values) + 1), values, color=style, label=f"{index}")
    over_positions.axvline(record["first_position"] + 1, color="black", linewidth=0.6, linestyle=":")
    over_positions.set(xlabel="observations seen", ylim=(-0.05, 1.05), title="preconditioned inputs")
    over_depth.set_ylim(-0.05, 1.05)
    handles, labels = over_positions.get_legend_handles_labels()
    note = "left: means over positions from the dotted line on, 95 % intervals over sequences; right: after layer"
    legend_below(figure, handles, labels, note, ncols=len(labels))
    for axes in (over_depth, over_positions):
        axes.grid(axis="y", alpha=0.3)
    return figure


def _over_depth(axes: Axes, layers: list[dict[str, Any]], text: str, its_colour: str, line: str) -> None:
    mean, low, high = (drawable(np.array([layer[key] for layer in layers], float)) for key in ("mean", "low", "high"))
    lengths = np.maximum([mean - low, high - mean], 0)
    axes.errorbar(
        range(len(mean)), mean, yerr=lengths, color=its_colour, linestyle=line, marker="o", markersize=3, label=text
    )
