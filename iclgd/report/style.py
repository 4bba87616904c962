"""How figures look: a colour and a name for each learner, bands over seeds, axes of losses."""

import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from iclgd.measures import ERRORS
from iclgd.report.results import MIXTURE, Array, Curve, drawable, mean_and_deviation

COLOURS = {
    "transformer": "#1f77b4",
    "gd": "#d62728",
    "gd_plus_plus": "#ff7f0e",
    "interpolated": "#2ca02c",
    "mlp_gd": "#d62728",
}
LABELS = {
    "transformer": "trained transformer",
    "gd": "gradient descent",
    "gd_plus_plus": "GD++",
    "interpolated": "mean of both weights",
    "mlp_gd": "MLP + gradient descent",
}
LINES = {"transformer": "-", "interpolated": ":"}  # all others are dashed: they may lie on the transformer's
OTHER = "#7f7f7f"
MORE_COLOURS = ("#9467bd", "#8c564b", "#e377c2", "#bcbd22", "#17becf")  # for learners that have none of their own
LOSS = ERRORS["loss"].axis
DECADES = 30.0  # a loss that varies by more than this factor needs a logarithmic axis


def colour(predictor: str) -> str:
    """Return a learner's colour; one without an own colour has the same in all figures."""
    return COLOURS.get(predictor) or MORE_COLOURS[zlib.crc32(predictor.encode()) % len(MORE_COLOURS)]


def label(predictor: str) -> str:
    """Return a learner's name in figures."""
    return LABELS.get(predictor, predictor.replace("_", " "))


def draw_band(axes: Axes, x: Array, values: Array, **style: Any) -> Any:
    """Plot the mean over seeds, and of several a band of one standard deviation to both sides; return the line.

    The band of positive numbers stays positive.

    Args:
        axes: where.
        x: (P,).
        values: (S, P).
        style: of the line.
    """
    mean, deviation = mean_and_deviation(values)
    (line,) = axes.plot(x, mean, **style)
    if len(values) > 1:
        low, smallest = mean - deviation, drawable(values).min(0)
        low = np.where((low <= 0) & (smallest > 0), smallest, low)  # a logarithmic axis has no place below 0
        axes.fill_between(x, low, mean + deviation, color=line.get_color(), alpha=0.2, linewidth=0)
    return line


def draw_losses(axes: Axes, curves: Mapping[str, Curve], axis: str = LOSS, **style: Any) -> None:
    """Plot the losses of learners, or another error.

    Args:
        axes: where.
        curves: by learner.
        axis: label of the y axis.
        style: of all lines.
    """
    scale_losses(axes, {name: curve.values for name, curve in curves.items()}, axis)
    for name, (x, values) in curves.items():
        look = {"color": colour(name), "linestyle": LINES.get(name, "--"), "label": label(name)}
        draw_band(axes, x, in_range(axes, name, values), **look, **style)


def scale_losses(axes: Axes, losses: Mapping[str, Array], axis: str = LOSS) -> None:
    """Let the y axis show the mean losses of learners, from 0 on, or logarithmic where they span decades; label it.

    Before training has found the construction, the mean of the weights may be any function: it has no say in this.
    """
    axes.set_ylabel(axis)
    means = np.concatenate(
        [np.empty(0), *(mean_and_deviation(values)[0] for name, values in losses.items() if name != MIXTURE)]
    )
    means = means[means > 0]
    if not len(means):
        return
    low, high = means.min(), means.max()
    if high > DECADES * low:
        axes.set_yscale("log")
        axes.set_ylim(low / 2, high * 2)
    else:
        axes.set_ylim(0, 1.1 * high)


def in_range(axes: Axes, predictor: str, losses: Array) -> Array:
    """Return losses with gaps where those of the mean of the weights lie above what the axis shows."""
    is_out = (predictor == MIXTURE) & ~(mean_and_deviation(losses)[0] <= axes.get_ylim()[1])
    return np.where(is_out, np.nan, losses)
