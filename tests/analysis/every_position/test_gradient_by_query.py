"""Gradients by the query beside true weights: what least squares knows is the projection, in closed form."""

import math

import pytest
import torch

from iclgd.analysis.every_position.gradient_by_query import gradient_by_query, projected_weights
from iclgd.analysis.every_position.subject import MODEL, FunctionSubject
from iclgd.data.functions import LinearFunctionTask
from iclgd.models.every_position import Averaging, EveryPositionLearner
from iclgd.models.learners import LeastSquares
from tests.analysis.every_position.models import CLEAN

PROMPTS = 2000


def mean_cosine(num_examples: int, dim: int) -> float:
    """Return E|P w| / |w| for the projection on random directions: the square is Beta(i / 2, (D - i) / 2)."""
    if num_examples >= dim:
        return 1.0
    a, b = num_examples / 2, (dim - num_examples) / 2
    log = math.lgamma(a + 0.5) - math.lgamma(a) + math.lgamma(a + b) - math.lgamma(a + b + 0.5)
    return math.exp(log)


def test_projections_are_those_on_the_span_of_the_examples() -> None:
    x, weight = CLEAN.sample(3, torch.Generator().manual_seed(0), torch.float64)[0], torch.randn(3, 3).double()
    found = projected_weights(x, weight)
    for position in range(7):
        seen = x[:, :position]
        expected = (torch.linalg.pinv(seen) @ seen @ weight[..., None]).squeeze(-1) if position else 0 * weight
        torch.testing.assert_close(found[:, position], expected)


def test_least_squares_has_the_projected_weight_and_its_cosine_in_closed_form() -> None:
    record = gradient_by_query(FunctionSubject(0, CLEAN, LeastSquares()), PROMPTS, 50)
    assert record["positions"] == [1, 2, 3, 4, 5, 6]
    assert record["cosines"][MODEL] == record["cosines"]["least_squares"]
    cosines = record["cosines"][MODEL]
    for numbers in cosines["projected_weight"].values():
        assert numbers == pytest.approx([1.0] * 6, abs=1e-5)
    expected = [mean_cosine(position, 3) for position in record["positions"]]
    assert cosines["weight"]["mean"] == pytest.approx(expected, abs=0.02)
    assert cosines["weight"]["low"][0] < expected[0] < cosines["weight"]["high"][0]
    assert mean_cosine(1, 3) == pytest.approx(0.5)  # |cos| is uniform on a sphere in three dimensions


def test_a_gradient_without_a_direction_has_no_cosine() -> None:
    class Zero(EveryPositionLearner):
        def _predict(self, x, y, query, positions):  # type: ignore[no-untyped-def]
            return (0 * query).sum(-1)[:, positions]

    record = gradient_by_query(FunctionSubject(0, CLEAN, Zero()), 20, 5)
    assert all(math.isnan(value) for numbers in record["cosines"][MODEL].values() for value in numbers["mean"])
    assert not any(map(math.isnan, record["cosines"]["least_squares"]["weight"]["mean"]))


def test_averaging_approaches_the_weight() -> None:
    task = LinearFunctionTask(num_points=201, input_dim=3)
    cosines = gradient_by_query(FunctionSubject(0, task, Averaging()), 50, 5)["cosines"][MODEL]["weight"]["mean"]
    assert cosines[0] < 0.7
    assert cosines[-1] > 0.98
