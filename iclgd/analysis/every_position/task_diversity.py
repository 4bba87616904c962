"""Is a model a Bayesian over the tasks it was trained on, or over all? Raventós et al. 2023, figures 2 to 4.

Trained on M tasks a model may predict as the posterior mean over those, dMMSE, or as ridge regression, which is that
over all Gaussian tasks. On tasks that it was trained on dMMSE is best, on new ones ridge; with few tasks models are
near the first, with many near the second.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import Tensor

from iclgd.analysis.every_position.answers import predictions
from iclgd.analysis.every_position.optimal import DMMSE, RIDGE
from iclgd.analysis.every_position.subject import MODEL
from iclgd.analysis.resampling import mean_intervals, resample
from iclgd.data.functions import FunctionBatch
from iclgd.data.seeding import named_generator
from iclgd.models.every_position import EveryPositionLearner

DIFFERENCE = "difference"  # of the distance to dMMSE less that to ridge: above 0 a model is nearer to ridge


class Measured(NamedTuple):
    """Squared errors and distances at every position, (B, N) each, over the dimensions of an input."""

    errors: dict[str, Tensor]  # to the function's value without noise, by learner
    distances: dict[str, Tensor]  # of the model, by learner, and ``difference``


def measure(
    model: EveryPositionLearner, learners: Mapping[str, EveryPositionLearner], batch: FunctionBatch
) -> Measured:
    """Compare a model with the optimal learners on prompts.

    Args:
        model: any.
        learners: ``ridge`` and ``dmmse``.
        batch: the prompts.
    """
    dim, truth = batch.x.shape[2], batch.noiseless.double()
    predicted = {name: predictions(learner, batch) for name, learner in {MODEL: model, **learners}.items()}
    errors = {name: (each - truth).square() / dim for name, each in predicted.items()}
    distances = {name: (predicted[MODEL] - predicted[name]).square() / dim for name in learners}
    return Measured(errors, distances | {DIFFERENCE: distances[DMMSE] - distances[RIDGE]})


def task_diversity(
    model: EveryPositionLearner,
    learners: Mapping[str, EveryPositionLearner],
    batches: Mapping[str, FunctionBatch],
    seed: int,
    num_resamples: int,
) -> dict[str, Any]:
    """Compare a model with ridge and dMMSE, on tasks of the pool and on new ones.

    Args:
        model: which.
        learners: ``ridge`` and ``dmmse``, those of the task that it was trained on.
        batches: prompts of each kind of task, by the beginning of names.
        seed: of the resamples.
        num_resamples: of the prompts, for the intervals.

    Returns:
        In ``of_tasks`` for each kind of task its ``prefix``, the ``errors`` of the model, ``ridge`` and ``dmmse``, and
        the model's ``distances`` to the latter two and their ``difference``: mean squared differences over the
        dimensions of an input. Each has ``mean``, ``low`` and ``high`` for every position, and ``all_positions`` the
        same for their mean.
    """
    of_tasks = []
    for prefix, batch in batches.items():
        measured = measure(model, learners, batch)
        shares = resample(len(batch.y), num_resamples, named_generator(seed, f"{prefix}resamples"))
        kinds = {
            kind: {name: _intervals(values, shares) for name, values in found.items()}
            for kind, found in measured._asdict().items()
        }
        of_tasks.append({"prefix": prefix, **kinds})
    return {"num_resamples": num_resamples, "of_tasks": of_tasks}


def distances_of(record: dict[str, Any]) -> dict[str, float]:
    """Return the distances over all positions for the summary of a run.

    Returns:
        ``distance/ridge``, ``distance/dmmse`` and ``distance/difference``, each with ``_low`` and ``_high``; those on
        new functions begin with ``new_functions/``.

    Example:
        >>> ends = {"all_positions": {"mean": [2.0], "low": [1.0], "high": [3.0]}}
        >>> distances_of({"of_tasks": [{"prefix": "", "distances": {"ridge": ends}}]})
        {'distance/ridge': 2.0, 'distance/ridge_low': 1.0, 'distance/ridge_high': 3.0}
    """
    numbers: dict[str, float] = {}
    for found in record["of_tasks"]:
        for learner, values in found["distances"].items():
            name, ends = f"{found['prefix']}distance/{learner}", values["all_positions"]
            numbers |= {name: ends["mean"][0], f"{name}_low": ends["low"][0], f"{name}_high": ends["high"][0]}
    return numbers


def _intervals(values: Tensor, shares: Tensor) -> dict[str, Any]:
    whole = mean_intervals(values.mean(1, keepdim=True), shares)
    return {**mean_intervals(values, shares), "all_positions": whole}
