import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from iclgd.models.constructions import gradient_descent_transformer
from iclgd.models.transformer import Transformer, TransformerConfig
from iclgd.report.figures import alignment, learning_curve, weight_products

METRICS = [
    {
        "step": step,
        "loss/transformer": 1 / (step + 1),
        "alignment/prediction_l2": 0.1 * step,
        "alignment/sensitivity_l2": 0.2 * step,
        "alignment/sensitivity_cosine": -0.1 * step,
    }
    for step in range(3)
]


def saved(trained: Transformer, construction: Transformer) -> dict[str, NDArray[np.float32]]:
    models = {"transformer": trained, "construction": construction}
    return {f"{name}.{key}": w.numpy() for name, model in models.items() for key, w in model.state_dict().items()}


def test_learning_curve_shows_the_losses() -> None:
    (axes,) = learning_curve(METRICS, loss_of_gd=0.4).axes
    curve, line = axes.get_lines()
    assert curve.get_xydata() == pytest.approx(np.array([[0, 1], [1, 1 / 2], [2, 1 / 3]]))
    assert list(line.get_ydata()) == [0.4, 0.4]


def test_alignment_shows_three_measures_and_negative_cosines() -> None:
    distance, cosine = alignment(METRICS).axes
    assert [line.get_ydata()[2] for line in (*distance.get_lines(), *cosine.get_lines())] == pytest.approx(
        [0.2, 0.4, -0.2]
    )
    assert cosine.get_ylim()[0] <= -0.2


def test_products_are_shown_at_the_scale_of_gd() -> None:
    construction = gradient_descent_transformer(3, learning_rate=0.5)
    trained = gradient_descent_transformer(3, learning_rate=0.5)
    with torch.no_grad():  # the same function, with another division of scale
        trained.layers[0].query.mul_(-8.0)
        trained.layers[0].linear.div_(-8.0)
    images = [axes.get_images()[0].get_array() for axes in weight_products(saved(trained, construction)).axes[:4]]
    query_key, gd_query_key, value_linear, gd_value_linear = (np.asarray(image) for image in images)
    assert query_key == pytest.approx(np.diag([1, 1, 1, 0]))
    assert query_key == pytest.approx(gd_query_key)
    assert value_linear == pytest.approx(np.diag([0, 0, 0, -0.5]))
    assert value_linear == pytest.approx(gd_value_linear)


def test_every_layer_and_head_has_a_row() -> None:
    trained = Transformer(TransformerConfig(num_layers=2, num_heads=3), 4, 2).initialize(torch.Generator())
    figure = weight_products(saved(trained, gradient_descent_transformer(4, 2, 0.1, num_layers=2)))
    assert sum(bool(axes.get_images()) for axes in figure.axes[: 6 * 4]) == 6 * 4
