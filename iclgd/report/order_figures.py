"""The figure of a text run with several orders of the demonstrations: how much their order matters."""

import math

import numpy as np
from matplotlib.figure import Figure

from iclgd.report.comparisons import SETTINGS, Estimate, estimate
from iclgd.report.results import Results
from iclgd.report.similarity_figures import SETTING_STYLES
from iclgd.report.style import FAINT, PAGE, legend_below

GROUPS = {
    "order_sensitivity": "orders of the same\ndemonstrations",
    "selection_sensitivity": "draws of\ndemonstrations",
}


def order(results: Results) -> Figure | None:
    """Plot how far answers spread over orders of the demonstrations, in context and finetuned; [Shen].

    Beside it, of several draws, how far they spread over these: how much it matters which demonstrations are shown.
    """
    summary = results.summary
    names = [name for name in SETTINGS if f"order_sensitivity/{name.rpartition('/')[2]}" in summary]
    if not names:
        return None
    figure = Figure(figsize=(PAGE, 2.6), layout="constrained")
    spread, flips = figure.subplots(1, 2, width_ratios=[3, 2])
    groups = [kind for kind in GROUPS if f"{kind}/in_context" in summary]
    for axes, kinds, label in (
        (spread, groups, "sum of standard deviations"),
        (flips, ["order_flips"], "share of pairs of orders"),
    ):
        places, width = np.arange(len(kinds)), 0.35
        for index, name in enumerate(names):
            setting = name.rpartition("/")[2]
            found = [estimate(summary, f"{kind}/{setting}") or Estimate(math.nan) for kind in kinds]
            values, low, high = np.array(found, float).T
            axes.bar(
                places + (index - 0.5) * width,
                values,
                width * 0.92,
                yerr=np.maximum([values - low, high - values], 0),
                label=SETTINGS[name],
                error_kw={"elinewidth": 0.8, "capsize": 2},
                **SETTING_STYLES[setting],
            )
        axes.set(ylabel=label, xlim=(-0.6, len(kinds) - 0.4))
        axes.set_ylim(bottom=0)
        axes.set_axisbelow(True)
        axes.grid(axis="y", color=FAINT, linewidth=0.5)
        axes.set_xticks(places, [GROUPS.get(kind, GROUPS["order_sensitivity"]) for kind in kinds])
        axes.tick_params(axis="x", length=0)
    spread.set_title("Next token: spread over", loc="left")
    flips.set_title("Another answer after another order", loc="left")
    legend_below(figure, *spread.get_legend_handles_labels(), ncols=2)
    return figure
