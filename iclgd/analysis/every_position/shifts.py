"""Errors at every position on prompts unlike those of training; Garg et al. 2022, section 4 and appendix B."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from iclgd.analysis.every_position.answers import predictions
from iclgd.analysis.every_position.optimal import RIDGE, optimal_learners
from iclgd.analysis.every_position.subject import MODEL, FunctionSubject
from iclgd.analysis.resampling import mean_intervals, resample
from iclgd.data.functions import FunctionTask
from iclgd.data.seeding import named_generator
from iclgd.models.every_position import Averaging, EveryPositionLearner
from iclgd.models.learners import LeastSquares

SCALES = {"1/3": 1 / 3, "1/2": 1 / 2, "2": 2.0, "3": 3.0}  # as published


@dataclass(frozen=True)
class Shift:
    """Keys of a function class that differ from training.

    Args:
        description: one line.
        changes: the keys with their values.
        factors: keys that are multiplied, with by what.
        num_positions: at how many positions it is defined, for inputs of so many dimensions; ``None`` for all.
    """

    description: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    factors: Mapping[str, float] = field(default_factory=dict)
    num_positions: Callable[[int], int] | None = None

    def apply(self, task: FunctionTask) -> FunctionTask:
        """Return the class under the shift, with new functions in every prompt."""
        multiplied = {key: factor * getattr(task, key) for key, factor in self.factors.items()}
        return replace(task, num_tasks=0, **self.changes, **multiplied)


def _scaled(key: str, what: str) -> dict[str, Shift]:
    name = key.removesuffix("_scale")
    return {
        f"{name}_times_{text}": Shift(f"{what} times {text}", factors={key: scale}) for text, scale in SCALES.items()
    }


SHIFTS: dict[str, Shift] = {
    "none": Shift("new functions, and all else as in training"),
    "skewed": Shift("inputs with standard deviations as 1, 1/2, 1/3, ...", {"input_covariance": "skewed"}),
    "half_subspace": Shift("inputs in half of the dimensions", {"input_covariance": "half_subspace"}),
    "orthogonal": Shift("queries orthogonal to all examples", {"query": "orthogonal"}, num_positions=lambda dim: dim),
    "overlapping": Shift("queries among the examples", {"query": "overlapping"}),
    "random_quadrants": Shift("examples in one quadrant, queries in any", {"query": "random_quadrants"}),
    "opposite_quadrants": Shift("queries in the quadrant opposite to the examples'", {"query": "opposite_quadrants"}),
    **_scaled("input_scale", "inputs"),
    **_scaled("weight_scale", "weights"),
    "noise": Shift("targets with as much noise as 1, scaled back", {"noise_std": 1.0, "renormalize": True}),
}


def baselines(task: FunctionTask) -> dict[str, EveryPositionLearner]:
    """Return the learners that models are shown beside: the best for the shifted class first, where it has noise."""
    best = {name: learner for name, learner in optimal_learners(task).items() if name == RIDGE}
    return best | {"least_squares": LeastSquares(), "averaging": Averaging()}


def function_shifts(
    subject: FunctionSubject, names: Sequence[str], num_prompts: int, num_resamples: int
) -> dict[str, Any]:
    """Return errors of a model and of baselines under shifts.

    Args:
        subject: of linear functions.
        names: of ``SHIFTS``.
        num_prompts: for each; all see the same random numbers.
        num_resamples: of them, for the intervals.

    Returns:
        For each shift ``positions``, ``zero``, the error of predicting 0, and ``errors`` of each learner: squared
        differences to the targets over their mean square in training, as published; ``mean``, ``low`` and ``high`` for
        every position. A shift that is not defined at late positions has fewer.

    Raises:
        ValueError: for an unknown shift.
    """
    record: dict[str, Any] = {}
    shares = resample(num_prompts, num_resamples, named_generator(subject.seed, "resamples"))
    for name in names:
        if name not in SHIFTS:
            raise ValueError(f"shift must be one of: {', '.join(SHIFTS)}; got {name!r}")
        shift = SHIFTS[name]
        task = shift.apply(subject.task)
        batch = task.sample(num_prompts, named_generator(subject.seed, "function_shifts"))
        most = task.num_points if shift.num_positions is None else shift.num_positions(task.input_dim)
        positions = torch.arange(min(task.num_points, most))
        target = batch.target.double()
        learners = {MODEL: subject.model, **baselines(task)}
        squares = {key: (predictions(learner, batch) - target).square() for key, learner in learners.items()}
        record[name] = {
            "positions": positions.tolist(),
            "zero": (target.square()[:, positions].mean() / task.mean_square).item(),
            "errors": {
                key: mean_intervals(values[:, positions] / task.mean_square, shares) for key, values in squares.items()
            },
        }
    return record
