"""The figure of a text run's attention: how much of it each demonstration gets, and whose label is the query's."""

from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from iclgd.measures import TO_DEMONSTRATIONS
from iclgd.report.comparisons import by_layer, controls_of
from iclgd.report.results import Array, Results
from iclgd.report.similarity_figures import layer_panel, panels, shared_handles
from iclgd.report.style import BLUE, PAGE, draw_band, legend_below

DEMONSTRATION = "demonstration, in order"


class ByDemonstration(NamedTuple):
    """What single demonstrations get of the attention of the query's last token, means over queries.

    Those are left out that not all draws have.

    Attributes:
        attention: of each draw, in each layer, to each demonstration, (D, L, K).
        even: if all visible tokens got the same, likewise.
    """

    attention: Array
    even: Array


def by_demonstration(record: dict[str, Any]) -> ByDemonstration | None:
    """Return what a run has recorded of each demonstration, with gaps where it is not finite.

    Example:
        >>> draw = {"attention": {"demonstrations": [[0.5, 0.25]]}, "even": {"demonstrations": [[0.25, 0.25]]}}
        >>> by_demonstration({"draws": [draw]}).attention
        array([[[0.5 , 0.25]]])
        >>> by_demonstration({}) is None
        True
    """
    draws = record.get("draws", [])
    if not draws:
        return None

    def read(name: str) -> Array:
        of_draws = [np.array(draw[name]["demonstrations"], float) for draw in draws]
        return np.stack([each[:, : min(one.shape[1] for one in of_draws)] for each in of_draws])

    return ByDemonstration(read("attention"), read("even"))


def attention_to_demonstrations(results: Results) -> Figure | None:
    """Plot to what the query's last token attends after the demonstrations: over layers, and demonstration by one.

    Above: shares over layers beside what even attention to all visible tokens would give, and of the attention to
    demonstrations what goes to those with the query's label. Below: the share of each demonstration.
    """
    summary = results.summary
    shown = {
        panel: names
        for panel, names in panels(TO_DEMONSTRATIONS).items()
        if any(by_layer(summary, name) for name in names)
    }
    recorded = by_demonstration(results.analyses.get(TO_DEMONSTRATIONS, {}))
    if not shown and recorded is None:
        return None
    number = len(shown) + 2 * (recorded is not None)
    num_rows = -(-number // 2)
    figure = Figure(figsize=(PAGE, 2.3 * num_rows + 0.7), layout="constrained")
    cells = figure.subplots(num_rows, 2, squeeze=False).ravel()
    for axes in cells[number:]:
        axes.remove()
    for axes, (panel, names) in zip(cells, shown.items(), strict=False):
        layer_panel(axes, panel, names, summary)
        axes.set_ylim(bottom=0)  # shares
    handles = shared_handles(summary, figure, shown) if shown else []
    notes = ["controls: of each panel's first measure"] * bool(controls_of(summary))
    if recorded is not None:
        _heat_map(figure, cells[len(shown)], recorded.attention.mean(0))
        _over_demonstrations(cells[len(shown) + 1], recorded)
        if (num_draws := len(recorded.attention)) > 1:
            notes.append(f"each demonstration: mean of {num_draws} draws; band: ± one standard deviation")
    legend_below(figure, handles, [str(each.get_label()) for each in handles], *notes, ncols=3)
    return figure


def _heat_map(figure: Figure, axes: Axes, shares: Array) -> None:
    """Show the share of each demonstration in each layer, (L, K): dark is much, in grey too."""
    num_layers, number = shares.shape
    axes.set_title("Each demonstration in each layer", loc="left")
    extent = (0.5, number + 0.5, -0.5, num_layers - 0.5)
    image = axes.imshow(shares, cmap="Blues", vmin=0, aspect="auto", origin="lower", extent=extent)
    _count_demonstrations(axes, ylabel="layer")
    axes.yaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    bar = figure.colorbar(image, ax=axes, pad=0.02)
    bar.set_label("mean share")
    bar.locator = MaxNLocator(nbins=4)


def _over_demonstrations(axes: Axes, recorded: ByDemonstration) -> None:
    """Show the share of each demonstration, a mean over layers, beside what even attention would give."""
    axes.set_title("Each demonstration, mean over layers", loc="left")
    attention, even = (shares.mean(1) for shares in recorded)
    places = 1 + np.arange(attention.shape[1])
    draw_band(axes, places, attention, color=BLUE, marker="o", markersize=3, label="attention")
    axes.plot(places, even.mean(0), color=BLUE, linestyle=":", linewidth=1.6, label="even attention")
    axes.set_ylim(bottom=0)
    _count_demonstrations(axes, ylabel="mean share")
    axes.legend(loc="best", handlelength=1.6)


def _count_demonstrations(axes: Axes, ylabel: str) -> None:
    axes.set(xlabel=DEMONSTRATION, ylabel=ylabel)
    axes.margins(x=0.02)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
