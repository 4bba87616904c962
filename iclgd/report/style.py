"""How figures look: sizes and letters for a two-column paper, colours and lines of learners, bands over seeds, axes.

Colours are those of Okabe and Ito (2008), which all kinds of colour vision tell apart; lines and markers differ too,
for print without colours. A figure is as wide as a column or as the page: in a paper its letters have 7 or 8 points.
"""

import textwrap
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatterSciNotation, LogLocator

from iclgd.measures import ERRORS
from iclgd.report.results import MIXTURE, Array, Curve, drawable, mean_and_deviation

COLUMN, PAGE = 3.3, 6.9  # widths in inches
SMALL, NORMAL = 7, 8  # letters, in points
WIDTH_OF_LETTER = 0.56  # of its size, with some room
LETTERS_OF_LINE = 8  # as wide as a line beside its name in a legend
STYLE: dict[Any, Any] = {
    "font.size": NORMAL,
    "axes.titlesize": NORMAL,
    "axes.labelsize": NORMAL,
    "axes.linewidth": 0.6,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "legend.fontsize": SMALL,
    "legend.title_fontsize": SMALL,
    "legend.frameon": False,
    "figure.titlesize": NORMAL,
    "lines.linewidth": 1.4,
    "pdf.fonttype": 42,  # letters as letters: many journals refuse others
    "svg.hashsalt": "iclgd",  # the same file for the same figure
}
BLACK, ORANGE, SKY, GREEN, BLUE, VERMILION, PURPLE = (
    "#000000",
    "#E69F00",
    "#56B4E9",
    "#009E73",
    "#0072B2",
    "#D55E00",
    "#CC79A7",
)
OTHER, FAINT = "#7f7f7f", "#d0d0d0"
COLOURS = {
    "transformer": BLUE,
    "gd": VERMILION,
    "gd_plus_plus": ORANGE,
    "gd_momentum": PURPLE,
    "interpolated": GREEN,
    "mlp_gd": VERMILION,
}
LABELS = {
    "transformer": "trained transformer",
    "gd": "gradient descent",
    "gd_plus_plus": "GD++",
    "gd_momentum": "GD with momentum",
    "interpolated": "mean of both weights",
    "mlp_gd": "MLP + gradient descent",
    "dmmse": "dMMSE",
}
LINES = {"transformer": "-", "gd_plus_plus": "-.", "interpolated": ":"}  # all others are dashed: they may lie on these
MORE_COLOURS = (PURPLE, SKY, BLACK, OTHER)  # for learners that have none of their own
LOSS = ERRORS["loss"].axis
DECADES = 30.0  # a loss that varies by more than this factor needs a logarithmic axis


def colour(predictor: str) -> str:
    """Return a learner's colour; one without an own colour has the same in all figures."""
    return COLOURS.get(predictor) or MORE_COLOURS[zlib.crc32(predictor.encode()) % len(MORE_COLOURS)]


def label(predictor: str) -> str:
    """Return a learner's name in figures."""
    return LABELS.get(predictor, predictor.replace("_", " "))


def letters_in(width: float, size: float) -> int:
    """Return how many letters of a size in points fit into a width in inches, about."""
    return int(width * 72 / (size * WIDTH_OF_LETTER))


def legend_below(figure: Figure, handles: Sequence[Artist], labels: Sequence[str], *notes: str, ncols: int = 2) -> None:
    """Explain lines below all panels, under what is to be known of all of them.

    Args:
        figure: whose.
        handles: lines.
        labels: of each.
        notes: a line each; empty ones are left out.
        ncols: columns of the legend, at most: as many as there is room for.
    """
    letters = letters_in(figure.get_figwidth(), SMALL)
    ncols = max(1, min(ncols, letters // (LETTERS_OF_LINE + max(map(len, labels), default=0))))
    title = "\n".join(line for note in notes for line in textwrap.wrap(note, letters)) or None
    figure.legend(handles, labels, loc="outside lower center", ncols=ncols, title=title, columnspacing=1.2)


def band_note(axes: Axes, num_seeds: int) -> str:
    """Say what lines and bands of several seeds are; nothing of a single one."""
    if num_seeds < 2:
        return ""
    if axes.get_yscale() == "log":
        return f"geometric mean of {num_seeds} seeds; bands: one standard deviation, as a factor"
    return f"mean of {num_seeds} seeds; bands: ± one standard deviation"


def centre_and_ends(axes: Axes, values: Array) -> tuple[Array, Array, Array]:
    """Return the middle of seeds, and one standard deviation below and above.

    On a logarithmic axis these are the geometric mean and ratios to it, which no axis can cut; what is not positive
    leaves a gap there.

    Args:
        axes: whose scale counts.
        values: (S, P).

    Returns:
        Of shape (P,) each.
    """
    if axes.get_yscale() != "log":
        mean, deviation = mean_and_deviation(values)
        return mean, mean - deviation, mean + deviation
    kept = drawable(values)
    if len(kept) == 1:
        return kept[0], kept[0], kept[0]
    mean, deviation = mean_and_deviation(np.log(np.where(kept > 0, kept, np.nan)))
    return drawable(np.exp(mean)), drawable(np.exp(mean - deviation)), drawable(np.exp(mean + deviation))


def draw_band(axes: Axes, x: Array, values: Array, **style: Any) -> Any:
    """Plot the middle of seeds, and of several a band of one standard deviation to both sides; return the line.

    Args:
        axes: where; its scale has to be set.
        x: (P,).
        values: (S, P).
        style: of the line.
    """
    middle, low, high = centre_and_ends(axes, values)
    (line,) = axes.plot(x, middle, **style)
    is_there = np.pad(np.isfinite(middle), 1)
    if "marker" not in style and (alone := is_there[1:-1] & ~is_there[:-2] & ~is_there[2:]).any():
        line.set(marker=".", markevery=np.flatnonzero(alone).tolist())  # a line needs two points
    if len(values) > 1:
        axes.fill_between(x, low, high, color=line.get_color(), alpha=0.2, linewidth=0)
    return line


def draw_losses(
    axes: Axes, curves: Mapping[str, Curve], axis: str = LOSS, is_log: bool | None = None, **style: Any
) -> None:
    """Plot the losses of learners, or another error.

    Args:
        axes: where.
        curves: by learner.
        axis: label of the y axis.
        is_log: on a logarithmic axis; where they span decades if not said.
        style: of all lines.
    """
    scale_losses(axes, {name: curve.values for name, curve in curves.items()}, axis, is_log)
    for name, (x, values) in curves.items():
        look = {"color": colour(name), "linestyle": LINES.get(name, "--"), "label": label(name)}
        draw_band(axes, x, in_range(axes, name, values), **look, **style)


def scale_losses(axes: Axes, losses: Mapping[str, Array], axis: str = LOSS, is_log: bool | None = None) -> None:
    """Let the y axis show the mean losses of learners, from 0 on, or logarithmic where they span decades; label it.

    Before training has found the construction, the mean of the weights may be any function: it has no say in this.
    """
    axes.set_ylabel(axis)
    shown = [values for name, values in losses.items() if name != MIXTURE]
    low, high = _span([mean_and_deviation(values)[0] for values in shown])
    if is_log if is_log is not None else high > DECADES * low:
        axes.set_yscale("log")
        low, high = _span([centre_and_ends(axes, values)[0] for values in shown])
        if np.isfinite(low):
            axes.set_ylim(low / 2, high * 2)
        name_ticks(axes)
    elif np.isfinite(low):
        axes.set_ylim(0, 1.1 * high)


def name_ticks(axes: Axes) -> None:
    """Let a logarithmic y axis have numbers at 1, 2 and 5 where it shows no two powers of ten."""
    low, high = axes.get_ylim()
    if high < 50 * low:
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(LogFormatterSciNotation(labelOnlyBase=False, minor_thresholds=(np.inf, np.inf)))
        axes.yaxis.set_minor_formatter("")


def _span(lines: Sequence[Array]) -> tuple[float, float]:
    """Return the least and the largest positive number of all; NaN if there is none."""
    numbers = np.concatenate([np.empty(0), *lines])
    positive = numbers[numbers > 0]
    return (float(positive.min()), float(positive.max())) if len(positive) else (np.nan, np.nan)


def in_range(axes: Axes, predictor: str, losses: Array) -> Array:
    """Return losses with gaps where those of the mean of the weights lie above what the axis shows."""
    is_out = (predictor == MIXTURE) & ~(centre_and_ends(axes, losses)[0] <= axes.get_ylim()[1])
    return np.where(is_out, np.nan, losses)
