"""What training made of the weights, beside the weights written down by hand."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from iclgd.report.results import Array, Results
from iclgd.report.style import PAGE, SMALL
from iclgd.report.titles import value_of

NAMES = {"gd": "GD", "gd_plus_plus": "GD++"}
QUERY_KEY, VALUE_LINEAR = r"$W_Q W_K^\top$", r"$W_V W_P$"
SIGNED = 0.1  # of a panel's largest colour: what is further below 0 has a sign
MOST_ROWS = 24  # more would make an image that no viewer shows


def weight_products(results: Results) -> Figure | None:
    """Show both weight products of each layer and head beside those of GD++, or of gradient descent if there is none.

    The scale of linear attention moves freely between its two products: both are shown at the scale at which the mean
    of the first one's diagonal over the inputs is 1, as it is for gradient descent, and titles say by which number they
    were divided and multiplied. Where scale has a meaning of its own, or that diagonal has no common value (yet), they
    are shown as they are, each with its own colours. Tokens of another width than gradient descent's cannot be shown
    beside it.
    """
    weights = results.weights_of_first_seed()
    trained = _products(weights, "transformer")
    name = "gd_plus_plus" if _products(weights, "gd_plus_plus") else "gd"
    reference = _products(weights, name)
    if not trained or not reference or trained[0][0][0].shape != reference[0][0][0].shape:
        return None
    rows = [(layer, head) for layer, heads in enumerate(trained) for head in range(len(heads))]
    shown = rows[:MOST_ROWS]
    figure = Figure(figsize=(PAGE, 2.3 * len(shown) + 0.4), layout="constrained")
    grid = figure.subplots(len(shown), 4, squeeze=False)
    num_inputs = int(np.count_nonzero(reference[0][0][0].diagonal()))  # GD compares the inputs, and nothing else
    for row, (layer, head) in zip(grid, shown, strict=True):
        query_key, value_linear = trained[layer][head]
        ((its_query_key, its_value_linear),) = reference[min(layer, len(reference) - 1)]
        is_free = _has_free_scale(results.config.get("model", {}), layer)
        scale = _common_diagonal(query_key, num_inputs) if is_free else None
        if scale is not None:
            pairs = [(query_key / scale, its_query_key), (value_linear * scale, its_value_linear)]
            notes = [f"trained / {scale:.2g}", rf"trained $\times$ {scale:.2g}"]
        else:
            pairs = [(query_key, its_query_key), (value_linear, its_value_linear)]
            notes = ["trained, unscaled"] * 2
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
        row[0].set_ylabel(_place(layer, len(trained), head, len(trained[layer])))
        _name_channels(row[0], results.config, len(query_key))
    notes = [f"the first {len(shown)} of {len(rows)} layers and heads"] * (len(rows) > len(shown))
    num_seeds = _num_seeds(results)
    notes += [f"weights of the first of {num_seeds} seeds"] * (num_seeds > 1)
    figure.suptitle("; ".join(notes))
    figure.supxlabel(
        "signs mark what is below 0; pointed ends of a colour bar: numbers beyond it are cut", fontsize=SMALL
    )
    return figure


def _has_free_scale(model: dict[str, Any], layer: int) -> bool:
    """Say whether a layer's scale moves freely between its products, and its inputs are those of gradient descent."""
    kind = (model.get("first_attention") if layer == 0 else None) or model.get("attention", "linear")
    return kind == "linear" and not model.get("layer_norm", False)


def _common_diagonal(query_key: Array, num_inputs: int) -> float | None:
    """Return the mean of the diagonal over the inputs, ``None`` unless it makes up most of the product."""
    mean = float(query_key.diagonal()[:num_inputs].mean())
    is_most = num_inputs * mean**2 > 0.5 * float(np.square(query_key).sum())
    return mean if np.isfinite(mean) and is_most else None


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


def _products(weights: dict[str, Array], model: str) -> list[list[tuple[Array, Array]]]:
    """Return ``W_Q W_K^T`` and ``W_V W_P`` of every head of every layer with weights of its own."""
    products: list[list[tuple[Array, Array]]] = []
    while f"{model}.layers.{len(products)}.attention.query" in weights:
        prefix = f"{model}.layers.{len(products)}.attention"
        query, key, value, linear = (weights[f"{prefix}.{name}"] for name in ("query", "key", "value", "linear"))
        products.append(list(zip(query @ key.swapaxes(1, 2), value @ linear, strict=True)))
    return products
