"""What training made of the weights, beside the weights written down by hand."""

from collections import Counter
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from iclgd.report.results import Array, Results
from iclgd.report.style import PAGE, SMALL
from iclgd.report.titles import value_of
from iclgd.report.weight_products import head_products

NAMES = {"gd": "GD", "gd_plus_plus": "GD++", "gd_momentum": "GD with momentum"}
QUERY_KEY, VALUE_LINEAR = r"$W_Q W_K^\top$", r"$W_V W_P$"
SIGNED = 0.1  # of a panel's largest colour: what is further below 0 has a sign
MOST_ROWS = 24  # more would make an image that no viewer shows


def weight_products(results: Results) -> Figure | None:
    """Show both weight products of each layer and head beside those of a learner by hand, GD where there is no other.

    The scale of linear attention moves freely between its two products: both are shown at the scale at which the mean
    of the first one's diagonal over the inputs is 1, as it is for gradient descent, and titles say by which number they
    were divided and multiplied. Where scale has a meaning of its own, or that diagonal has no common value (yet), they
    are shown as they are, each with its own colours. Tokens of another width than gradient descent's cannot be shown
    beside it.
    """
    if (found := head_products(results)) is None:
        return None
    name, heads = found
    num_heads = Counter(each.layer for each in heads)
    shown = heads[:MOST_ROWS]
    figure = Figure(figsize=(PAGE, 2.3 * len(shown) + 0.4), layout="constrained")
    grid = figure.subplots(len(shown), 4, squeeze=False)
    for row, each in zip(grid, shown, strict=True):
        scale = each.scale
        pairs = [(each.query_key, each.its_query_key), (each.value_linear, each.its_value_linear)]
        notes = ["trained, unscaled"] * 2
        if scale is not None:
            notes = [f"trained / {scale:.2g}", rf"trained $\times$ {scale:.2g}"]
        for index, ((product, its_product), note) in enumerate(zip(pairs, notes, strict=True)):
            cells, text = row[2 * index : 2 * index + 2], (QUERY_KEY, VALUE_LINEAR)[index]
            limit = _limit(its_product)
            own = _heat_map(cells[0], product, limit if scale is not None else _limit(product), f"{text}, {note}")
            image = _heat_map(cells[1], its_product, limit, f"{text}, {NAMES[name]}")
            if scale is not None:
                _colorbar(figure, image, list(cells), [product, its_product])
            else:
                for its_image, cell, values in zip((own, image), cells, (product, its_product), strict=True):
                    _colorbar(figure, its_image, [cell], [values])
        row[0].set_ylabel(_place(each.layer, len(num_heads), each.head, num_heads[each.layer]))
        _name_channels(row[0], results.config, len(each.query_key))
    notes = [f"the first {len(shown)} of {len(heads)} layers and heads"] * (len(heads) > len(shown))
    num_seeds = _num_seeds(results)
    notes += [f"weights of the first of {num_seeds} seeds"] * (num_seeds > 1)
    figure.suptitle("; ".join(notes))
    figure.supxlabel(
        "signs mark what is below 0; pointed ends of a colour bar: numbers beyond it are cut", fontsize=SMALL
    )
    return figure


def _limit(product: Array) -> float:
    """Return the largest number that a product's colours show."""
    return float(1.2 * np.nan_to_num(np.abs(product), nan=0, posinf=0).max()) or 1.0


def _place(layer: int, num_layers: int, head: int, num_heads: int) -> str:
    of_layer = [f"layer {layer + 1}"] * (num_layers > 1 or num_heads == 1)
    return ", ".join(of_layer + [f"head {head + 1}"] * (num_heads > 1))


def _num_seeds(results: Results) -> int:
    return len({name.partition("/")[0] for name in results.weights if name.startswith("seed_")})


def _heat_map(axes: Axes, values: Array, limit: float, title: str) -> AxesImage:
    """Show numbers as colours, and, for print without colours, those that are well below 0 with a sign."""
    axes.set_title(title, fontsize=SMALL)
    axes.set(xticks=[], yticks=[])
    rows, columns = np.nonzero(values < -SIGNED * limit)
    axes.plot(columns, rows, marker="_", markersize=3, linestyle="none", color="white", markeredgewidth=0.8)
    return axes.imshow(values, cmap="RdBu_r", vmin=-limit, vmax=limit)


def _colorbar(figure: Figure, image: AxesImage, cells: list[Axes], shown: list[Array]) -> None:
    """Add a bar below panels that says with pointed ends where numbers lie beyond its colours."""
    low, high = image.get_clim()
    is_cut = (any((values < low).any() for values in shown), any((values > high).any() for values in shown))
    extend = {(False, False): "neither", (True, False): "min", (False, True): "max", (True, True): "both"}[is_cut]
    bar = figure.colorbar(image, ax=cells, shrink=0.9 / len(cells) ** 0.5, location="bottom", pad=0.02, extend=extend)
    bar.ax.locator_params(nbins=3)


def _name_channels(axes: Axes, config: dict[str, Any], width: int) -> None:
    """Name the first and the last input's row, and the first target's, where tokens are examples as they are."""
    num_inputs, num_targets = (value_of(config, f"task.{side}_dim") for side in ("input", "output"))
    if not (isinstance(num_inputs, int) and isinstance(num_targets, int)) or num_inputs + num_targets != width:
        return
    places = {0: "$x_1$", num_inputs - 1: f"$x_{{{num_inputs}}}$", num_inputs: "$y$"}
    axes.set_yticks(list(places), list(places.values()))
    axes.tick_params(length=0)
