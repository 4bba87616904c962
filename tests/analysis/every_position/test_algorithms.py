"""which_algorithm for models that answer at every position: each learner is named, and what is none is not."""

import pytest
import torch
from torch import Tensor

import iclgd
from iclgd.analysis.every_position.algorithms import spread_positions
from iclgd.analysis.every_position.answers import answer_at_positions
from iclgd.analysis.every_position.optimal import optimal_learners
from iclgd.analysis.sensitivity import predict_with_sensitivity
from iclgd.checks import InputError
from iclgd.data import LinearRegressionTask
from iclgd.data.functions import (
    FunctionTask,
    LinearFunctionTask,
    NoisyLinearFunctionTask,
    SparseLinearFunctionTask,
    at_position,
)
from iclgd.models.every_position import Averaging, DiscreteMMSE, EveryPositionLearner
from iclgd.models.learners import LeastSquares, Ridge
from tests.analysis.every_position.models import CLEAN, POOL, own, transformer

FEW = {"num_tasks": 150, "num_resamples": 20}


def prompts(task: FunctionTask, number: int = 4):  # type: ignore[no-untyped-def]
    return task.sample(number, torch.Generator().manual_seed(1), torch.float64)


@pytest.mark.parametrize("name", ["ridge", "dmmse", "least_squares"])
def test_a_model_that_is_a_learner_is_named_so(name: str) -> None:
    result = iclgd.which_algorithm(own(name), POOL, **FEW)
    assert result.learner == name
    assert result.verdicts[0]["indistinguishable"] == []
    assert result.verdicts[0]["positions"] == [1, 2, 3, 4, 5, 6]
    assert repr(result).startswith(f"Positions 1, 2, 3, 4, 5, 6: {name}. Nearest: {name}, at 0 [0, 0], ")
    assert {"ridge", "dmmse", "least_squares", "zero", "gd(1)"} < set(result.distances)


def test_a_predictor_of_single_queries_is_asked_position_by_position() -> None:
    ridge = own("ridge")
    result = iclgd.which_algorithm(lambda x, y, query: ridge(x, y, query), POOL, positions=[5], **FEW)
    assert result.learner == "ridge"
    assert repr(result).startswith("Position 5: ridge. ")
    assert any("positions 5" in str(cell) for column in result.table().columns for cell in column.cells)
    assert result.figure() is not None


def test_what_is_no_learner_is_named_none() -> None:
    def none(x: Tensor, y: Tensor, query: Tensor) -> Tensor:
        return (3 * query).sin().sum(-1, keepdim=True) * y.mean(1)

    result = iclgd.which_algorithm(none, POOL, positions=[2, 6], **FEW)
    assert result.learner == "none is near"
    assert "not told" not in repr(result)


def test_ridge_and_least_squares_are_one_without_noise() -> None:
    result = iclgd.which_algorithm(LeastSquares(), CLEAN, **FEW)
    assert result.learner == "least_squares"
    assert "ridge" in result.verdicts[0]["indistinguishable"]
    assert ": least_squares, not told from ridge" in repr(result)


def test_of_one_task_a_pool_cannot_be_told_from_its_weight() -> None:
    task = NoisyLinearFunctionTask(num_points=4, input_dim=3, noise_std=0.5, num_tasks=1)
    weight = task.pool().weight
    result = iclgd.which_algorithm(lambda x, y, query: query @ weight.T, task, **FEW)
    assert result.learner == "dmmse"


def test_only_dense_linear_functions_with_noise_have_optimal_learners() -> None:
    ridge, dmmse = optimal_learners(POOL).values()
    assert ridge == Ridge(0.25)
    assert isinstance(dmmse, DiscreteMMSE)
    assert torch.equal(dmmse.pool, POOL.pool().weight)
    assert list(optimal_learners(NoisyLinearFunctionTask(noise_std=0.5))) == ["ridge"]
    assert list(optimal_learners(NoisyLinearFunctionTask(num_tasks=4, renormalize=True))) == ["ridge"]
    assert not optimal_learners(CLEAN)
    assert not optimal_learners(SparseLinearFunctionTask(noise_std=0.5))


@pytest.mark.parametrize(
    "learner",
    [LeastSquares(), Averaging(), own("dmmse"), transformer()],
    ids=lambda each: type(each).__name__,
)
def test_all_positions_at_once_are_each_position_by_itself(learner: EveryPositionLearner) -> None:
    batch = prompts(POOL)
    together = answer_at_positions(learner, batch, [1, 3, 6])
    for place, position in enumerate([1, 3, 6]):
        prediction, sensitivity = predict_with_sensitivity(learner, *batch.at(position)[:3])
        torch.testing.assert_close(together.prediction[:, place, None], prediction.double(), rtol=1e-5, atol=1e-9)
        torch.testing.assert_close(together.sensitivity[:, place], sensitivity[:, 0].double(), rtol=1e-5, atol=1e-9)


def test_the_sensitivity_of_dmmse_is_its_posterior_mean() -> None:
    batch, dmmse = prompts(POOL), own("dmmse")
    x, y = batch.x[0, :2], batch.y[0, :2]
    pool = POOL.pool().weight.double()
    likelihood = (-((y - pool @ x.T) ** 2).sum(1) / (2 * 0.5**2)).exp()
    expected = (likelihood[:, None] * pool).sum(0) / likelihood.sum()
    torch.testing.assert_close(answer_at_positions(dmmse, batch, [2]).sensitivity[0, 0], expected)


def test_a_position_is_a_regression_task() -> None:
    task = at_position(POOL, 4)
    sampled = task.sample(5, torch.Generator().manual_seed(1))
    assert (task.num_context, task.input_dim, task.output_dim) == (4, 3, 1)
    expected = POOL.sample(5, torch.Generator().manual_seed(1), num_points=5).at(4)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(sampled, expected, strict=True))
    for position in (0, 7):
        with pytest.raises(ValueError, match=r"position must be from 1 to 6 \(task.num_points - 1\), got"):
            at_position(POOL, position)
    assert spread_positions(LinearFunctionTask(num_points=2)) == [1]


def test_positions_that_cannot_be_asked_are_refused() -> None:
    for positions in ([0], [7], []):
        with pytest.raises(InputError, match=r"positions must be from 1 to 6 \(task.num_points - 1\), got"):
            iclgd.which_algorithm(LeastSquares(), POOL, positions=positions)
    with pytest.raises(InputError, match="positions are those of a function class; the task is none"):
        iclgd.which_algorithm(LeastSquares(), LinearRegressionTask(), positions=[1])
    with pytest.raises(InputError, match=r"task.num_points must be at least 2"):
        iclgd.which_algorithm(LeastSquares(), LinearFunctionTask(num_points=1))
