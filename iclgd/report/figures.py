"""Figures of one run, from its directory alone."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from safetensors.numpy import load_file

from iclgd.tracking.run_directory import RunDirectory, write_atomically

TRANSFORMER, GD = "#1f77b4", "#d62728"


def draw_regression_figures(directory: RunDirectory, loss_of_gd: float) -> list[Path]:
    """Draw a regression run's figures into its ``figures/``; return their paths.

    Args:
        directory: a run with ``metrics.jsonl`` and ``weights.safetensors``.
        loss_of_gd: the loss of gradient descent on the evaluation tasks.
    """
    metrics = directory.read_metrics()
    with np.errstate(invalid="ignore", over="ignore"):  # a diverged run has figures too, with gaps
        figures = {
            "learning_curve": learning_curve(metrics, loss_of_gd),
            "alignment": alignment(metrics),
            "weights": weight_products(load_file(directory.path / "weights.safetensors")),
        }
    directory.figures.mkdir(exist_ok=True)
    paths = []
    for name, figure in figures.items():
        path = directory.figures / f"{name}.png"
        with write_atomically(path) as file:
            figure.savefig(file, format="png", dpi=130)
        paths.append(path)
    return paths


def learning_curve(metrics: list[dict[str, float]], loss_of_gd: float) -> Figure:
    """Plot the transformer's loss over training beside the line of gradient descent; [vO] figure 2."""
    figure = Figure(figsize=(5, 3.4), layout="constrained")
    axes = figure.subplots()
    axes.plot(*_series(metrics, "loss/transformer"), color=TRANSFORMER, label="trained transformer")
    axes.axhline(loss_of_gd, color=GD, linestyle="--", label=f"gradient descent ({loss_of_gd:.4f})")
    axes.set(xlabel="training step", ylabel="loss (0.5 x mean squared error)")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False)
    return figure


def alignment(metrics: list[dict[str, float]]) -> Figure:
    """Plot how alike transformer and gradient descent are over training; [vO] figure 2."""
    figure = Figure(figsize=(5, 3.4), layout="constrained")
    distance = figure.subplots()
    cosine = distance.twinx()
    lines = [
        *distance.plot(*_series(metrics, "alignment/prediction_l2"), color="#2ca02c", label="predictions, L2"),
        *distance.plot(*_series(metrics, "alignment/sensitivity_l2"), color="#ff7f0e", label="sensitivities, L2"),
        *cosine.plot(
            *_series(metrics, "alignment/sensitivity_cosine"),
            color=TRANSFORMER,
            label="sensitivities, cosine",
        ),
    ]
    distance.set(xlabel="training step", ylabel="mean L2 distance")
    distance.set_ylim(bottom=0)
    cosine.set(ylabel="mean cosine", ylim=(min(0.0, cosine.get_ylim()[0]), 1.02))
    cosine.legend(handles=lines, loc="center right", frameon=False)
    return figure


def weight_products(weights: dict[str, NDArray[np.float32]]) -> Figure:
    """Show both weight products of each layer and head beside those of gradient descent.

    A trained layer's scale moves freely between its two products; both are shown at the scale at which the mean of the
    first one's diagonal over the inputs is 1, as it is for gradient descent.
    """
    trained = _products(weights, "transformer")
    reference = _products(weights, "construction")
    figure = Figure(figsize=(7.2, 2.4 * len(trained) + 0.2), layout="constrained")
    grid = figure.subplots(len(trained), 4, squeeze=False)
    num_inputs = int(np.count_nonzero(reference[0][0].diagonal()))  # GD compares the inputs, and nothing else
    for row, (layer, (query_key, value_linear)) in zip(grid, enumerate(trained), strict=True):
        scale = query_key.diagonal()[:num_inputs].mean()
        gd_query_key, gd_value_linear = reference[min(layer, len(reference) - 1)]
        pairs = [
            (query_key / scale, gd_query_key, r"$W_Q W_K^\top$"),
            (value_linear * scale, gd_value_linear, r"$W_V W_P$"),
        ]
        for index, (product, gd_product, name) in enumerate(pairs):
            limit = 1.2 * np.abs(gd_product).max() or 1.0
            _heat_map(row[2 * index], product, limit, f"{name}, trained")
            image = _heat_map(row[2 * index + 1], gd_product, limit, f"{name}, GD")
            figure.colorbar(image, ax=row[2 * index : 2 * index + 2], shrink=0.5, location="bottom", pad=0.02)
        row[0].set_ylabel(f"product {layer + 1} of {len(trained)}" if len(trained) > 1 else "")
    return figure


def _heat_map(axes: Axes, values: NDArray[np.float32], limit: float, title: str):  # type: ignore[no-untyped-def]
    axes.set_title(title, fontsize=9)
    axes.set(xticks=[], yticks=[])
    return axes.imshow(values, cmap="RdBu_r", vmin=-limit, vmax=limit)


def _products(weights: dict[str, NDArray[np.float32]], model: str) -> list[tuple[NDArray[np.float32], ...]]:
    """Return ``W_Q W_K^T`` and ``W_V W_P`` of every layer and head."""
    products: list[tuple[NDArray[np.float32], ...]] = []
    num_layers = sum(name.startswith(f"{model}.") and name.endswith(".query") for name in weights)
    for layer in range(num_layers):
        part = {name: weights[f"{model}.layers.{layer}.{name}"] for name in ("query", "key", "value", "linear")}
        for head in range(len(part["query"])):
            query, key, value, linear = (part[name][head] for name in ("query", "key", "value", "linear"))
            products.append((query @ key.T, value @ linear))
    return products


def _series(metrics: list[dict[str, float]], name: str) -> tuple[list[float], list[float]]:
    points = [(record["step"], record[name]) for record in metrics if name in record]
    return [step for step, _ in points], [value for _, value in points]
