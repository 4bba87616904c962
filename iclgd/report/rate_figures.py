"""The figure of a search for finetuning's learning rate."""

import re

import numpy as np
from matplotlib.figure import Figure

from iclgd.report.results import Array, Results
from iclgd.report.style import BLUE, COLUMN, FAINT, OTHER, VERMILION, legend_below

RATE = "search/learning_rate"
PANELS = {"accuracy": "accuracy", "log_probability": "log-probability\nof right answer"}


def learning_rate(results: Results) -> Figure | None:
    """Plot how well finetuning with each learning rate answers rows that are held out."""
    curve = sorted((row for row in results.metrics if RATE in row), key=lambda row: row[RATE])
    if not curve:
        return None
    rates = np.array([row[RATE] for row in curve], float)
    figure = Figure(figsize=(COLUMN, 3.8), layout="constrained")
    for axes, (name, label) in zip(figure.subplots(len(PANELS), 1, sharex=True), PANELS.items(), strict=True):
        draws = sorted({each for row in curve for each in row if re.fullmatch(rf"draw_\d+/search/{name}", each)})
        for draw in draws:
            axes.plot(rates, _values(curve, draw), color=OTHER, linewidth=0.6, label="one draw" * (draw == draws[0]))
        values = _values(curve, f"search/{name}")
        axes.plot(rates, values, color=BLUE, marker="o", markersize=3.5, label="mean of draws" if draws else "one draw")
        if (diverged := rates[np.isnan(values)]).size:
            foot = np.zeros(len(diverged))  # of the panel: there is no number
            axes.plot(diverged, foot, "x", color=VERMILION, transform=axes.get_xaxis_transform(), label="diverged")
        if (found := results.summary.get(RATE)) is not None:
            axes.axvline(found, color=OTHER, linestyle="--", linewidth=0.8, zorder=0, label="found")
        axes.set(xscale="log", ylabel=label)
        axes.grid(axis="y", color=FAINT, linewidth=0.5)
    figure.axes[-1].set_xlabel("learning rate")
    handles, labels = figure.axes[0].get_legend_handles_labels()
    legend_below(figure, handles, labels, ncols=2)
    return figure


def _values(curve: list[dict[str, float]], name: str) -> Array:
    return np.array([row.get(name, np.nan) for row in curve], float)
