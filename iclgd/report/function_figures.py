"""The figure of functions: sine waves as learners see them, and the kernels by which they do."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from iclgd.report.results import Array, Results, drawable
from iclgd.report.style import BLACK, LINES, PAGE, colour, label, legend_below
from iclgd.report.titles import value_of

LEARNERS = ("transformer", "mlp_gd")
BEFORE, AFTER = 0.8, 2.0  # widths: before the context is seen, and after it, which kernels are too


def functions(record: dict[str, Any], results: Results) -> Figure | None:
    """Show each function with its context, and predictions before and after seeing it; [vO] figure 5.

    The last panel has the first function's kernels: the weight of its first example for a query at each x.
    """
    drawn = record["functions"]
    if not drawn:
        return None
    figure = Figure(figsize=(PAGE, 2.8), layout="constrained")
    *panels, last = figure.subplots(1, len(drawn) + 1)
    for number, (axes, function) in enumerate(zip(panels, drawn, strict=True), 1):
        _function(axes, function)
        axes.set_title(f"function {number}")
    panels[0].set_ylabel("y")
    _kernels(last, drawn[0])
    seed = value_of(results.config, "seed")
    note = "thin: before the context is seen; thick: after" + (f"; models of seed {seed}" if seed is not None else "")
    legend_below(figure, *panels[0].get_legend_handles_labels(), note, ncols=3)
    return figure


def _function(axes: Axes, function: dict[str, Any]) -> None:
    axes.plot(function["x"], function["target"], color=BLACK, linestyle=":", label="true function")
    axes.plot(function["context"]["x"], function["context"]["y"], "ko", markersize=4, zorder=3, label="context")
    for learner in LEARNERS:
        for when, width in (("before", BEFORE), ("after", AFTER)):
            prediction, text = drawable(np.array(function[learner][when], float)), f"{label(learner)}, {when}"
            axes.plot(function["x"], prediction, **_look(learner), linewidth=width, label=text)
    axes.set_xlabel("x")


def _look(learner: str) -> dict[str, Any]:
    return {"color": colour(learner), "linestyle": LINES.get(learner, "--")}


def _kernels(axes: Axes, function: dict[str, Any]) -> None:
    for learner in LEARNERS:
        kernel = normalised(function[learner]["kernel"])
        axes.plot(function["x"], kernel, **_look(learner), linewidth=AFTER, label=label(learner))
    axes.axvline(function["context"]["x"][0], color=BLACK, linestyle=":", linewidth=1)
    axes.set_title("kernels of function 1's\nexample at the dotted line")
    axes.set(xlabel="x of the query", ylabel="weight / largest |weight|")


def normalised(kernel: list[float]) -> Array:
    """Divide by the largest absolute value, if there is one."""
    values = drawable(np.array(kernel, float))
    return values / (np.abs(values).max() or 1.0)
