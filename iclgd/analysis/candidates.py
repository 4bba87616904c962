"""What a trained model may have become: each learner at its best for given tasks."""

import math
from dataclasses import dataclass, field, replace

from iclgd.analysis.every_position.optimal import DMMSE, RIDGE, is_dense_linear, optimal_learners
from iclgd.data import LinearRegressionTask, RegressionBatch, RegressionTask
from iclgd.data.functions import SinglePosition
from iclgd.models import BayesOptimal, GradientDescent, LeastSquares, Newton, Predictor, Ridge
from iclgd.models.bayes import MAX_SUBSETS
from iclgd.models.every_position import DiscreteMMSE
from iclgd.models.gd_momentum import GradientDescentMomentum, best_gd_momentum
from iclgd.models.gd_plus_plus import GradientDescentPlusPlus, best_gd_plus_plus
from iclgd.models.learners import best_learning_rate
from iclgd.models.preconditioned import best_preconditioner

RIDGE_PENALTIES = tuple(float(f"{10 ** (exponent / 2):.2g}") for exponent in range(-8, 3))  # 1e-4 to 10
NEWTON_STEPS = 8


@dataclass(frozen=True)
class Candidate:
    """A learner and its complexity, the number of its parameters that are fitted to tasks or chosen from a grid."""

    predictor: Predictor
    num_parameters: int


Candidates = dict[str, Candidate]


@dataclass(frozen=True)
class Fit:
    """What candidates are fitted to.

    Args:
        batch: tasks for the fit, other ones than the model is compared on; some thousand.
        depth: layers of the model, at least 1.
        task: what the batch was drawn from.
        found: the candidates so far.
    """

    batch: RegressionBatch
    depth: int
    task: RegressionTask
    found: Candidates = field(default_factory=dict)


def zero(fit: Fit) -> Candidates:
    """Return the learner that predicts 0."""
    return {"zero": Candidate(GradientDescent(0.0, num_steps=0), 0)}


def least_squares(fit: Fit) -> Candidates:
    """Return least squares."""
    return {"least_squares": Candidate(LeastSquares(), 0)}


def bayes_optimal(fit: Fit) -> Candidates:
    """Return the Bayes-optimal learner of linear tasks, unless it would have to sum over more than 5000 choices.

    Of linear functions with noise it is the ridge regression of that noise; without noise, the limit: least squares
    under another name, so that a verdict says that the two are one.
    """
    task = fit.task
    if isinstance(task, SinglePosition):
        if not is_dense_linear(task.functions):
            return {}
        return {RIDGE: Candidate(optimal_learners(task.functions).get(RIDGE, LeastSquares()), 0)}
    if not isinstance(task, LinearRegressionTask) or math.comb(task.num_context, task.num_noise) > MAX_SUBSETS:
        return {}
    return {"bayes_optimal": Candidate(BayesOptimal(task.weight_scale, task.num_noise), 0)}


def newton(fit: Fit) -> Candidates:
    """Return Newton's iterations, up to 8; they are not defined where there is but one context point or input."""
    if min(fit.task.num_context, fit.task.input_dim) == 1:
        return {}
    return {f"newton({k})": Candidate(Newton(k), 0) for k in range(1, NEWTON_STEPS + 1)}


def ridge(fit: Fit) -> Candidates:
    """Return ridge regression with 11 penalties from 1e-4 to 10."""
    return {f"ridge({penalty:g})": Candidate(Ridge(penalty), 1) for penalty in RIDGE_PENALTIES}


def discrete_mmse(fit: Fit) -> Candidates:
    """Return the posterior mean over a function class's pool, which knows all numbers of the pool."""
    learner = optimal_learners(fit.task.functions).get(DMMSE) if isinstance(fit.task, SinglePosition) else None
    return {DMMSE: Candidate(learner, learner.pool.numel())} if isinstance(learner, DiscreteMMSE) else {}


def gradient_descent(fit: Fit) -> Candidates:
    """Return gradient descent of up to ``depth`` steps, and of twice as many, each with its best learning rate."""
    steps = [*range(1, fit.depth + 1), 2 * fit.depth]
    return {f"gd({k})": Candidate(GradientDescent(_best_rate(fit, k), k), 1) for k in steps}


def first_steps_of_gradient_descent(fit: Fit, k: int) -> Candidates:
    """Return the first k steps of the best ``depth`` ones."""
    return {f"gd({k} of {fit.depth})": Candidate(GradientDescent(_best_rate(fit, fit.depth), k), 1)}


def gd_plus_plus(fit: Fit, k: int) -> Candidates:
    """Return k steps of GD++ with one pair of rates for all of them."""
    return {f"gd_plus_plus({k})": Candidate(best_gd_plus_plus(*fit.batch, k, shared=True), 2)}


def first_steps_of_gd_plus_plus(fit: Fit, k: int) -> Candidates:
    """Return the first k steps of the best ``depth`` ones."""
    deep = fit.found[f"gd_plus_plus({fit.depth})"].predictor
    assert isinstance(deep, GradientDescentPlusPlus)
    first = GradientDescentPlusPlus(deep.learning_rates[:k], deep.gammas[:k])
    return {f"gd_plus_plus({k} of {fit.depth})": Candidate(first, 2)}


def gd_momentum(fit: Fit, k: int) -> Candidates:
    """Return k steps of gradient descent with the best momentum; a single step has none, and is ``gd(1)``."""
    if k == 1:
        return {}
    rate, momentum, _ = best_gd_momentum(*fit.batch, k)
    return {f"gd_momentum({k})": Candidate(GradientDescentMomentum(rate, momentum, k), 2)}


def first_steps_of_gd_momentum(fit: Fit, k: int) -> Candidates:
    """Return the first k steps of the best ``depth`` ones; the first is a step of gradient descent at their rate."""
    deep = fit.found[f"gd_momentum({fit.depth})"].predictor
    assert isinstance(deep, GradientDescentMomentum)
    return {f"gd_momentum({k} of {fit.depth})": Candidate(replace(deep, num_steps=k), 2)}


def preconditioned(fit: Fit, k: int) -> Candidates:
    """Return k steps of gradient descent with the best diagonal and the best full preconditioner."""
    dim = fit.task.input_dim
    diagonal, full = (best_preconditioner(*fit.batch, k, only) for only in (True, False))
    return {
        f"preconditioned_gd_diagonal({k})": Candidate(diagonal, dim),
        f"preconditioned_gd_full({k})": Candidate(full, dim * (dim + 1) // 2),
    }


def _best_rate(fit: Fit, num_steps: int) -> float:
    return best_learning_rate(*fit.batch, num_steps).learning_rate
