"""Figures of a language model's training."""

import itertools
import re
from collections.abc import Mapping

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from iclgd.report.by_demonstrations import accuracy_after, numbers_in
from iclgd.report.results import Curve, Results
from iclgd.report.style import BLUE, PAGE

OF_LENGTH = re.compile(r"^val/perplexity/(\d+)_tokens$")
STYLES = ("-", "--", "-.", ":")


def learning_to_learn(results: Results) -> Figure | None:
    """Plot the accuracy after some demonstrations over training, and over the demonstrations at the end."""
    numbers = numbers_in(results.summary)
    curves = {number: curve for number in numbers if (curve := results.curve(accuracy_after(number)))}
    if not curves:
        return None
    figure = Figure(figsize=(PAGE, 2.7), layout="constrained")
    over_training, at_the_end = figure.subplots(1, 2, width_ratios=(3, 2))
    _coloured_curves(over_training, curves)
    over_training.set(xlabel="training step", ylabel="accuracy of the label", ylim=(0, 1))
    figure.legend(title="over training: after so many demonstrations", loc="outside lower center", ncols=len(curves))
    final = [results.summary[accuracy_after(number)] for number in numbers]
    at_the_end.plot(range(len(numbers)), final, "o-", markersize=4, color=BLUE)
    at_the_end.set_xticks(range(len(numbers)), [str(number) for number in numbers])
    at_the_end.set(xlabel="demonstrations", ylim=(0, 1), title="trained")
    for axes in (over_training, at_the_end):
        axes.yaxis.set_major_formatter(PercentFormatter(1))
        axes.grid(axis="y", alpha=0.3)
    return figure


def perplexity_by_length(results: Results) -> Figure | None:
    """Plot the perplexity of evaluation sequences of several lengths over training, and over the length at the end."""
    lengths = sorted(int(found[1]) for name in results.summary if (found := OF_LENGTH.match(name)))
    names = {length: f"val/perplexity/{length}_tokens" for length in lengths}
    curves = {length: curve for length, name in names.items() if (curve := results.curve(name))}
    if not curves:
        return None
    figure = Figure(figsize=(PAGE, 2.7), layout="constrained")
    over_training, at_the_end = figure.subplots(1, 2, width_ratios=(3, 2))
    _coloured_curves(over_training, curves)
    figure.legend(title="over training: on so many tokens", loc="outside lower center", ncols=len(curves))
    over_training.set(xlabel="training step", ylabel="perplexity", yscale="log")
    at_the_end.plot(lengths, [results.summary[name] for name in names.values()], "o-", markersize=4, color=BLUE)
    at_the_end.set_xscale("log", base=2)
    at_the_end.set_xticks(lengths, [str(length) for length in lengths])
    at_the_end.set(xlabel="tokens of a sequence", title="trained")
    for axes in (over_training, at_the_end):
        axes.grid(axis="y", alpha=0.3)
    return figure


def _coloured_curves(axes: Axes, curves: Mapping[int, Curve]) -> None:
    """Plot curves of what is named by numbers, from dark for the least to light."""
    colours: Colormap = colormaps["viridis"]
    for place, ((number, curve), line) in enumerate(zip(curves.items(), itertools.cycle(STYLES), strict=False)):
        colour = colours(0.9 * place / max(1, len(curves) - 1))
        axes.plot(curve.x, curve.values[0], color=colour, linestyle=line, label=f"{number}")
