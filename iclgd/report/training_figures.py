"""Figures of numbers over training, and of the losses after each layer."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from iclgd.measures import ALIGNMENTS, ERRORS
from iclgd.measures.regression import COSINE
from iclgd.report.results import Results, drawable, mean_and_deviation
from iclgd.report.style import draw_band, draw_losses, label

TOKENS = {  # that a token may depend on: label, colour and line
    "own": ("... itself", "#7f7f7f", "-"),
    "other": ("... other tokens", "#8c564b", "-"),
    "next": ("... the next token", "#9467bd", "--"),
}


def learning_curve(results: Results) -> Figure | None:
    """Plot the transformer's errors over training beside the learners it may become; [vO] figures 2 and 3.

    There is a panel for each error; the legend has final values of the first one, the loss.
    """
    names = ["transformer", *results.references(), "interpolated"]
    curves = {error: {name: curve for name in names if (curve := results.curve(f"{error}/{name}"))} for error in ERRORS}
    shown = {error: found for error, found in curves.items() if "transformer" in found}
    if not shown:
        return None
    figure = Figure(figsize=(5.4 * len(shown), 4.0), layout="constrained")
    (panels,) = figure.subplots(1, len(shown), squeeze=False)
    for axes, (error, found) in zip(panels, shown.items(), strict=True):
        draw_losses(axes, found, axis=ERRORS[error].axis)
        axes.set_xlabel("training step")
    first = next(iter(shown.values()))
    finals = [f"{label(name)} ({mean_and_deviation(curve.values)[0][-1]:.4g})" for name, curve in first.items()]
    figure.legend(panels[0].get_lines(), finals, loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    return figure


def alignment(results: Results) -> Figure | None:
    """Plot how alike transformer and each reference are over training; [vO] figures 2 and 3."""
    references = results.references()
    if not references:
        return None
    figure = Figure(figsize=(5.4 * len(references), 3.8), layout="constrained")
    (panels,) = figure.subplots(1, len(references), squeeze=False)
    for axes, name in zip(panels, references, strict=True):
        axes.set_title(f"transformer and {label(name)}", fontsize=10)
        lines = _alignment(axes, results, "" if name == references[0] else f"_{name}")
    figure.legend(handles=lines, loc="outside lower center", ncols=len(lines), frameon=False, fontsize=8)
    return figure


def _alignment(distance: Axes, results: Results, suffix: str) -> list[Line2D]:
    """Draw cosines on the right axis, all else on the left one; return the lines."""
    cosine = distance.twinx()
    lines: list[Line2D] = []
    labels: list[str] = []
    for measure, entry in ALIGNMENTS.items():
        if curve := results.curve(f"alignment/{measure}{suffix}"):
            axes = cosine if entry.axis == COSINE else distance
            lines.append(draw_band(axes, *curve, color=entry.colour, label=entry.label))
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
    figure = Figure(figsize=(5.4, 3.6), layout="constrained")
    axes = figure.subplots()
    draw_losses(axes, curves, marker="o", markersize=4)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("after layer, or step")
    axes.legend(frameon=False, fontsize=8)
    return figure


def copying(results: Results) -> Figure | None:
    """Plot how strongly a token of the first layer depends on which input tokens, and the loss; [vO] figure 6."""
    curves = {name: curve for name in TOKENS if (curve := results.curve(f"copying/{name}"))}
    loss = results.curve("loss/transformer")
    if loss is None or not curves:
        return None
    figure = Figure(figsize=(5.6, 4.0), layout="constrained")
    norms = figure.subplots()
    losses = norms.twinx()
    draw_losses(losses, {"transformer": loss})
    lines = list(losses.get_lines())
    lines[0].set_label("loss of the transformer")
    for name, curve in curves.items():
        text, its_colour, line = TOKENS[name]
        lines.append(draw_band(norms, *curve, color=its_colour, linestyle=line, label=text))
    norms.set(xlabel="training step", ylabel="dependence of a token on ... (gradient norm)")
    if any((drawable(curve.values) > 0).any() for curve in curves.values()):
        norms.set_yscale("log")  # all start far below a token's dependence on itself
    figure.legend(handles=lines, loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    return figure
