"""What training made of the weights as numbers: both products of each layer and head, beside those written by hand."""

from typing import Any, NamedTuple

import numpy as np

from iclgd.report.results import Array, Results

TRAINED, BY_HAND = "transformer", ("gd_momentum", "gd_plus_plus", "gd")  # of the latter the first that a run has


class HeadProducts(NamedTuple):
    """The products of one head.

    Attributes:
        layer: counted from 0.
        head: counted from 0.
        query_key: ``W_Q W_K^T``, (C, C), divided by ``scale``.
        value_linear: ``W_V W_P``, (C, C), times ``scale``.
        its_query_key: of the reference, (C, C).
        its_value_linear: likewise.
        scale: the mean of the first product's diagonal over the inputs, which linear attention moves freely between
            its products; ``None`` where scale has a meaning, or there is no such mean: then they are as they are.
    """

    layer: int
    head: int
    query_key: Array
    value_linear: Array
    its_query_key: Array
    its_value_linear: Array
    scale: float | None


def head_products(results: Results) -> tuple[str, list[HeadProducts]] | None:
    """Return the reference's name, and the products of the first seed's layers and heads.

    ``None`` where a run has no weights, or tokens have another width than the reference's.
    """
    weights = results.weights_of_first_seed()
    trained = products(weights, TRAINED)
    name, reference = next(((name, found) for name in BY_HAND if (found := products(weights, name))), ("", []))
    if not trained or not reference or trained[0][0][0].shape != reference[0][0][0].shape:
        return None
    num_inputs = int(np.count_nonzero(reference[0][0][0].diagonal()))  # GD compares the inputs, and nothing else
    of_heads = []
    for layer, heads in enumerate(trained):
        ((its_query_key, its_value_linear),) = reference[min(layer, len(reference) - 1)]
        for head, (query_key, value_linear) in enumerate(heads):
            is_free = has_free_scale(results.config.get("model", {}), layer)
            scale = common_diagonal(query_key, num_inputs) if is_free else None
            if scale is not None:
                query_key, value_linear = query_key / scale, value_linear * scale
            of_heads.append(HeadProducts(layer, head, query_key, value_linear, its_query_key, its_value_linear, scale))
    return name, of_heads


def products(weights: dict[str, Array], model: str) -> list[list[tuple[Array, Array]]]:
    """Return ``W_Q W_K^T`` and ``W_V W_P`` of every head of every layer with weights of its own."""
    found: list[list[tuple[Array, Array]]] = []
    while f"{model}.layers.{len(found)}.attention.query" in weights:
        prefix = f"{model}.layers.{len(found)}.attention"
        query, key, value, linear = (weights[f"{prefix}.{name}"] for name in ("query", "key", "value", "linear"))
        found.append(list(zip(query @ key.swapaxes(1, 2), value @ linear, strict=True)))
    return found


def has_free_scale(model: dict[str, Any], layer: int) -> bool:
    """Say whether a layer's scale moves freely between its products, and its inputs are those of gradient descent."""
    kind = (model.get("first_attention") if layer == 0 else None) or model.get("attention", "linear")
    return kind == "linear" and not model.get("layer_norm", False)


def common_diagonal(query_key: Array, num_inputs: int) -> float | None:
    """Return the mean of the diagonal over the inputs, ``None`` unless it makes up most of the product.

    Example:
        >>> common_diagonal(np.diag([2.0, 2.0, 0.0]), 2), common_diagonal(np.ones((3, 3)), 2)
        (2.0, None)
    """
    mean = float(query_key.diagonal()[:num_inputs].mean())
    is_most = num_inputs * mean**2 > 0.5 * float(np.square(query_key).sum())
    return mean if np.isfinite(mean) and is_most else None
