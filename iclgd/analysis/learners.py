"""The learners that models are compared with, in evaluations and by which_algorithm: each one entry of ``LEARNERS``."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import nn

from iclgd.analysis import candidates, references
from iclgd.analysis.candidates import Candidates, Fit
from iclgd.analysis.references import Reference, Setting
from iclgd.checks import InputError
from iclgd.data import RegressionBatch, RegressionTask
from iclgd.models import LeastSquares, Predictor, Ridge


def _no_candidates(fit: Fit) -> Candidates:
    return {}


@dataclass(frozen=True)
class Learner:
    """A learner: what it is beside a transformer, and as whom which_algorithm may name a model.

    Args:
        description: one line.
        reference: makes the module that every evaluation compares with, for tasks that name it in ``references``;
            its return may be ``None`` where there is none.
        baseline: makes a predictor whose loss the last evaluation of every run adds; may return ``None``, too.
        candidates: the learner at its best for given tasks, by names such as ``"ridge(0.1)"``.
        of_steps: the same for k steps; asked for every k up to the depth of the model.
        first_steps: the first k of the best ``depth`` steps; asked for every k below the depth, for a model's earlier
            layers.
    """

    description: str
    reference: Callable[[Setting], Reference | None] | None = None
    baseline: Callable[[Setting], Predictor | None] | None = None
    candidates: Callable[[Fit], Candidates] = _no_candidates
    of_steps: Callable[[Fit, int], Candidates] | None = None
    first_steps: Callable[[Fit, int], Candidates] | None = None


LEARNERS: dict[str, Learner] = {
    "zero": Learner("predicts 0", candidates=candidates.zero),
    "ridge": Learner(
        "least squares with a penalty on the weight's norm",
        baseline=lambda setting: Ridge(setting.ridge_lambda),
        candidates=candidates.ridge,
    ),
    "least_squares": Learner(
        "the weight of smallest norm among those that fit the context best",
        baseline=lambda setting: LeastSquares(),
        candidates=candidates.least_squares,
    ),
    "dmmse": Learner(
        "the posterior mean over a pool of tasks, with noise; Raventos et al. 2023", candidates=candidates.discrete_mmse
    ),
    "bayes_optimal": Learner("the mean of the posterior of linear tasks", candidates=candidates.bayes_optimal),
    "newton": Learner("least squares by Newton's iteration for the inverse", candidates=candidates.newton),
    "gd": Learner(
        "steps of gradient descent on half the summed squared error; [vO] equation 4",
        reference=references.gradient_descent,
        candidates=candidates.gradient_descent,
        first_steps=candidates.first_steps_of_gradient_descent,
    ),
    "gd_plus_plus": Learner(
        "gradient steps on the targets, each beside a step on the inputs; [vO] section 3",
        reference=references.gd_plus_plus,
        of_steps=candidates.gd_plus_plus,
        first_steps=candidates.first_steps_of_gd_plus_plus,
    ),
    "gd_momentum": Learner(
        "gradient steps of which each goes on a little as the one before did; Polyak 1964",
        reference=references.gd_momentum,
        of_steps=candidates.gd_momentum,
        first_steps=candidates.first_steps_of_gd_momentum,
    ),
    "preconditioned_gd": Learner(
        "gradient steps that a fixed matrix, the same for all tasks, transforms", of_steps=candidates.preconditioned
    ),
    "mlp_gd": Learner(
        "a gradient step of the output weights of a trained network; [vO] appendix A.7",
        reference=references.feature_gradient_descent,
    ),
}


def candidate_learners(batch: RegressionBatch, depth: int, task: RegressionTask) -> Candidates:
    """Fit the candidates of all learners for a model of ``depth`` layers.

    First those that are no steps of a number up to ``depth``, with fewest parameters first; then for every k up to
    ``depth`` those of k steps; then, for the layers before the last, the first k of the best ``depth`` steps, such as
    ``gd(1 of 2)``.

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
        >>> from iclgd.data import LinearRegressionTask
        >>> task = LinearRegressionTask(num_context=4, input_dim=2)
        >>> found = candidate_learners(task.sample(100, torch.Generator().manual_seed(0)), 1, task)
        >>> [name for name in found if name.startswith("gd")]
        ['gd(1)', 'gd(2)', 'gd_plus_plus(1)']
    """
    if depth < 1:
        raise ValueError(f"depth must be at least 1, got {depth}")
    fit = Fit(batch, depth, task)
    whole: Candidates = {}
    for learner in LEARNERS.values():
        whole |= learner.candidates(fit)
    found = dict(sorted(whole.items(), key=lambda item: item[1].num_parameters))
    for k in range(1, depth + 1):
        for learner in LEARNERS.values():
            found |= learner.of_steps(fit, k) if learner.of_steps is not None else {}
    fit = replace(fit, found=dict(found))
    for k in range(1, depth):
        for learner in LEARNERS.values():
            found |= learner.first_steps(fit, k) if learner.first_steps is not None else {}
    return found


def make_references(setting: Setting) -> tuple[dict[str, nn.Module], dict[str, float]]:
    """Return the references of one seed, and the numbers that were chosen for them by their summary names.

    Raises:
        InputError: if the task names a learner that is no reference, or has none here.
    """
    modules: dict[str, nn.Module] = {}
    chosen: dict[str, float] = {}
    for name in setting.task.references:
        learner = LEARNERS.get(name)
        if learner is None or learner.reference is None:
            known = ", ".join(name for name, each in LEARNERS.items() if each.reference is not None)
            raise InputError(f"references of task.name={setting.task.name} must be of: {known}; got {name!r}")
        if (reference := learner.reference(setting)) is not None:
            modules[name] = reference.module
            chosen |= reference.chosen
    if not modules:
        raise InputError(f"task.name={setting.task.name} needs a reference that is defined for this model")
    return modules, chosen


def make_baselines(setting: Setting) -> dict[str, Predictor]:
    """Return the predictors that only the last evaluation adds, by name."""
    made = {name: each.baseline(setting) for name, each in LEARNERS.items() if each.baseline is not None}
    return {name: predictor for name, predictor in made.items() if predictor is not None}
