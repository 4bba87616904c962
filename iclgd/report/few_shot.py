"""The accuracy of a language model against the number of demonstrations in its context: a table, and a figure."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from rich.table import Table

from iclgd.report.by_demonstrations import accuracy_after, numbers_in
from iclgd.report.chance import most_frequent
from iclgd.report.comparisons import estimate
from iclgd.report.results import OF_A_DRAW, Results
from iclgd.report.similarity_figures import CHANCE
from iclgd.report.style import BLUE, COLUMN, FAINT, OTHER, legend_below


def few_shot_table(summary: dict[str, float], title: str) -> Table:
    """Return the accuracy after each number of demonstrations, with those of the draws.

    Example:
        >>> numbers = {"accuracy/0_demonstrations": 0.5, "accuracy/4_demonstrations": 0.75}
        >>> [list(column.cells) for column in few_shot_table(numbers, "run").columns]
        [['0', '4'], ['0.5', '0.75']]
    """
    draws = draws_of(summary)
    over = "draws and queries" if draws else "queries, of one draw of demonstrations"
    table = Table(title=title, title_justify="left", title_style="bold", caption_justify="left")
    table.caption = f"95% intervals are over {over}; 0 demonstrations: zero-shot"
    for name in ("demonstrations", "accuracy", *["of each draw"] * bool(draws)):
        table.add_column(name, justify="right")
    for number in numbers_in(summary):
        name = accuracy_after(number)
        mean = estimate(summary, name)
        each = ", ".join(f"{summary[f'{draw}{name}']:.3g}" for draw in draws if f"{draw}{name}" in summary)
        table.add_row(str(number), "" if mean is None else mean.text(), *[each] * bool(draws))
    return table


def draws_of(summary: dict[str, float]) -> list[str]:
    """Return how the names of each draw's own numbers begin; nothing of a single draw.

    Example:
        >>> draws_of({"accuracy/0_demonstrations": 0.5, "draw_00/accuracy/0_demonstrations": 0.5})
        ['draw_00/']
    """
    return sorted({found[0] for name in summary if (found := OF_A_DRAW.match(name))})


def accuracy_by_demonstrations(results: Results) -> Figure | None:
    """Plot the accuracy against the number of demonstrations, with its 95 % interval and each draw's own.

    A line is at chance: what who always gives the most frequent answer of these queries gets right.
    """
    summary = results.summary
    numbers = numbers_in(summary)
    if not numbers:
        return None
    names = [accuracy_after(number) for number in numbers]
    found = [estimate(summary, name) for name in names]
    values, low, high = np.array([each for each in found if each is not None], float).T
    figure = Figure(figsize=(COLUMN, 2.7), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(numbers))
    for index, draw in enumerate(draws_of(summary)):
        own = [summary[f"{draw}{name}"] for name in names]
        label = None if index else "each draw of demonstrations"
        axes.plot(places, own, color=OTHER, linewidth=0.7, marker=".", markersize=3, alpha=0.7, label=label)
    reach = np.maximum([values - low, high - values], 0)
    style: dict[str, Any] = {"color": BLUE, "marker": "o", "markersize": 4, "capsize": 2, "elinewidth": 1}
    axes.errorbar(places, values, yerr=reach, label="accuracy, 95% interval", **style)
    if (chance := most_frequent(results.queries)) is not None:
        axes.axhline(chance, label=f"chance: always the most frequent label ({chance:.3g})", **CHANCE)
    axes.set_xticks(places, [str(number) for number in numbers])
    axes.set(xlabel="demonstrations", ylabel="accuracy", ylim=(0, 1.02))
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.grid(axis="y", color=FAINT, linewidth=0.5)
    handles, labels = axes.get_legend_handles_labels()
    legend_below(figure, handles, labels, ncols=1)
    return figure
