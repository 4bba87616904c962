"""Figures of numbers over training, and of the losses after each layer."""

import itertools
import math

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from iclgd.measures import ALIGNMENTS, ERRORS
from iclgd.measures.regression import COSINE
from iclgd.report.results import Curve, Results, drawable
from iclgd.report.style import (
    COLUMN,
    OTHER,
    PAGE,
    PURPLE,
    VERMILION,
    band_note,
    centre_and_ends,
    draw_band,
    draw_losses,
    label,
    legend_below,
)

TOKENS = {  # that a token may depend on: label, colour and line
    "own": ("... itself", OTHER, "-."),
    "next": ("... the next token", PURPLE, "--"),
    "other": ("... other tokens", VERMILION, ":"),  # over the next token's, as which it begins
}
STYLES = ("--", "-.", "-", ":")  # of alignment's measures, in their order


def learning_curve(results: Results) -> Figure | None:
    """Plot the transformer's errors over training beside the learners it may become; [vO] figures 2 and 3.

    There is a panel for each error; the legend has final values of the first one, the loss, and says which of them lie
    off the axis.
    """
    names = ["transformer", *results.references(), "interpolated"]
    curves = {error: {name: curve for name in names if (curve := results.curve(f"{error}/{name}"))} for error in ERRORS}
    shown = {error: found for error, found in curves.items() if "transformer" in found}
    if not shown:
        return None
    figure = Figure(figsize=(_width(len(shown)), 3.2), layout="constrained")
    (panels,) = figure.subplots(1, len(shown), squeeze=False)
    for axes, (error, found) in zip(panels, shown.items(), strict=True):
        draw_losses(axes, found, axis=ERRORS[error].axis)
        axes.set_xlabel("training step")
    first, axes = next(iter(shown.values())), panels[0]
    finals = [f"{label(name)} ({_final(axes, curve)})" for name, curve in first.items()]
    legend_below(
        figure, axes.get_lines(), finals, "in brackets: the last value", _band_note(axes, first["transformer"])
    )
    return figure


def _final(axes: Axes, curve: Curve) -> str:
    """Return the last value of a curve in words, and whether it is none that the axis shows."""
    value, (low, high) = float(centre_and_ends(axes, curve.values)[0][-1]), axes.get_ylim()
    return f"{value:.4g}" + ", off the axis" * (not math.isnan(value) and not low <= value <= high)


def _band_note(axes: Axes, curve: Curve) -> str:
    return band_note(axes, len(curve.values))


def _width(num_panels: int) -> float:
    return COLUMN if num_panels == 1 else max(PAGE, 2.3 * num_panels)


def alignment(results: Results) -> Figure | None:
    """Plot how alike transformer and each reference are over training; [vO] figures 2 and 3."""
    references = results.references()
    if not references:
        return None
    figure = Figure(figsize=(_width(len(references)), 3.0), layout="constrained")
    (panels,) = figure.subplots(1, len(references), squeeze=False)
    for axes, name in zip(panels, references, strict=True):
        axes.set_title(f"transformer and {label(name)}")
        lines = _alignment(axes, results, "" if name == references[0] else f"_{name}")
    cosine = results.curve("alignment/sensitivity_cosine")
    note = _band_note(panels[0], cosine) if cosine else ""
    legend_below(figure, lines, [str(line.get_label()) for line in lines], note, ncols=4)
    return figure


def _alignment(distance: Axes, results: Results, suffix: str) -> list[Line2D]:
    """Draw cosines on the right axis, all else on the left one; return the lines."""
    cosine = distance.twinx()
    lines: list[Line2D] = []
    labels: list[str] = []
    for (measure, entry), line in zip(ALIGNMENTS.items(), itertools.cycle(STYLES), strict=False):
        if curve := results.curve(f"alignment/{measure}{suffix}"):
            axes, side = (cosine, "right") if entry.axis == COSINE else (distance, "left")
            text = f"{entry.label} ({side})"
            lines.append(draw_band(axes, *curve, color=entry.colour, linestyle=line, label=text))
            labels += [entry.axis] * (entry.axis not in (COSINE, *labels))
    distance.set(xlabel="training step", ylabel=", ".join(labels))
    distance.set_ylim(bottom=0)
    cosine.set(ylabel=COSINE, ylim=(min(0.0, cosine.get_ylim()[0]), 1.02))
    return lines


def layers(results: Results) -> Figure | None:
    """Plot the loss after each layer beside as many steps of gradient descent and GD++."""
    names = ["transformer", *results.references()]
    curves = {name: curve for name in names if (curve := results.layers(name))}
    if "transformer" not in curves:
        return None
    figure = Figure(figsize=(COLUMN, 2.8), layout="constrained")
    axes = figure.subplots()
    draw_losses(axes, curves, marker="o", markersize=3)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("after layer, or step")
    legend_below(figure, *axes.get_legend_handles_labels(), _band_note(axes, curves["transformer"]))
    return figure


def copying(results: Results) -> Figure | None:
    """Plot how strongly a token of the first layer depends on which input tokens, and the loss; [vO] figure 6."""
    curves = {name: curve for name in TOKENS if (curve := results.curve(f"copying/{name}"))}
    loss = results.curve("loss/transformer")
    if loss is None or not curves:
        return None
    figure = Figure(figsize=(COLUMN, 3.7), layout="constrained")
    norms = figure.subplots()
    losses = norms.twinx()
    draw_losses(losses, {"transformer": loss})
    lines = list(losses.get_lines())
    lines[0].set_label("loss of the transformer (right)")
    if any((drawable(curve.values) > 0).any() for curve in curves.values()):
        norms.set_yscale("log")  # all start far below a token's dependence on itself
    for name, curve in curves.items():
        text, its_colour, line = TOKENS[name]
        text += ": 0, off the axis" * (norms.get_yscale() == "log" and not (curve.values > 0).any())
        lines.append(draw_band(norms, *curve, color=its_colour, linestyle=line, label=text))
    norms.set(xlabel="training step", ylabel="dependence of a token on ...\n(gradient norm)")
    notes = {axes.get_yscale(): _band_note(axes, loss) for axes in (norms, losses)}
    sided = [f"left: {_band_note(norms, loss)}", f"right: {_band_note(losses, loss)}"]
    several = len(notes) > 1 and any(notes.values())
    legend_below(figure, lines, [str(line.get_label()) for line in lines], *(sided if several else notes.values()))
    return figure
