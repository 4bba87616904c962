"""Figures of training and weights, and which figures a run has."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save

from iclgd.experiments.regression import EXPERIMENT
from iclgd.models.constructions import gd_plus_plus_transformer, gradient_descent_transformer
from iclgd.models.transformer import Transformer, TransformerConfig
from iclgd.report.figures import draw_figures
from iclgd.report.results import Array, Results
from iclgd.report.training_figures import alignment, copying, layers, learning_curve
from iclgd.report.weight_figures import weight_products
from iclgd.tracking.run_directory import RunDirectory
from tests.report.records import ALGORITHMS, FUNCTIONS, ITERATED, SHIFTS

METRICS = [
    {
        "step": step,
        "loss/transformer": 1 / (step + 1),
        "loss/gd": 0.4,
        "alignment/prediction_l2": 0.1 * step,
        "alignment/sensitivity_l2": 0.2 * step,
        "alignment/sensitivity_cosine": -0.1 * step,
    }
    for step in range(3)
]


def saved(**models: Transformer) -> dict[str, Array]:
    return {f"{name}.{key}": w.numpy() for name, model in models.items() for key, w in model.state_dict().items()}


def with_seeds(metrics: list[dict[str, float]], *factors: float) -> list[dict[str, float]]:
    """Return metrics of several seeds, which are the given multiples of their mean."""
    seeds = [
        {f"{name}/seed_{seed}": factor * value for name, value in record.items() for seed, factor in enumerate(factors)}
        for record in metrics
    ]
    return [{**record, **each} for record, each in zip(metrics, seeds, strict=True)]


def test_learning_curve_shows_the_losses() -> None:
    figure = learning_curve(Results(METRICS))
    assert figure is not None
    (axes,) = figure.axes
    curve, line = axes.get_lines()
    assert curve.get_xydata() == pytest.approx(np.array([[0, 1], [1, 1 / 2], [2, 1 / 3]]))
    assert list(line.get_ydata()) == [0.4, 0.4, 0.4]
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["trained transformer (0.3333)", "gradient descent (0.4)"]


def test_a_reference_that_trains_too_has_a_curve() -> None:
    metrics = [{"step": step, "loss/transformer": 1.0, "loss/mlp_gd": 1.0 - 0.4 * step} for step in range(2)]
    for record in metrics:
        record["alignment/sensitivity_cosine"] = 0.5
    figure = learning_curve(Results(metrics))
    assert figure is not None
    assert list(figure.axes[0].get_lines()[1].get_ydata()) == [1.0, 0.6]


def test_several_seeds_have_a_mean_and_a_band_of_one_standard_deviation() -> None:
    figure = learning_curve(Results(with_seeds(METRICS, 0.5, 1.5)))
    assert figure is not None
    (axes,) = figure.axes
    assert list(axes.get_lines()[0].get_ydata()) == pytest.approx([1, 1 / 2, 1 / 3])
    band = axes.collections[0].get_paths()[0].vertices
    assert np.asarray(band)[:, 1].max() == pytest.approx(1 + np.sqrt(0.5))


def test_losses_that_span_decades_have_a_logarithmic_axis() -> None:
    for lowest, scale in ((0.5, "linear"), (0.001, "log")):
        figure = learning_curve(Results([{"step": 0, "loss/transformer": 1}, {"step": 1, "loss/transformer": lowest}]))
        assert figure is not None
        assert figure.axes[0].get_yscale() == scale


def test_the_mixture_of_weights_is_shown_where_it_is_in_range() -> None:
    metrics = [{**record, "loss/interpolated": loss} for record, loss in zip(METRICS, (1e9, 50, 0.5), strict=True)]
    figure = learning_curve(Results(metrics))
    assert figure is not None
    assert figure.axes[0].get_lines()[-1].get_ydata() == pytest.approx([np.nan, np.nan, 0.5], nan_ok=True)
    assert figure.axes[0].get_ylim() == pytest.approx((0, 1.1))


def test_what_lies_off_the_axis_is_said() -> None:
    figure = learning_curve(Results([{**record, "loss/interpolated": 1e9} for record in METRICS]))
    assert figure is not None
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels[-1] == "mean of both weights (1e+09, off the axis)"


def test_a_single_point_is_seen() -> None:
    metrics = [{**record, "loss/interpolated": loss} for record, loss in zip(METRICS, (1e9, 50, 0.5), strict=True)]
    figure = learning_curve(Results(metrics))
    assert figure is not None
    curve, _, point = figure.axes[0].get_lines()
    assert (curve.get_marker(), point.get_marker(), point.get_markevery()) == ("None", ".", [2])


@pytest.mark.parametrize(("factor", "extend"), [(1.0, "neither"), (2.0, "max")])
def test_rows_of_weights_are_named_and_cut_colours_marked(factor: float, extend: str) -> None:
    trained = gradient_descent_transformer(3, learning_rate=0.5)
    with torch.no_grad():
        trained.layers[0].attention.query[0, 0] *= factor  # type: ignore[union-attr, operator, index]
    weights = saved(transformer=trained, gd=gradient_descent_transformer(3, 1, 0.5))
    config = {"task": {"input_dim": 3, "output_dim": 1}, "model": {"attention": "linear"}}
    figure = weight_products(Results(weights=weights, config=config))
    assert figure is not None
    first = figure.axes[0]
    assert first.get_ylabel() == "layer 1"
    assert [text.get_text() for text in first.get_yticklabels()] == ["$x_1$", "$x_{3}$", "$y$"]
    bars = [image.colorbar for axes in figure.axes[:2] for image in axes.get_images() if image.colorbar]
    assert [bar.extend for bar in bars] == [extend]


def test_alignment_shows_three_measures_and_negative_cosines() -> None:
    figure = alignment(Results(METRICS))
    assert figure is not None
    distance, cosine = figure.axes
    assert [line.get_ydata()[2] for line in (*distance.get_lines(), *cosine.get_lines())] == pytest.approx(
        [0.2, 0.4, -0.2]
    )
    assert cosine.get_ylim()[0] <= -0.2


@pytest.mark.parametrize("factors", [(), (0.9, 1.1)])
def test_alignment_has_a_panel_for_each_reference(factors: tuple[float, ...]) -> None:
    metrics = [{**record, "alignment/sensitivity_cosine_gd_plus_plus": 0.7} for record in METRICS]
    figure = alignment(Results(with_seeds(metrics, *factors)))
    assert figure is not None
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert titles == ["transformer and gradient descent", "transformer and GD++"]
    (line,) = figure.axes[-1].get_lines()
    assert list(line.get_ydata()) == pytest.approx([0.7, 0.7, 0.7])


def test_layers_are_shown_beside_steps() -> None:
    summary = {
        f"loss/{name}/layer_{layer:02}": float(loss + layer)
        for name, loss in (("transformer", 1), ("gd", 2), ("gd_plus_plus", 3))
        for layer in range(3)
    }
    metrics = [{**record, "alignment/sensitivity_cosine_gd_plus_plus": 0.7} for record in METRICS]
    figure = layers(Results(metrics, summary))
    assert figure is not None
    lines = figure.axes[0].get_lines()
    assert [line.get_label() for line in lines] == ["trained transformer", "gradient descent", "GD++"]
    assert [list(line.get_ydata()) for line in lines] == [[1, 2, 3], [2, 3, 4], [3, 4, 5]]


def test_copying_shows_norms_and_loss() -> None:
    norms = {"copying/own": 3.0, "copying/next": 0.5, "copying/other": 0.01}
    figure = copying(Results([{**record, **norms} for record in METRICS]))
    assert figure is not None
    left, right = figure.axes
    assert {str(line.get_label()): line.get_ydata()[0] for line in left.get_lines()} == {
        "... itself": 3.0,
        "... other tokens": 0.01,
        "... the next token": 0.5,
    }
    assert left.get_yscale() == "log"
    assert list(right.get_lines()[0].get_ydata()) == pytest.approx([1, 1 / 2, 1 / 3])


def test_products_are_shown_at_the_scale_of_gd() -> None:
    trained = gradient_descent_transformer(3, learning_rate=0.5)
    with torch.no_grad():  # the same function, with another division of scale
        trained.layers[0].attention.query.mul_(-8.0)  # type: ignore[union-attr, operator]
        trained.layers[0].attention.linear.div_(-8.0)  # type: ignore[union-attr, operator]
    figure = weight_products(Results(weights=saved(transformer=trained, gd=gradient_descent_transformer(3, 1, 0.5))))
    assert figure is not None
    images = [np.asarray(axes.get_images()[0].get_array()) for axes in figure.axes[:4]]
    query_key, gd_query_key, value_linear, gd_value_linear = images
    assert query_key == pytest.approx(np.diag([1, 1, 1, 0]))
    assert query_key == pytest.approx(gd_query_key)
    assert value_linear == pytest.approx(np.diag([0, 0, 0, -0.5]))
    assert value_linear == pytest.approx(gd_value_linear)


def scaled(config: dict[str, Any]) -> list[str]:
    """Return the titles of a model whose scale is divided otherwise than gradient descent's; look at its images."""
    trained = gradient_descent_transformer(3, learning_rate=0.5)
    with torch.no_grad():
        trained.layers[0].attention.query.mul_(4.0)  # type: ignore[union-attr, operator]
        trained.layers[0].attention.linear.div_(4.0)  # type: ignore[union-attr, operator]
    weights = saved(transformer=trained, gd=gradient_descent_transformer(3, 1, 0.5))
    figure = weight_products(Results(weights=weights, config={"model": config}))
    assert figure is not None
    titles = [axes.get_title() for axes in figure.axes[:4]]
    is_scaled = "trained / 4" in titles[0] and titles[2].endswith(r"trained $\times$ 4")
    assert is_scaled or all(titles[index].endswith("trained, unscaled") for index in (0, 2))
    images = [np.asarray(axes.get_images()[0].get_array()) for axes in figure.axes[:4]]
    assert images[0] == pytest.approx(np.diag([1, 1, 1, 0]) * (1 if is_scaled else 4))
    assert images[2] == pytest.approx(np.diag([0, 0, 0, -0.5]) / (1 if is_scaled else 4))
    return titles


@pytest.mark.parametrize(
    ("config", "is_scaled"),
    [
        ({"attention": "linear"}, True),
        ({"attention": "linear", "mlp": True, "num_heads": 2}, True),
        ({"attention": "softmax"}, False),
        ({"attention": "mixture"}, False),
        ({"attention": "linear", "first_attention": "softmax"}, False),
        ({"attention": "linear", "layer_norm": True}, False),
    ],
)
def test_products_are_shown_as_they_are_where_scale_has_a_meaning(config: dict[str, Any], is_scaled: bool) -> None:
    assert ("trained / 4" in scaled(config)[0]) == is_scaled


def test_a_diagonal_that_is_none_yet_is_no_scale() -> None:
    trained = Transformer(TransformerConfig(), 3).initialize(torch.Generator().manual_seed(0))
    figure = weight_products(Results(weights=saved(transformer=trained, gd=gradient_descent_transformer(3, 1, 0.5))))
    assert figure is not None
    (query_key,) = trained.layers[0].attention.qk_matrix().detach().mT  # type: ignore[union-attr, operator]
    assert np.asarray(figure.axes[0].get_images()[0].get_array()) == pytest.approx(query_key.numpy())
    assert figure.axes[0].get_title().endswith("trained, unscaled")
    assert figure.axes[0].get_images()[0].get_clim()[1] < 0.01  # its own colours: gradient descent's would show nothing


def test_an_image_has_no_more_rows_than_can_be_shown() -> None:
    trained = Transformer(TransformerConfig(num_layers=30), 3).initialize(torch.Generator())
    weights = saved(transformer=trained, gd=gradient_descent_transformer(3, 1, 0.1, num_layers=30))
    figure = weight_products(Results(weights=weights))
    assert figure is not None
    assert figure.get_suptitle() == "the first 24 of 30 layers and heads"


def test_every_layer_and_head_has_a_row() -> None:
    trained = Transformer(TransformerConfig(num_layers=2, num_heads=3), 4, 2).initialize(torch.Generator())
    weights = saved(transformer=trained, gd=gradient_descent_transformer(4, 2, 0.1, num_layers=2))
    figure = weight_products(Results(weights=weights))
    assert figure is not None
    assert sum(bool(axes.get_images()) for axes in figure.axes[: 6 * 4]) == 6 * 4
    assert figure.axes[4].get_ylabel() == "layer 1, head 2"


def test_deep_models_are_shown_beside_gd_plus_plus_and_the_first_seed_stands_for_all() -> None:
    first, second, construction = (gd_plus_plus_transformer(3, [rate, rate], [0.1, 0.2]) for rate in (0.5, 1, 1.5))
    gradient_descent = gradient_descent_transformer(3, 1, 0.5, num_layers=2)
    models = {"gd": gradient_descent, "gd_plus_plus": construction}
    of_seeds = {"seed_10": saved(transformer=second, **models), "seed_9": saved(transformer=first, **models)}
    figure = weight_products(
        Results(weights={f"{seed}/{name}": w for seed, weights in of_seeds.items() for name, w in weights.items()})
    )
    assert figure is not None
    trained, reference = (np.asarray(axes.get_images()[0].get_array()) for axes in figure.axes[6:8])
    assert np.diag(trained) == pytest.approx([-0.2, -0.2, -0.2, -0.5])
    assert np.diag(reference) == pytest.approx([-0.2, -0.2, -0.2, -1.5])
    assert figure.axes[7].get_title().endswith("GD++")


def test_tokens_of_another_width_have_no_weights_to_compare() -> None:
    weights = saved(transformer=gradient_descent_transformer(5), gd=gradient_descent_transformer(3))
    assert weight_products(Results(weights=weights)) is None


@pytest.mark.parametrize("bad", [None, np.nan, np.inf, 1e300], ids=["sound", "nan", "inf", "huge"])
def test_a_run_has_every_figure_even_if_it_diverged(bad: float | None) -> None:
    directory = RunDirectory.create("run", "", {})
    metrics = [
        {**record, "copying/own": 1.0, "copying/next": 0.2, "copying/other": 0.1, "loss/interpolated": 2.0}
        for record in METRICS
    ]
    model = gd_plus_plus_transformer(3, [0.5, 1.0], [0.1, 0.1])
    weights = saved(transformer=model, gd=model)
    summary = {"loss/transformer/layer_00": 1.0, "loss/transformer/layer_01": 0.5}
    analyses = {
        "out_of_distribution": SHIFTS,
        "iterated": ITERATED,
        "which_algorithm": ALGORITHMS,
        "functions": FUNCTIONS,
    }
    if bad is not None:
        metrics = with_seeds([{name: bad for name in record} | {"step": record["step"]} for record in metrics], 0.5, 1)
        weights = {name: np.full_like(weight, min(bad, 1e38)) for name, weight in weights.items()}
        summary = dict.fromkeys(summary, bad)
        analyses = {name: _spoilt(record, bad) for name, record in analyses.items()}
    for record in metrics:
        directory.append_metrics(int(record.pop("step")), record)
    directory.write_bytes("weights.safetensors", save(weights))
    for name, content in analyses.items():
        directory.write_analysis(name, content, {"num_tasks": 100})
    paths = draw_figures(directory, summary, EXPERIMENT.drawings())
    names = [path.stem for path in paths]
    assert names == ["learning_curve", "alignment", "weights", "layers", "copying", *analyses]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)


def _spoilt(record: dict[str, object], bad: float) -> dict[str, object]:
    """Return a record whose every other result is not a usable number."""
    numbers = iter(range(10**6))
    return json.loads(json.dumps(record), parse_float=lambda text: bad if next(numbers) % 2 else float(text))  # type: ignore[no-any-return]


def test_a_run_without_numbers_has_no_figures() -> None:
    directory = RunDirectory.create("run", "", {})
    assert draw_figures(directory, {}, EXPERIMENT.drawings()) == []
    assert list(directory.figures.iterdir()) == []


def test_a_single_evaluation_is_enough(tmp_path: Path) -> None:
    directory = RunDirectory.create("run", "", {})
    directory.append_metrics(0, {"loss/transformer": 1.0, "loss/gd": 0.5, "alignment/sensitivity_cosine": 0.1})
    assert [path.stem for path in draw_figures(directory, {}, EXPERIMENT.drawings())] == ["learning_curve", "alignment"]
