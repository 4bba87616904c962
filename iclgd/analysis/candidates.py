"""The learners that a trained model may have become, each at its best for given tasks."""

import math
from dataclasses import dataclass

from iclgd.data import LinearRegressionTask, RegressionBatch
from iclgd.models import BayesOptimal, GradientDescent, LeastSquares, Newton, Predictor, Ridge
from iclgd.models.bayes import MAX_SUBSETS
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


def candidate_learners(batch: RegressionBatch, depth: int, task: LinearRegressionTask) -> dict[str, Candidate]:
    """Fit the candidates for a model of ``depth`` layers.

    They are ``zero``, which predicts 0; ``least_squares``; ``bayes_optimal``; ``newton(k)`` for k up to 8;
    ``ridge(lambda)`` for 11 values from 1e-4 to 10; ``gd(k)`` for k up to ``depth``, and of twice as many steps; and
    for k up to ``depth`` ``gd_plus_plus(k)`` with one pair of rates for all steps, ``preconditioned_gd_diagonal(k)``
    and ``preconditioned_gd_full(k)``. For the layers before
    the last there are also the first k steps of the best ``depth`` ones, ``gd(k of depth)`` and
    ``gd_plus_plus(k of depth)``. Left out are Newton where there is but one context point or input, for which it
    is not defined, and the Bayes-optimal learner where it would have to sum over more than 5000 choices.

    Args:
        batch: tasks for the fit, other ones than the model is compared on; some thousand.
        depth: number of layers, at least 1.
        task: what the batch was drawn from.

    Returns:
        The candidates by name.

    Raises:
        ValueError: if ``depth`` is below 1.

    Example:
        >>> import torch
        >>> task = LinearRegressionTask(num_context=4, input_dim=2)
        >>> candidates = candidate_learners(task.sample(100, torch.Generator().manual_seed(0)), 1, task)
        >>> [name for name in candidates if name.startswith("gd")]
        ['gd(1)', 'gd(2)', 'gd_plus_plus(1)']
    """
    if depth < 1:
        raise ValueError(f"depth must be at least 1, got {depth}")
    dim = task.input_dim
    candidates = {
        "zero": Candidate(GradientDescent(0.0, num_steps=0), 0),
        "least_squares": Candidate(LeastSquares(), 0),
    }
    if math.comb(task.num_context, task.num_noise) <= MAX_SUBSETS:
        candidates["bayes_optimal"] = Candidate(BayesOptimal(task.weight_scale, task.num_noise), 0)
    if min(task.num_context, dim) > 1:
        candidates |= {f"newton({k})": Candidate(Newton(k), 0) for k in range(1, NEWTON_STEPS + 1)}
    candidates |= {f"ridge({penalty:g})": Candidate(Ridge(penalty), 1) for penalty in RIDGE_PENALTIES}
    for k in [*range(1, depth + 1), 2 * depth]:
        rate = best_learning_rate(*batch, k).learning_rate
        candidates[f"gd({k})"] = Candidate(GradientDescent(rate, k), 1)
    for k in range(1, depth + 1):
        plus_plus = best_gd_plus_plus(*batch, k, shared=True)
        diagonal, full = (best_preconditioner(*batch, k, only) for only in (True, False))
        candidates[f"gd_plus_plus({k})"] = Candidate(plus_plus, 2)
        candidates[f"preconditioned_gd_diagonal({k})"] = Candidate(diagonal, dim)
        candidates[f"preconditioned_gd_full({k})"] = Candidate(full, dim * (dim + 1) // 2)
    rate, deep = best_learning_rate(*batch, depth).learning_rate, candidates[f"gd_plus_plus({depth})"].predictor
    assert isinstance(deep, GradientDescentPlusPlus)
    for k in range(1, depth):
        candidates[f"gd({k} of {depth})"] = Candidate(GradientDescent(rate, k), 1)
        first_steps = GradientDescentPlusPlus(deep.learning_rates[:k], deep.gammas[:k])
        candidates[f"gd_plus_plus({k} of {depth})"] = Candidate(first_steps, 2)
    return candidates
