"""Figures of models that answer at every position: errors against the number of examples, and over training."""

import re
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from iclgd.report.results import Results, drawable
from iclgd.report.style import (
    BLACK,
    BLUE,
    COLUMN,
    FAINT,
    GREEN,
    ORANGE,
    OTHER,
    PAGE,
    PURPLE,
    SKY,
    VERMILION,
    label,
    legend_below,
    name_ticks,
)

RECORD = "error_by_position"
AXIS = "squared error / mean square of the functions"
HIGHEST = 1.6  # of the axis, in errors of predicting zero: averaging has infinitely more at first
LOOKS = {  # colour, line
    "transformer": (BLUE, "-"),
    "ridge": (PURPLE, "--"),
    "dmmse": (GREEN, "-."),
    "least_squares": (VERMILION, "--"),
    "averaging": (ORANGE, ":"),
    "nearest_neighbors": (SKY, "-."),
    "lasso": (PURPLE, "--"),
    "two_layer_network": (BLACK, "-."),
    "greedy_tree": (GREEN, "--"),
    "boosted_trees": (BLACK, "-."),
}
TITLES = {"": "functions of the pool", "new_functions/": "new functions"}
AT = re.compile(r"^error/transformer/at_(\d+)$")
LINES = ("-", "--", "-.", ":")


def error_by_position(results: Results) -> Figure | None:
    """Plot errors after every number of examples, of the transformer and the learners beside it; Garg et al., figure 2.

    With a pool of functions there is a panel for these, and one for new functions.
    """
    record = results.analyses.get(RECORD)
    if not record:
        return None
    prefixes = list(dict.fromkeys(curve["prefix"] for curve in record["curves"]))
    figure = Figure(figsize=(COLUMN if len(prefixes) == 1 else PAGE, 3.2), layout="constrained")
    (panels,) = figure.subplots(1, len(prefixes), squeeze=False, sharey=True)
    for axes, prefix in zip(panels, prefixes, strict=True):
        curves = [curve for curve in record["curves"] if curve["prefix"] == prefix]
        _errors(axes, np.array(record["positions"]), curves)
        if len(prefixes) > 1:
            axes.set_title(TITLES.get(prefix, prefix.rstrip("/")))
    panels[0].set_ylabel(AXIS)
    note = f"bands: 90% intervals of the mean over prompts ({record['num_resamples']:,} bootstrap resamples)"
    legend_below(figure, *panels[0].get_legend_handles_labels(), note, ncols=3)
    return figure


def _errors(axes: Axes, positions: Any, curves: list[dict[str, Any]]) -> None:
    axes.axhline(1, color=FAINT, linewidth=1, zorder=0)  # predicting zero
    highest = 1.0
    for curve in curves:
        colour, line = LOOKS.get(curve["learner"], (OTHER, "--"))
        mean, low, high = (drawable(np.array(curve[key], float)) for key in ("mean", "low", "high"))
        text = label(curve["learner"])
        if curve["num_prompts"] < curves[0]["num_prompts"]:
            text += f" ({curve['num_prompts']} prompts)"
        axes.plot(positions, mean, color=colour, linestyle=line, label=text, zorder=3 if line == "-" else 2)
        axes.fill_between(positions, low, high, color=colour, alpha=0.2, linewidth=0)
        if np.isfinite(mean).any():
            highest = max(highest, float(np.nanmax(mean)))
    axes.set_xlabel("examples in the context")
    axes.set_xlim(0, positions[-1] or 1)
    axes.set_ylim(0, 1.05 * min(highest, HIGHEST))


def error_over_training(results: Results) -> Figure | None:
    """Plot the transformer's errors after some numbers of examples over training."""
    positions = sorted(int(found[1]) for name in results.summary if (found := AT.match(name)))
    names = {position: f"error/transformer/at_{position:02}" for position in positions}
    curves = {position: curve for position, name in names.items() if (curve := results.curve(name))}
    if not curves:
        return None
    figure = Figure(figsize=(COLUMN, 2.8), layout="constrained")
    axes = figure.subplots()
    for (position, curve), line in zip(curves.items(), LINES, strict=False):
        axes.plot(curve.x, drawable(curve.values[0]), linestyle=line, color=BLUE, label=f"{position}")
    axes.set(xlabel="training step", ylabel=AXIS, yscale="log")
    name_ticks(axes)
    legend_below(figure, *axes.get_legend_handles_labels(), "after so many examples", ncols=4)
    return figure
