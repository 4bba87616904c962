"""Figures of a text run: how alike in-context learning and finetuning are in each layer, and how often right."""

import itertools
import math
from collections.abc import Iterable
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from iclgd.measures import CONTROLS, SIMILARITY, TEXT_METRICS, Panel
from iclgd.report.chance import at_random, most_frequent
from iclgd.report.comparisons import (
    REC2FTP,
    REC2FTP_QUERIES,
    SETTINGS,
    Estimate,
    by_layer,
    controls_of,
    estimate,
    estimate_text,
    why_no_rec2ftp,
)
from iclgd.report.results import Results
from iclgd.report.style import BLACK, BLUE, COLUMN, FAINT, ORANGE, OTHER, PAGE, SKY, legend_below

MEASURE_STYLES: list[dict[str, Any]] = [  # of a panel's measures, in their order
    {"color": BLUE, "marker": "o"},
    {"color": ORANGE, "marker": "s"},
    {"color": BLACK, "marker": "^"},
    {"color": SKY, "marker": "D"},
    {"color": OTHER, "marker": "P"},
]
SETTING_STYLES: dict[str, dict[str, Any]] = {  # in grey too: light, dark, and between with stripes
    "zero_shot": {"color": "#d9d9d9"},
    "in_context": {"color": BLUE},
    "finetuned": {"color": ORANGE, "hatch": "////", "edgecolor": "white", "linewidth": 0},
}
CHANCE: dict[str, Any] = {"color": OTHER, "linestyle": (0, (6, 3)), "linewidth": 0.8, "zorder": 0}
RANDOM: Literal[":"] = ":"  # in its measure's colour
MEANS, STEP = 0.3, 0.035  # where means have their place, and between two of them: shares of the layers' span
LETTERS_OF_A_ROW = 34  # of the measures' names above a panel
HEIGHT = {True: 2.45, False: 2.9}  # of a panel: beside another, or alone


def panels(figure: str = SIMILARITY) -> dict[Panel, list[str]]:
    """Return the panels of a figure over layers, and the measures that have a label in each.

    Args:
        figure: its name.
    """
    found: dict[Panel, list[str]] = {}
    for name, entry in TEXT_METRICS.items():
        if entry.panel is not None and entry.panel.figure == figure and entry.baseline_of is None:
            found.setdefault(entry.panel, []).append(name)
    return found


def similarity(results: Results) -> Figure | None:
    """Plot the similarities of in-context learning and finetuning over layers; [Dai] and [Deutch].

    At the right of each panel are the means over layers with their 95 % intervals, each at the end of its line.
    """
    summary = results.summary
    shown = {panel: names for panel, names in panels().items() if any(by_layer(summary, name) for name in names)}
    if not shown:
        return None
    num_columns = min(2, len(shown))
    num_rows = -(-len(shown) // num_columns)
    is_wide = num_columns > 1
    figure = Figure(figsize=(PAGE if is_wide else COLUMN, HEIGHT[is_wide] * num_rows + 0.7), layout="constrained")
    grid = figure.subplots(num_rows, num_columns, squeeze=False)
    for axes in grid.ravel()[len(shown) :]:
        axes.remove()
    for axes, (panel, names) in zip(grid.flat, shown.items(), strict=False):
        layer_panel(axes, panel, names, summary)
    handles = shared_handles(summary, figure, shown)
    note = "controls: of each panel's first measure" if controls_of(summary) else ""
    legend_below(figure, handles, [str(each.get_label()) for each in handles], note, ncols=3 if is_wide else 2)
    return figure


def layer_panel(axes: Axes, panel: Panel, names: list[str], summary: dict[str, float]) -> None:
    """Draw measures over layers, their baselines, and the controls of the first measure.

    Args:
        axes: where.
        panel: of the measures.
        names: of those with a label.
        summary: has them, if the run does.
    """
    labels = [TEXT_METRICS[name].label or name for name in names if by_layer(summary, name)]
    ncols = len(labels) if sum(map(len, labels)) <= LETTERS_OF_A_ROW else 2
    axes.set_title(panel.title, loc="left", pad=4 + 10 * -(-len(labels) // max(ncols, 1)))
    if panel.chance is not None:
        axes.axhline(panel.chance, **CHANCE)
    styles, handles = {}, []  # of what is drawn; for the legend
    for name, style in zip(names, itertools.cycle(MEASURE_STYLES)):
        text = TEXT_METRICS[name].label or name
        if line := _line(axes, summary, name, label=text, linewidth=1.6, markersize=3.5, **style):
            styles[name] = style
            handles.append(line)
        random = {**style, "marker": ".", "zorder": 4}  # above controls, which may lie on it
        for baseline in (other for other, entry in TEXT_METRICS.items() if entry.baseline_of == name):
            if _line(axes, summary, baseline, linestyle=RANDOM, linewidth=1.6, markersize=4, **random):
                styles[baseline] = random
    main = names[0]
    for control in controls_of(summary):
        style = dict(CONTROLS[control].style)
        if _line(axes, summary, f"{control}/{main}", linewidth=0.9, markersize=3, zorder=3, **style):
            styles[f"{control}/{main}"] = style
    _means(axes, summary, styles)
    axes.set(xlabel="layer", ylabel=panel.axis)
    axes.legend(
        handles=handles,
        loc="lower left",  # above the axes, below the title
        bbox_to_anchor=(-0.01, 1.0),
        borderaxespad=0.2,
        ncols=ncols,
        columnspacing=1,
        handlelength=1.6,
        labelspacing=0.2,
    )


def _line(axes: Axes, summary: dict[str, float], name: str, **style: Any) -> Line2D | None:
    """Plot a quantity over layers, if the summary has it."""
    found = by_layer(summary, name)
    return axes.plot(*found, **style)[0] if found else None


def _means(axes: Axes, summary: dict[str, float], styles: dict[str, dict[str, Any]]) -> None:
    """Show the means over layers of what is drawn beside the last layer, and label the x axis."""
    last = max(int(found[0][-1]) for name in styles if (found := by_layer(summary, name)))
    span = max(last, 1)
    middle = last + MEANS / 2 * span
    places = middle + STEP * span * (np.arange(len(styles)) - (len(styles) - 1) / 2)
    for place, (name, style) in zip(places, styles.items(), strict=True):
        found, mean = by_layer(summary, name), estimate(summary, name)
        if found is None or mean is None:
            continue
        look = {"color": style["color"], "zorder": 3}
        _with_interval(axes, place, mean, marker=style["marker"], markersize=3.5, **look)
        axes.plot([found[0][-1], place], [found[1][-1], mean.value], linestyle=":", linewidth=0.6, alpha=0.6, **look)
    axes.axvline(last + 0.03 * span, color=FAINT, linewidth=0.8, zorder=0)
    axes.set_xlim(-0.04 * span, last + MEANS * span)
    layers = MaxNLocator(nbins=8, integer=True).tick_values(0, last)
    ticks = [int(layer) for layer in layers if 0 <= layer <= last]
    axes.set_xticks([*ticks, middle], [*map(str, ticks), "mean"])


def _with_interval(axes: Axes, place: float, found: Estimate, **style: Any) -> None:
    """Draw a point with a bar from low to high, or without, if there is no interval."""
    # The interval of a constant may lie beside it by a rounding error, and a bar cannot have a negative length.
    lengths = np.maximum([[found.value - found.low], [found.high - found.value]], 0)
    bar = None if np.isnan(lengths).any() else lengths
    axes.errorbar([place], [found.value], yerr=bar, elinewidth=1, capsize=2, **style)


def shared_handles(summary: dict[str, float], figure: Figure, shown: Iterable[Panel]) -> list[Line2D]:
    """Return what the legend of a whole figure explains.

    Args:
        summary: of the run.
        figure: its panels over layers, as they are drawn.
        shown: what these panels are.
    """
    handles = [
        Line2D([], [], linewidth=1, markersize=4, label=CONTROLS[name].label, **CONTROLS[name].style)
        for name in controls_of(summary)
    ]
    if any(line.get_linestyle() == RANDOM for axes in figure.axes for line in axes.get_lines()):
        for baseline in dict.fromkeys(panel.baseline for panel in shown):
            handles.append(Line2D([], [], color=OTHER, linestyle=RANDOM, label=f"{baseline}, its measure's colour"))
    if any(panel.chance is not None for panel in shown):
        handles.append(Line2D([], [], label="chance", **CHANCE))
    has_intervals = any(name.endswith("_low") for name in summary)
    label = "mean over layers" + ", 95% interval" * has_intervals
    handles.append(Line2D([], [], color=OTHER, linestyle="none", marker="|", markersize=10, label=label))
    return handles


def accuracy(results: Results) -> Figure | None:
    """Plot accuracy zero-shot, in-context and finetuned, of the comparison and each control, with Rec2FTP below.

    A line is at chance: what who always gives the most frequent answer of these queries gets right; where each has its
    own, what any answer does.
    """
    summary = results.summary
    if not any(name in summary for name in SETTINGS):
        return None
    groups = {"": "comparison", **{f"{name}/": CONTROLS[name].label for name in controls_of(summary)}}
    figure = Figure(figsize=(COLUMN if len(groups) < 3 else PAGE, 2.9), layout="constrained")
    axes = figure.subplots()
    places, width = np.arange(len(groups)), 0.26
    for index, (name, text) in enumerate(SETTINGS.items()):
        found = [estimate(summary, f"{prefix}{name}") or Estimate(math.nan) for prefix in groups]
        values, low, high = np.array(found, float).T
        axes.bar(
            places + (index - 1) * width,
            values,
            width * 0.92,
            yerr=np.maximum([values - low, high - values], 0),
            label=text,
            error_kw={"elinewidth": 0.8, "capsize": 2},
            **SETTING_STYLES[name.rpartition("/")[2]],
        )
    if (chance := most_frequent(results.queries)) is not None:
        axes.axhline(chance, label=f"chance: always the most frequent label ({chance:.3g})", **{**CHANCE, "zorder": 3})
    elif (any_answer := at_random(results.queries)) is not None:
        label = f"chance: any of a query's own answers ({any_answer.share:.3g})"
        axes.axhline(any_answer.share, label=label, **{**CHANCE, "zorder": 3})
    axes.set(ylim=(0, 1.02), ylabel="accuracy", xlim=(-0.6, len(groups) - 0.4))
    axes.set_axisbelow(True)
    axes.grid(axis="y", color=FAINT, linewidth=0.5)
    axes.set_xticks(places, [f"{label}\n{_recall(summary, prefix)}" for prefix, label in groups.items()])
    axes.tick_params(axis="x", length=0)
    if reason := why_no_rec2ftp(summary, groups):
        axes.set_xlabel(f"Rec2FTP not defined: {reason}", fontsize="small")
    handles, labels = axes.get_legend_handles_labels()
    settings = sorted(zip(labels, handles, strict=True), key=lambda pair: pair[0] not in SETTINGS.values())
    legend_below(
        figure, [each for _, each in settings], [text for text, _ in settings], ncols=4 if len(groups) > 2 else 2
    )
    return figure


def _recall(summary: dict[str, float], prefix: str) -> str:
    """Return a group's Rec2FTP and how many queries it rests on in words, over up to three lines."""
    name = f"{prefix}{REC2FTP}"
    if math.isnan(summary.get(name, math.nan)):
        return "Rec2FTP\nnot defined"
    value, *interval = estimate_text(summary, name).split(" ", 1)
    num_queries = summary.get(f"{prefix}{REC2FTP_QUERIES}")
    number = [] if num_queries is None else [f"of {num_queries:.0f} {'query' if num_queries == 1 else 'queries'}"]
    return "\n".join([f"Rec2FTP {value} %", *interval, *number])
