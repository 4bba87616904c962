"""Errors at every position of a prompt: mean and spread over prompts, and the bootstrap of Garg et al. 2022.

For means over queries with an interval that needs no second pass see :mod:`iclgd.metrics.bootstrap`.
"""

from typing import NamedTuple

import torch
from torch import Tensor

TAILS = (0.05, 0.95)


class PositionSummary(NamedTuple):
    """Statistics over prompts, each (N,) in double precision.

    Example:
        >>> errors, drawn = torch.tensor([[4.0], [6.0]]), torch.tensor([[0, 1], [0, 0]])
        >>> summarize_positions(errors, drawn).mean
        tensor([5.], dtype=torch.float64)
    """

    mean: Tensor
    std: Tensor
    low: Tensor
    high: Tensor


def draw_prompts(num_trials: int, num_prompts: int, generator: torch.Generator) -> Tensor:
    """Draw the prompts of every bootstrap trial, with replacement, (T, B).

    Example:
        >>> draw_prompts(5, 3, torch.Generator()).shape
        torch.Size([5, 3])
    """
    return torch.randint(num_prompts, (num_trials, num_prompts), generator=generator, device=generator.device)


def summarize_positions(errors: Tensor, drawn: Tensor, divisor: float = 1.0) -> PositionSummary:
    """Return mean, standard deviation and the bootstrap's 90% interval of the mean at every position.

    As published: the deviation is the unbiased one, the interval's ends are sorted trials number ``int(0.05 T)`` and
    ``int(0.95 T)``, counted from 0, and figures divide all of them, deviations too, by the mean square of the targets.

    Args:
        errors: of B prompts at N positions, (B, N).
        drawn: the prompts of T trials, (T, B); see :func:`draw_prompts`.
        divisor: what everything is divided by, such as ``FunctionTask.mean_square``.

    Raises:
        ValueError: for shapes that do not fit, or fewer than two prompts.

    Example:
        >>> errors = torch.tensor([[4.0, 1.0], [6.0, 1.0]])
        >>> summary = summarize_positions(errors, draw_prompts(100, 2, torch.Generator().manual_seed(0)), divisor=2.0)
        >>> [tensor.tolist() for tensor in summary]
        [[2.5, 0.5], [0.7071067811865476, 0.0], [2.0, 0.5], [3.0, 0.5]]
    """
    if errors.ndim != 2 or len(errors) < 2 or drawn.ndim != 2 or drawn.shape[1] != len(errors) or not len(drawn):
        raise ValueError(
            "errors and drawn must have the shapes (B, N) and (T, B) with B at least 2 and T at least 1, got "
            f"{tuple(errors.shape)} and {tuple(drawn.shape)}"
        )
    values = errors.double() / divisor
    # How often each trial has each prompt: all means of all trials are one product.
    counts = torch.zeros(drawn.shape, dtype=values.dtype, device=values.device)
    counts.scatter_add_(1, drawn, torch.ones_like(counts))
    trials = (counts @ values / len(values)).sort(0).values
    low, high = (trials[int(tail * len(trials))] for tail in TAILS)
    return PositionSummary(values.mean(0), values.std(0), low, high)
