"""The figure of functions: sine waves as learners see them, and the kernels by which they do."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from iclgd.report.results import Array, drawable
from iclgd.report.style import colour, label

LEARNERS = ("transformer", "mlp_gd")


def functions(record: dict[str, Any]) -> Figure | None:
    """Show each function with its context, and predictions before and after seeing it; [vO] figure 5.

    The last panel has the first function's kernels: the weight of its first example for a query at each x.
    """
    drawn = record["functions"]
    if not drawn:
        return None
    figure = Figure(figsize=(4.4 * (len(drawn) + 1), 3.8), layout="constrained")
    *panels, last = figure.subplots(1, len(drawn) + 1)
    for axes, function in zip(panels, drawn, strict=True):
        _function(axes, function)
    _kernels(last, drawn[0])
    figure.legend(
        *panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=6, frameon=False, fontsize=9
    )
    return figure


def _function(axes: Axes, function: dict[str, Any]) -> None:
    axes.plot(function["x"], function["target"], color="black", linestyle=":", label="true function")
    for learner in LEARNERS:
        for when, width in (("before", 0.9), ("after", 2.4)):
            prediction, text = drawable(np.array(function[learner][when], float)), f"{label(learner)}, {when}"
            axes.plot(function["x"], prediction, color=colour(learner), linewidth=width, label=text)
    axes.plot(function["context"]["x"], function["context"]["y"], "ko", zorder=3, label="context")
    axes.set(xlabel="x", ylabel="y")


def _kernels(axes: Axes, function: dict[str, Any]) -> None:
    for learner in LEARNERS:
        axes.plot(function["x"], normalised(function[learner]["kernel"]), color=colour(learner), label=label(learner))
    axes.axvline(function["context"]["x"][0], color="black", linestyle=":")
    axes.set_title("kernels of the example at the dotted line", fontsize=10)
    axes.set(xlabel="x of the query", ylabel="weight / largest absolute weight")


def normalised(kernel: list[float]) -> Array:
    """Divide by the largest absolute value, if there is one."""
    values = drawable(np.array(kernel, float))
    return values / (np.abs(values).max() or 1.0)
