"""Is a model a Bayesian over the tasks it was trained on, or over all? Raventós et al. 2023, figures 2 to 4.

Trained on M tasks a model may predict as the posterior mean over those, dMMSE, or as ridge regression, which is that
over all Gaussian tasks. On tasks that it was trained on dMMSE is best, on new ones ridge; with few tasks models are near
the first, with many near the second.
"""

from dataclasses import replace
from typing import Any, NamedTuple

from torch import Tensor

from iclgd.analysis.every_position.answers import predictions
from iclgd.analysis.every_position.optimal import DMMSE, RIDGE, optimal_learners
from iclgd.analysis.every_position.subject import MODEL, FunctionSubject
from iclgd.analysis.resampling import mean_intervals, resample
from iclgd.data.functions import FunctionBatch, FunctionTask
from iclgd.data.seeding import named_generator
from iclgd.models.every_position import EveryPositionLearner

PRETRAINING, LATENT = "pretraining", "latent"  # tasks of the pool, and new ones
DIFFERENCE = "difference"  # of the distance to dMMSE less that to ridge: above 0 a model is nearer to ridge


class Measured(NamedTuple):
    """Squared errors and distances at every position, (B, N) each, over the dimensions of an input."""

    errors: dict[str, Tensor]  # to the function's value without noise, by learner
    distances: dict[str, Tensor]  # of the model, by learner, and ``difference``


def measure(model: EveryPositionLearner, learners: dict[str, EveryPositionLearner], batch: FunctionBatch) -> Measured:
    """Compare a model with the optimal learners on prompts.

    Args:
        model: any.
        learners: ``ridge`` and ``dmmse``.
        batch: the prompts.
    """
    dim, truth = batch.x.shape[2], batch.noiseless.double()
    predicted = {name: predictions(learner, batch) for name, learner in ({MODEL: model} | learners).items()}
    errors = {name: (each - truth).square() / dim for name, each in predicted.items()}
    distances = {name: (predicted[MODEL] - predicted[name]).square() / dim for name in learners}
    return Measured(errors, distances | {DIFFERENCE: distances[DMMSE] - distances[RIDGE]})


def populations(task: FunctionTask) -> dict[str, FunctionTask]:
    """Return the task with its pool, and the one whose functions are all new."""
    return {PRETRAINING: task, LATENT: replace(task, num_tasks=0)}


def task_diversity(subject: FunctionSubject, num_prompts: int, num_resamples: int) -> dict[str, Any]:
    """Compare a model with ridge and dMMSE, on tasks of the pool and on new ones.

    Args:
        subject: of linear functions with noise, from a pool.
        num_prompts: of each kind.
        num_resamples: of them, for the intervals.

    Returns:
        For each of ``pretraining`` and ``latent`` the ``errors`` of the model, ``ridge`` and ``dmmse``, and the model's
        ``distances`` to the latter two and their ``difference``: mean squared differences over the dimensions of an
        input. Each has ``mean``, ``low`` and ``high`` for every position, and under ``all_positions`` one for their
        mean.
    """
    learners = optimal_learners(subject.task)
    record: dict[str, Any] = {"num_tasks": subject.task.num_tasks}
    for name, task in populations(subject.task).items():
        generator = named_generator(subject.seed, f"task_diversity/{name}")
        measured = measure(subject.model, learners, task.sample(num_prompts, generator))
        shares = resample(num_prompts, num_resamples, named_generator(subject.seed, "resamples"))
        record[name] = {
            kind: {learner: _intervals(values, shares) for learner, values in found.items()}
            for kind, found in measured._asdict().items()
        }
    return record


def summary_numbers(record: dict[str, Any]) -> dict[str, float]:
    """Return the means over positions with their intervals, for the summary of a run.

    Example:
        >>> ends = {"mean": [2.0], "low": [1.0], "high": [3.0]}
        >>> record = {name: {"errors": {"ridge": {"all_positions": ends}}, "distances": {}} for name in populations(None)}
        Traceback (most recent call last):
        ...
        TypeError: replace() should be called on dataclass instances
    """
    numbers: dict[str, float] = {}
    for name in (PRETRAINING, LATENT):
        for kind, prefix in (("errors", "error/"), ("distances", "distance/")):
            for learner, found in record[name][kind].items():
                full_name = f"{prefix}{learner}/{name}"
                for end, suffix in (("mean", ""), ("low", "_low"), ("high", "_high")):
                    numbers[f"{full_name}{suffix}"] = found["all_positions"][end][0]
    return numbers


def _intervals(values: Tensor, shares: Tensor) -> dict[str, Any]:
    whole = mean_intervals(values.mean(1, keepdim=True), shares)
    return {**mean_intervals(values, shares), "all_positions": whole}
