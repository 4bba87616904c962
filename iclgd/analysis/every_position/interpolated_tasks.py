r"""Does a model know but the tasks of its training? Errors on tasks between two; Raventós et al. 2023, equation 5.

.. math:: w_\alpha = \frac{|w_i| + |w_j|}{2} \frac{v}{|v|}, \quad v = \alpha w_i + (1 - \alpha) w_j
"""

from typing import Any

import torch
from torch import Tensor

from iclgd.analysis.every_position.optimal import optimal_learners
from iclgd.analysis.every_position.subject import FunctionSubject
from iclgd.analysis.every_position.task_diversity import measure
from iclgd.analysis.resampling import mean_intervals, resample
from iclgd.data.functions import LinearFunctions
from iclgd.data.functions.batch import FunctionBatch
from iclgd.data.seeding import named_generator

SHARES = tuple(step / 10 for step in range(11))  # alpha


def interpolate(first: Tensor, second: Tensor, share: float) -> Tensor:
    """Return tasks between two, with their mean norm; equation 5.

    Args:
        first: weights, (B, D).
        second: likewise.
        share: alpha, of the first.

    Example:
        >>> interpolate(torch.tensor([[3.0, 0.0]]), torch.tensor([[0.0, 1.0]]), 1.0)
        tensor([[2., 0.]])
    """
    mixed = share * first + (1 - share) * second
    norm, other, own = (torch.linalg.vector_norm(each, dim=-1, keepdim=True) for each in (first, second, mixed))
    interpolated: Tensor = (norm + other) / 2 * mixed / own
    return interpolated


def interpolated_tasks(subject: FunctionSubject, num_prompts: int, num_resamples: int) -> dict[str, Any]:
    """Return errors on tasks between two of the pool.

    Every share sees the same pairs of tasks, inputs and noise, so that differences along the curve are those of tasks.

    Args:
        subject: of linear functions with noise, from a pool of at least two.
        num_prompts: for each share; each has a pair of tasks.
        num_resamples: of them, for the intervals.

    Returns:
        ``shares``, alpha, and ``errors`` of the model, ``ridge`` and ``dmmse``: mean squared differences to the
        function's value without noise, over the dimensions of an input and all positions; ``mean``, ``low`` and
        ``high`` for every share.
    """
    task, generator = subject.task, named_generator(subject.seed, "interpolated_tasks")
    pool = task.pool()
    assert isinstance(pool, LinearFunctions)
    batch = task.sample(num_prompts, generator)
    noise = batch.y - batch.functions(batch.x)
    first = torch.randint(task.num_tasks, (num_prompts,), generator=generator)
    other = torch.randint(1, task.num_tasks, (num_prompts,), generator=generator)
    pairs = (pool.weight[first], pool.weight[(first + other) % task.num_tasks])  # never the same one twice
    resampled = resample(num_prompts, num_resamples, named_generator(subject.seed, "resamples"))
    learners = optimal_learners(task)
    errors: dict[str, list[Tensor]] = {}
    for share in SHARES:
        prompts = _prompts(batch, LinearFunctions(interpolate(*pairs, share)), noise)
        for name, values in measure(subject.model, learners, prompts).errors.items():
            errors.setdefault(name, []).append(values.mean(1))
    return {
        "shares": list(SHARES),
        "errors": {name: mean_intervals(torch.stack(values, 1), resampled) for name, values in errors.items()},
    }


def _prompts(batch: FunctionBatch, functions: LinearFunctions, noise: Tensor) -> FunctionBatch:
    """Return prompts of other functions with the same inputs and noise."""
    values = functions(batch.x)
    return FunctionBatch(batch.x, values + noise, batch.x, values + noise, values, functions)
