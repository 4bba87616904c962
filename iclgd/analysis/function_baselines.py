"""The learners beside which models of function classes are evaluated, each one entry of ``BASELINES``."""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass

import torch

from iclgd.data.functions import FunctionBatch, FunctionTask, LinearFunctions, LinearFunctionTask
from iclgd.models import LeastSquares, Ridge
from iclgd.models.every_position import (
    Averaging,
    BoostedTrees,
    DiscreteMMSE,
    EveryPositionLearner,
    GreedyTree,
    Lasso,
    NearestNeighbors,
    TwoLayerNetwork,
)


def _any_task(task: FunctionTask) -> str | None:
    return None


@dataclass(frozen=True)
class Baseline:
    """A learner beside a model.

    Args:
        description: one line.
        make: makes it for a task.
        refuse: says why a task has no such learner, such as ``"needs task.noise_std above 0"``; ``None`` where it has.
        is_fitted: whether it is fitted anew to each prompt and position, which takes long.
        package: that it needs beyond those that always are there.
    """

    description: str
    make: Callable[[FunctionTask], EveryPositionLearner]
    refuse: Callable[[FunctionTask], str | None] = _any_task
    is_fitted: bool = False
    package: str | None = None

    def problem_with(self, task: FunctionTask) -> str | None:
        """Return why a task cannot have it here; ``None`` if it can."""
        if (reason := self.refuse(task)) is not None:
            return reason
        if self.package is not None and importlib.util.find_spec(self.package) is None:
            return f'needs the package {self.package}: pip install "iclgd[baselines]"'
        return None


def _ridge(task: FunctionTask) -> EveryPositionLearner:
    return Ridge((task.noise_std / task.weight_scale) ** 2)


def _needs_noise(task: FunctionTask) -> str | None:
    return None if task.noise_std else "needs task.noise_std above 0: without noise it is least_squares"


def _dmmse(task: FunctionTask) -> EveryPositionLearner:
    pool = task.pool()
    assert isinstance(pool, LinearFunctions)
    return DiscreteMMSE(pool.weight, task.noise_std)


def _needs_pool(task: FunctionTask) -> str | None:
    if type(task).draw_functions is not FunctionTask.draw_functions or not isinstance(task, LinearFunctionTask):
        return "needs a pool of linear functions, of task.name=linear or noisy_linear"
    if not task.num_tasks or not task.noise_std or task.renormalize:
        return "needs task.num_tasks and task.noise_std above 0 and task.renormalize=false"
    return None


BASELINES: dict[str, Baseline] = {
    "ridge": Baseline("least squares with the penalty that is best for the noise", _ridge, _needs_noise),
    "dmmse": Baseline("the mean of the posterior over the functions of the pool", _dmmse, _needs_pool),
    "least_squares": Baseline(
        "the weight of smallest norm among those that fit the examples best", lambda task: LeastSquares()
    ),
    "averaging": Baseline("the mean of y x as a weight", lambda task: Averaging()),
    "nearest_neighbors": Baseline("the mean target of the 3 nearest examples", lambda task: NearestNeighbors(3)),
    "lasso": Baseline("least squares with a penalty of 0.01 on the absolute weights", lambda task: Lasso(0.01)),
    "two_layer_network": Baseline(
        "a network of 100 hidden units, trained for 100 steps of Adam", lambda task: TwoLayerNetwork(), is_fitted=True
    ),
    "greedy_tree": Baseline(
        "scikit-learn's regression tree without a bound of its depth",
        lambda task: GreedyTree(max_depth=None),
        is_fitted=True,
        package="sklearn",
    ),
    "boosted_trees": Baseline(
        "XGBoost with its own settings", lambda task: BoostedTrees(), is_fitted=True, package="xgboost"
    ),
}


def squared_errors(learner: EveryPositionLearner, batch: FunctionBatch, is_noiseless: bool = False) -> torch.Tensor:
    """Return a learner's squared errors at every position of every prompt, (B, N).

    Args:
        learner: whose.
        batch: the prompts.
        is_noiseless: of the function's value without noise, and not of the target that may have it.
    """
    predictions = learner.at_every_position(batch.x, batch.y, batch.query)
    return (predictions - (batch.noiseless if is_noiseless else batch.target)).square()
