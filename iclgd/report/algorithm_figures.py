"""The figure of which_algorithm: how far every layer is from the learners nearest to it."""

import textwrap
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from iclgd.report.results import drawable
from iclgd.report.verdicts import verdict_text

NUM_LEARNERS, NUM_COLUMNS = 12, 3
MOST_PANELS = 24  # more would make an image that no viewer shows
COLOURS = {
    "named: the simplest of the nearest": "#1f77b4",
    "cannot be told from the nearest": "#aec7e8",
    "others": "#c7c7c7",
}


def algorithms(record: dict[str, Any]) -> Figure | None:
    """Show the distances to the nearest learners, a panel for each layer of each seed, with 95 % intervals."""
    if not record or not record["seeds"]:
        return None
    seeds = record["seeds"]
    panels = [(seed, verdict) for seed in seeds for verdict in seed["verdicts"]]
    shown = panels[:MOST_PANELS]
    # A row for each seed where its layers have place in one.
    num_layers = len(seeds[0]["verdicts"])
    num_columns = min(NUM_COLUMNS, len(shown) if len(seeds) == 1 or num_layers == 1 else num_layers)
    num_rows = -(-len(shown) // num_columns)
    figure = Figure(figsize=(5.2 * num_columns, 4.4 * num_rows + 0.3), layout="constrained")
    grid = figure.subplots(num_rows, num_columns, squeeze=False)
    for axes in grid.ravel()[len(shown) :]:
        axes.remove()
    for axes, (seed, verdict) in zip(grid.flat, shown, strict=False):
        name = f"Seed {seed['seed']}. " if len(seeds) > 1 else ""
        _layer(axes, [row for row in seed["rows"] if row["layer"] == verdict["layer"]], verdict, name)
    handles = [Patch(color=colour, label=text) for text, colour in COLOURS.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False, fontsize=9)
    if len(panels) > len(shown):
        figure.suptitle(f"the first {len(shown)} of {len(panels)} layers; all are in analysis/which_algorithm.json")
    return figure


def _layer(axes: Axes, rows: list[dict[str, Any]], verdict: dict[str, Any], prefix: str) -> None:
    """Draw one layer's distances, the nearest learner on top."""
    nearest = sorted(rows, key=lambda row: np.nan_to_num(row["sensitivity_l2"], nan=np.inf))[:NUM_LEARNERS]
    nearest += [row for row in rows if row["learner"] == verdict["learner"] and row not in nearest]
    names = [row["learner"] for row in nearest]
    keys = ("sensitivity_l2", "sensitivity_l2_low", "sensitivity_l2_high")
    distance, low, high = drawable(np.array([[row[key] for row in nearest] for key in keys], float))
    like_nearest = {verdict["nearest"], *verdict["indistinguishable"]}
    named, alike, other = COLOURS.values()
    axes.barh(
        names,
        distance,
        xerr=np.maximum([distance - low, high - distance], 0),
        color=[named if name == verdict["learner"] else alike if name in like_nearest else other for name in names],
        error_kw={"elinewidth": 1, "capsize": 2},
    )
    axes.invert_yaxis()
    axes.tick_params(labelsize=8)
    axes.set_xlabel("mean distance between sensitivities, L2")
    axes.set_title(textwrap.fill(prefix + verdict_text(verdict), 50), fontsize=9, loc="left")
