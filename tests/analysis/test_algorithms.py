import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from iclgd.analysis.algorithms import Answers, algorithms_by_layer, answer, layers_of, nearest_algorithm
from iclgd.analysis.candidates import RIDGE_PENALTIES, Candidate
from iclgd.analysis.learners import candidate_learners
from iclgd.data import LinearRegressionTask, RegressionBatch
from iclgd.metrics import functional
from iclgd.models import GradientDescent, GradientDescentMomentum, LeastSquares, Predictor, Ridge
from iclgd.models.constructions import gradient_descent_transformer
from iclgd.models.gd_momentum import best_gd_momentum
from iclgd.models.learners import best_learning_rate
from tests.fixtures import assert_close

TASK = LinearRegressionTask(num_context=8, input_dim=5, output_dim=2)
# Neither isotropic nor diagonal: every kind of preconditioner has something of its own to do.
SHAPE = torch.tensor([2.0, 1.5, 1.0, 0.6, 0.4]).diag() + 0.5 * torch.ones(5, 5).triu(1)


def sample(num_tasks: int, seed: int, task: LinearRegressionTask = TASK) -> RegressionBatch:
    batch = task.sample(num_tasks, torch.Generator().manual_seed(seed))
    return batch._replace(x=batch.x @ SHAPE, query=batch.query @ SHAPE)


FITTED = candidate_learners(sample(1000, seed=0), depth=2, task=TASK)
COMPARED = sample(300, seed=1)
ANSWERS = {name: answer(candidate.predictor, COMPARED) for name, candidate in FITTED.items()}

# What each learner is named if it is the model itself: itself, or a simpler one that does the same on these tasks.
SAME = {"bayes_optimal": "least_squares", "gd_plus_plus(1)": "gd(1)"}


def named(model: Predictor) -> str:
    generator = torch.Generator().manual_seed(2)
    return nearest_algorithm(answer(model, COMPARED), FITTED, ANSWERS, 200, generator).verdict.learner


def with_noise(learner: Predictor, scale: float) -> Predictor:
    """Add one fixed random matrix, applied to the query, to all predictions."""
    noise = scale * torch.randn(2, 5, generator=torch.Generator().manual_seed(3))
    return lambda x, y, query: learner(x, y, query) + query @ noise.T.to(query)


def test_the_candidates_are_those_announced() -> None:
    assert list(FITTED) == [
        "zero", "least_squares", "bayes_optimal", *(f"newton({k})" for k in range(1, 9)),
        *(f"ridge({penalty:g})" for penalty in RIDGE_PENALTIES), "gd(1)", "gd(2)", "gd(4)",
        "gd_plus_plus(1)", "preconditioned_gd_diagonal(1)", "preconditioned_gd_full(1)",
        "gd_plus_plus(2)", "gd_momentum(2)", "preconditioned_gd_diagonal(2)", "preconditioned_gd_full(2)",
        "gd(1 of 2)", "gd_plus_plus(1 of 2)", "gd_momentum(1 of 2)",
    ]  # fmt: skip
    assert (len(RIDGE_PENALTIES), min(RIDGE_PENALTIES), max(RIDGE_PENALTIES)) == (11, 1e-4, 10.0)
    complexities = {name: FITTED[name].num_parameters for name in ("newton(8)", "ridge(1)", *list(FITTED)[-8:])}
    assert list(complexities.values()) == [0, 1, 15, 2, 2, 5, 15, 1, 2, 2]


@pytest.mark.parametrize("name", FITTED)
def test_each_learner_is_recognised(name: str) -> None:
    assert named(FITTED[name].predictor) == SAME.get(name, name)


@pytest.mark.parametrize("name", FITTED)
def test_each_learner_is_recognised_beneath_noise(name: str) -> None:
    # The noise is a hundredth of the mean sensitivity of least squares.
    norm = torch.linalg.vector_norm(ANSWERS["least_squares"].sensitivity, dim=-1).mean().item()
    assert named(with_noise(FITTED[name].predictor, 0.01 * norm / math.sqrt(5))) == SAME.get(name, name)


@pytest.mark.parametrize("num_noise", [1, 3])
def test_the_bayes_optimal_learner_is_recognised_where_there_is_noise(num_noise: int) -> None:
    task = LinearRegressionTask(num_context=8, input_dim=5, num_noise=num_noise)
    candidates = candidate_learners(sample(500, 0, task), 1, task)
    model = candidates["bayes_optimal"].predictor
    result = algorithms_by_layer([model], candidates, sample(200, 1, task), 100, torch.Generator().manual_seed(2))
    assert result["verdicts"][0]["learner"] == "bayes_optimal"
    assert result["verdicts"][0]["indistinguishable"] == []


def test_layers_of_a_construction_are_steps() -> None:
    rate = best_learning_rate(*sample(1000, seed=0), 2).learning_rate
    cuts = [gradient_descent_transformer(5, 2, rate, num_layers=depth) for depth in (1, 2)]
    result = algorithms_by_layer(cuts, FITTED, COMPARED, 200, torch.Generator().manual_seed(2))
    assert [verdict["learner"] for verdict in result["verdicts"]] == ["gd(1 of 2)", "gd(2)"]
    first, last = result["verdicts"]
    for verdict in (first, last):
        assert verdict["distance"] < 1e-5 * verdict["sensitivity_norm"]
    assert len(result["rows"]) == 2 * len(FITTED)
    assert json.loads(json.dumps(result, allow_nan=False)) == result


def test_layers_with_momentum_are_steps_of_gradient_descent_with_momentum() -> None:
    found = best_gd_momentum(*sample(1000, seed=0), 2)
    model = gradient_descent_transformer(5, 2, found.learning_rate, num_layers=2, momentum=found.momentum)
    result = algorithms_by_layer(layers_of(model), FITTED, COMPARED, 200, torch.Generator().manual_seed(2))
    assert [verdict["learner"] for verdict in result["verdicts"]] == ["gd_momentum(1 of 2)", "gd_momentum(2)"]
    assert all(verdict["distance"] < 1e-5 * verdict["sensitivity_norm"] for verdict in result["verdicts"])
    candidate = FITTED["gd_momentum(2)"].predictor
    assert isinstance(candidate, GradientDescentMomentum)
    assert (candidate.learning_rate, candidate.momentum) == pytest.approx(found[:2], rel=1e-9)


def test_numbers_are_those_of_the_metrics() -> None:
    model, learner = ANSWERS["gd(1)"], ANSWERS["ridge(1)"]
    estimates = nearest_algorithm(model, FITTED, ANSWERS, 10, torch.Generator()).estimates["ridge(1)"]
    for measure, function, field in (
        ("prediction_l2", functional.prediction_l2, "prediction"),
        ("sensitivity_l2", functional.sensitivity_l2, "sensitivity"),
        ("sensitivity_cosine", functional.sensitivity_cosine, "sensitivity"),
    ):
        total, count = function(getattr(learner, field), getattr(model, field))
        assert estimates[measure].mean == pytest.approx(total.item() / count, rel=1e-6)


def test_intervals_are_those_of_normal_theory() -> None:
    model, learner = ANSWERS["gd(1)"], ANSWERS["least_squares"]
    estimates = nearest_algorithm(model, FITTED, ANSWERS, 2000, torch.Generator().manual_seed(0)).estimates
    distances = torch.linalg.vector_norm(learner.prediction - model.prediction, dim=-1).numpy()
    error = 1.96 * distances.std() / np.sqrt(len(distances))
    mean, low, high = estimates["least_squares"]["prediction_l2"]
    assert mean == pytest.approx(distances.mean(), rel=1e-9)
    assert (mean - low, high - mean) == pytest.approx((error, error), rel=0.15)


def weights(value: Tensor) -> Answers:
    """Return answers whose sensitivities are (B,) numbers."""
    return Answers(value[:, None].double(), value[:, None, None].double())


def test_what_tasks_cannot_tell_apart_is_listed_and_the_simplest_named() -> None:
    noise = torch.randn(3, 400, generator=torch.Generator().manual_seed(0))
    answers = {"complex": weights(noise[0]), "simple": weights(noise[1]), "far": weights(noise[2] + 9)}
    predictor = LeastSquares()  # not called
    candidates = {
        "complex": Candidate(predictor, 7), "simple": Candidate(predictor, 1), "far": Candidate(predictor, 0)
    }  # fmt: skip
    verdict = nearest_algorithm(
        weights(torch.zeros(400)), candidates, answers, 500, torch.Generator().manual_seed(1)
    ).verdict
    assert verdict.learner == "simple"
    assert {verdict.nearest, *verdict.indistinguishable} == {"complex", "simple"}
    assert 0.3 < verdict.share_nearest < 1.0
    assert verdict.distance_low < verdict.distance < verdict.distance_high


def test_learners_far_nearer_to_each_other_than_to_the_model_are_one() -> None:
    spread = torch.rand(400, generator=torch.Generator().manual_seed(0))
    answers = {"complex": weights(spread), "simple": weights(spread - 0.1)}
    candidates = {"complex": Candidate(LeastSquares(), 7), "simple": Candidate(LeastSquares(), 1)}

    def verdict(distance: float) -> str:
        model = weights(spread + distance)
        return nearest_algorithm(model, candidates, answers, 100, torch.Generator()).verdict.learner

    assert verdict(1.0) == "simple"
    assert verdict(0.1) == "complex"


def test_the_same_seed_gives_the_same_verdict() -> None:
    runs = [
        algorithms_by_layer([Ridge(0.2)], FITTED, COMPARED, 50, torch.Generator().manual_seed(seed))
        for seed in (0, 0, 1)
    ]
    assert runs[0] == runs[1] != runs[2]


def test_a_layer_that_does_nothing_is_named_zero() -> None:
    assert named(lambda x, y, query: 0.0 * query[:, :2]) == "zero"


def layer_verdict(model: Predictor) -> dict[str, Any]:
    result = algorithms_by_layer([model], FITTED, COMPARED, 50, torch.Generator().manual_seed(2))
    return dict(result["verdicts"][0])


@pytest.mark.parametrize(("shift", "is_near"), [(0.1, True), (0.19, True), (0.21, False), (0.6, False)])
def test_none_is_named_beyond_a_fifth_of_the_sensitivity(shift: float, is_near: bool) -> None:
    # The only learner there is is off by a known share of the model's sensitivity, the same for each task.
    learner = Candidate(lambda x, y, query: (1 - shift) * query[:, :2], 0)
    result = algorithms_by_layer(
        [lambda x, y, query: query[:, :2]], {"off": learner}, COMPARED, 50, torch.Generator().manual_seed(2)
    )
    (verdict,) = result["verdicts"]
    assert verdict["distance"] / verdict["sensitivity_norm"] == pytest.approx(shift)
    assert (verdict["is_near"], verdict["learner"]) == (is_near, "off" if is_near else "none is near")
    assert (verdict["nearest"], verdict["simplest"]) == ("off", "off")


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("which", ["all tasks", "one task"])
def test_a_model_that_is_not_a_number_is_none(value: float, which: str) -> None:
    def model(x: Tensor, y: Tensor, query: Tensor) -> Tensor:
        factor = torch.ones(len(query), 1)
        factor[slice(None) if which == "all tasks" else slice(7, 8)] = value
        return factor * query[:, :2]

    verdict = layer_verdict(model)
    assert verdict["learner"] == verdict["nearest"] == "none (not a number)"
    assert math.isnan(verdict["distance"])
    assert verdict["indistinguishable"] == []


def test_a_learner_that_is_not_a_number_is_passed_over() -> None:
    def broken(x: Tensor, y: Tensor, query: Tensor) -> Tensor:
        return math.nan * query[:, :2]

    sound = {name: FITTED[name] for name in ("zero", "gd(1)", "ridge(1)")}
    for candidates in ({"broken": Candidate(broken, 0), **sound}, {**sound, "broken": Candidate(broken, 0)}):
        result = algorithms_by_layer(
            [FITTED["gd(1)"].predictor], candidates, COMPARED, 50, torch.Generator().manual_seed(2)
        )
        (verdict,) = result["verdicts"]
        assert (verdict["learner"], verdict["share_nearest"]) == ("gd(1)", 1.0)


def test_learners_that_do_not_apply_are_left_out() -> None:
    one_input = LinearRegressionTask(num_context=4, input_dim=1)
    assert not any(
        name.startswith("newton")
        for name in candidate_learners(one_input.sample(50, torch.Generator().manual_seed(0)), 1, one_input)
    )
    noisy = LinearRegressionTask(num_context=30, input_dim=2, num_noise=15)
    assert "bayes_optimal" not in candidate_learners(noisy.sample(50, torch.Generator().manual_seed(0)), 1, noisy)


def test_bad_values_are_refused() -> None:
    with pytest.raises(ValueError, match="depth must be at least 1, got 0"):
        candidate_learners(COMPARED, 0, TASK)
    with pytest.raises(ValueError, match="must answer in one shape"):
        nearest_algorithm(weights(torch.ones(300)), FITTED, ANSWERS, 10, torch.Generator())


def test_zero_is_gradient_descent_without_steps() -> None:
    assert_close(1 + GradientDescent(0.0, num_steps=0)(*COMPARED[:3]), torch.ones(300, 2), 1e-9)
