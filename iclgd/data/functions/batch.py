"""Prompts that ask at every position, and the one question of each that learners of single queries are asked."""

from collections.abc import Callable
from typing import NamedTuple, Self

import torch
from torch import Tensor

from iclgd.data.functions.drawn import Functions
from iclgd.data.regression import RegressionBatch


class FunctionBatch(NamedTuple):
    """B prompts of N points: at position i, counted from 0, examples 0 to i - 1 are seen and ``query[:, i]`` is asked.

    Where the queries have the distribution of the examples they are the examples: ``query`` is ``x``, and ``target``
    is ``y``. In memory the prompts come first, as for a transformer over tokens.

    Example:
        >>> import torch
        >>> from iclgd.data.functions import LinearFunctionTask
        >>> batch = LinearFunctionTask(num_points=6, input_dim=3).sample(5, torch.Generator())
        >>> [tuple(tensor.shape) for tensor in (batch.x, batch.y, batch.functions.weight)]
        [(5, 6, 3), (5, 6), (5, 3)]
        >>> [tuple(tensor.shape) for tensor in batch.at(4)]
        [(5, 4, 3), (5, 4, 1), (5, 3), (5, 1)]
    """

    x: Tensor  # (B, N, D)
    y: Tensor  # (B, N), with noise if the task has any
    query: Tensor  # (B, N, D)
    target: Tensor  # (B, N), with noise if the task has any
    noiseless: Tensor  # (B, N), the function's value at the query
    functions: Functions

    def at(self, position: int) -> RegressionBatch:
        """Return what is asked at one position, from 1 to N - 1: the regression problem with that many examples.

        Raises:
            ValueError: for a position without examples, or beyond the prompt.
        """
        num_points = self.y.shape[1]
        if not 1 <= position < num_points:
            raise ValueError(f"position must be from 1 to {num_points - 1} (points of a prompt - 1), got {position}")
        asked = RegressionBatch(
            self.x[:, :position], self.y[:, :position, None], self.query[:, position], self.target[:, position, None]
        )
        return RegressionBatch(*(_tasks_last(tensor) for tensor in asked))

    def part(self, index: slice) -> Self:
        """Return some of the prompts."""
        prompts = torch.arange(len(self.y), device=self.y.device)[index]
        return self._with(lambda tensor: tensor[index], self.functions.select(prompts))

    def to(self, device: torch.device) -> Self:
        """Return the prompts on a device."""
        return self._with(lambda tensor: tensor.to(device), self.functions.to(device, self.y.dtype))

    def _with(self, change: Callable[[Tensor], Tensor], functions: Functions) -> Self:
        """Return the prompts changed; what is the same tensor stays the same tensor."""
        x, y = change(self.x), change(self.y)
        query = x if self.query is self.x else change(self.query)
        target = y if self.target is self.y else change(self.target)
        noiseless = target if self.noiseless is self.target else change(self.noiseless)
        return self._replace(x=x, y=y, query=query, target=target, noiseless=noiseless, functions=functions)


def _tasks_last(tensor: Tensor) -> Tensor:
    """Return a copy whose memory holds the first axis last, as models of single queries want it."""
    return tensor.movedim(0, -1).contiguous().movedim(-1, 0)
