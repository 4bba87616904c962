"""The figure of which_algorithm: how far every layer is from the learners nearest to it."""

import textwrap
from collections import Counter
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from iclgd.report.results import Array, Results, drawable
from iclgd.report.style import BLACK, BLUE, COLUMN, PAGE, SKY, SMALL, legend_below
from iclgd.report.verdicts import place_text, verdict_text

NUM_LEARNERS, NUM_COLUMNS = 12, 2
MOST_PANELS = 24  # more would make an image that no viewer shows
LETTERS = 58  # of a panel's title in a line
COLOURS = {
    "named: the simplest of the nearest": BLUE,
    "cannot be told from the nearest": SKY,
    "others": "#d9d9d9",
}
HATCHES = {BLUE: "", SKY: "////", "#d9d9d9": ""}  # for print without colours
KEYS = ("sensitivity_l2", "sensitivity_l2_low", "sensitivity_l2_high")
Seed = tuple[int, list[dict[str, Any]], dict[str, Any]]  # its number, and of one layer its rows and its verdict


def algorithms(record: dict[str, Any], results: Results) -> Figure | None:
    """Show the distances to the nearest learners, a panel for each layer, with all seeds and their 95 % intervals."""
    if not record or not record["seeds"]:
        return None
    layers: dict[int, list[Seed]] = {}
    for seed in record["seeds"]:
        for verdict in seed["verdicts"]:
            rows = [row for row in seed["rows"] if row["layer"] == verdict["layer"]]
            layers.setdefault(verdict["layer"], []).append((seed["seed"], rows, verdict))
    shown = list(layers.values())[:MOST_PANELS]
    num_columns = min(NUM_COLUMNS, len(shown))
    num_rows = -(-len(shown) // num_columns)
    width = PAGE if num_columns > 1 else COLUMN
    figure = Figure(figsize=(width, 2.9 * num_rows + 0.5 + 0.3 * (num_columns == 1)), layout="constrained")
    grid = figure.subplots(num_rows, num_columns, squeeze=False)
    for axes in grid.ravel()[len(shown) :]:
        axes.remove()
    for axes, seeds in zip(grid.flat, shown, strict=False):
        _layer(axes, seeds)
    handles: list[Any] = [_patch(colour) for colour in COLOURS.values()]
    labels = list(COLOURS)
    if len(record["seeds"]) > 1:
        handles, labels = (
            [*handles, Line2D([], [], **_POINT)],
            [*labels, "each seed; bars: means, by all seeds' verdicts"],
        )
    legend_below(figure, handles, labels, ncols=3 if num_columns > 1 and len(labels) < 4 else num_columns)
    if len(layers) > len(shown):
        figure.suptitle(f"the first {len(shown)} of {len(layers)} layers; all are in analysis/which_algorithm.json")
    return figure


_POINT: dict[str, Any] = {"color": BLACK, "marker": ".", "markersize": 4, "linestyle": "none"}


def _patch(colour: str) -> Patch:
    return Patch(facecolor=colour, hatch=HATCHES[colour], edgecolor="white" if HATCHES[colour] else colour)


def _layer(axes: Axes, seeds: list[Seed]) -> None:
    """Draw one layer's distances, the learner that is nearest over seeds on top."""
    distances = {row["learner"]: _of_learner(seeds, row["learner"]) for _, rows, _ in seeds for row in rows}
    means = {name: float(found[:, 0].mean()) for name, found in distances.items()}
    ordered = sorted(means, key=lambda name: np.nan_to_num(means[name], nan=np.inf))
    named = {verdict["learner"] for _, _, verdict in seeds}
    names = ordered[:NUM_LEARNERS]
    names += [name for name in ordered if name in named and name not in names]
    alike = {name for _, _, verdict in seeds for name in (verdict["nearest"], *verdict["indistinguishable"])}
    colours = [_colour(name, named, alike) for name in names]
    places = np.arange(len(names))
    bars = axes.barh(places, [means[name] for name in names], color=colours)
    for bar, colour in zip(bars, colours, strict=True):
        if HATCHES[colour]:
            bar.set(hatch=HATCHES[colour], edgecolor="white", linewidth=0)
    for index in range(len(seeds)):
        value, low, high = np.array([distances[name][index] for name in names]).T
        shift = 0.6 * ((index + 0.5) / len(seeds) - 0.5)  # side by side within the bar
        look = {**_POINT, "marker": "none" if len(seeds) == 1 else "."}
        lengths = np.maximum([value - low, high - value], 0)
        axes.errorbar(value, places + shift, xerr=lengths, elinewidth=0.8, capsize=2 / len(seeds), **look)
    axes.set_yticks(places, [textwrap.shorten(name, 40, placeholder="...") for name in names])
    axes.invert_yaxis()
    axes.set_xlim(left=0)
    axes.set_xlabel("mean L2 distance of sensitivities", fontsize=SMALL)
    axes.set_title(textwrap.fill(verdicts_text(seeds), LETTERS), fontsize=SMALL, loc="left")


def _of_learner(seeds: list[Seed], name: str) -> Array:
    """Return distance, low and high of a learner, (S, 3), with gaps where they are no numbers."""
    of_seeds = [[row for row in rows if row["learner"] == name] for _, rows, _ in seeds]
    found = [[rows[0][key] for key in KEYS] if rows else [np.nan] * 3 for rows in of_seeds]
    return drawable(np.array(found, float))


def _colour(name: str, named: set[str], alike: set[str]) -> str:
    is_named, is_alike, is_other = COLOURS.values()
    return is_named if name in named else is_alike if name in alike else is_other


def verdicts_text(seeds: list[Seed]) -> str:
    """Put the verdicts of all seeds into words.

    Example:
        >>> learners = ["gd(1)", "ridge", "gd(1)"]
        >>> verdicts_text([(seed, [], {"layer": 1, "learner": name}) for seed, name in enumerate(learners)])
        'Layer 1: gd(1) in 2 of 3 seeds, ridge in 1.'
    """
    verdicts = [verdict for _, _, verdict in seeds]
    if len(verdicts) == 1:
        return verdict_text(verdicts[0])
    (first, number), *rest = Counter(verdict["learner"] for verdict in verdicts).most_common()
    texts = [f"{first} in {number} of {len(verdicts)} seeds", *[f"{name} in {count}" for name, count in rest]]
    return f"{place_text(verdicts[0])}: {', '.join(texts)}."
