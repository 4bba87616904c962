"""Which algorithm has a model learned that answers at every position? One learner for all positions together."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from iclgd.analysis.algorithms import Answers, compared
from iclgd.analysis.candidates import Candidate
from iclgd.analysis.every_position.answers import answer_at_positions
from iclgd.analysis.learners import candidate_learners
from iclgd.data.functions import FunctionBatch, FunctionTask, at_position
from iclgd.data.seeding import named_generator
from iclgd.models import Predictor
from iclgd.models.every_position import EveryPositionLearner

MOST_POSITIONS = 8


def spread_positions(task: FunctionTask, most: int = MOST_POSITIONS) -> list[int]:
    """Return positions from the first with an example to the last, evenly.

    Example:
        >>> from iclgd.data.functions import LinearFunctionTask
        >>> spread_positions(LinearFunctionTask(num_points=41)), spread_positions(LinearFunctionTask(num_points=4))
        ([1, 7, 12, 18, 23, 29, 34, 40], [1, 2, 3])
    """
    last = task.num_points - 1
    number = min(most, last)
    return [round(1 + index * (last - 1) / max(1, number - 1)) for index in range(number)]


def compare_at_positions(
    model: Predictor,
    task: FunctionTask,
    positions: Sequence[int],
    seed: int,
    *,
    num_prompts: int,
    num_resamples: int,
    dtype: torch.dtype,
    depth: int = 1,
    more: Mapping[str, Candidate] | None = None,
) -> dict[str, Any]:
    """Compare a model with textbook learners at several positions of the same prompts.

    Learners that have something to fit are fitted at each position by itself, and have as many parameters as that takes
    at one. A prompt's distance is its mean over positions, so that intervals are over prompts.

    Args:
        model: any learner at every position, or any other predictor.
        task: what it has learned.
        positions: at which it is asked, from 1 to the points of a prompt - 1.
        seed: of prompts and resamples.
        num_prompts: to fit the learners on, and as many to compare on.
        num_resamples: as in :func:`iclgd.analysis.algorithms.nearest_algorithm`.
        dtype: of the prompts.
        depth: up to how many steps the learners have.
        more: candidates beside those of ``LEARNERS``, or in their place.

    Returns:
        As :func:`iclgd.analysis.algorithms.algorithms_by_layer`, with ``positions`` in the one verdict.
    """
    generator = named_generator(seed, "which_algorithm")
    fitted_on, compared_on = (task.sample(num_prompts, generator, dtype) for _ in range(2))
    by_position = [
        candidate_learners(fitted_on.at(position), depth, at_position(task, position)) | dict(more or {})
        for position in positions
    ]
    names = [name for name in by_position[0] if all(name in found for found in by_position)]
    answers = {
        name: _answers([found[name].predictor for found in by_position], compared_on, positions) for name in names
    }
    candidates = {name: by_position[0][name] for name in names}
    asked = answer_at_positions(model, compared_on, positions)
    rows, verdict = compared(asked, candidates, answers, 1, num_resamples, generator)
    return {"rows": rows, "verdicts": [{**verdict, "positions": list(positions)}]}


def _answers(predictors: Sequence[Predictor], batch: FunctionBatch, positions: Sequence[int]) -> Answers:
    """Return the answers of a learner that was fitted at each position."""
    if isinstance(predictors[0], EveryPositionLearner) or all(each is predictors[0] for each in predictors):
        return answer_at_positions(predictors[0], batch, positions)
    asked = [answer_at_positions(each, batch, [at]) for each, at in zip(predictors, positions, strict=True)]
    return Answers(*(torch.cat(tensors, 1) for tensors in zip(*asked, strict=True)))
