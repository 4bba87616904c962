"""Regression tasks: each samples contexts, queries and the answers that a learner should give.

Shapes: B tasks, N context points, D inputs, O outputs. Every tensor's *memory* holds the task index last
(contiguous): the models multiply and add small vectors of many tasks at once, which is several times faster over
contiguous tasks than as thousands of tiny matrix products.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from iclgd import checks


class RegressionBatch(NamedTuple):
    """B in-context regression problems."""

    x: Tensor  # (B, N, D)
    y: Tensor  # (B, N, O)
    query: Tensor  # (B, D)
    target: Tensor  # (B, O)

    def shard(self, index: int, num_shards: int) -> "RegressionBatch":
        """Return the ``index``-th of ``num_shards`` equal consecutive parts of the tasks."""
        size = len(self.target) // num_shards
        return RegressionBatch(*(tensor[index * size : (index + 1) * size] for tensor in self))


@dataclass(frozen=True)
class LinearRegressionTask:
    """Noise-free linear regression, the task of [vO] section 2.

    ``y = W x`` with ``x ~ U(-input_range/2, input_range/2)`` and ``W ~ N(0, weight_scale^2)``, drawn anew for each
    task. ``num_noise`` randomly chosen context targets are replaced by ``N(0, 1)``.

    Raises:
        ValueError: if a count or a scale is out of its range.
    """

    name: str = "linear"
    num_context: int = 10
    input_dim: int = 10
    output_dim: int = 1
    input_range: float = 1.0  # width of the interval: [-0.5, 0.5], as in [vO]'s code
    weight_scale: float = 1.0
    num_noise: int = 0

    def __post_init__(self) -> None:
        checks.at_least(1, "task", self, "num_context", "input_dim", "output_dim")
        checks.positive("task", self, "input_range", "weight_scale")
        if not 0 <= self.num_noise <= self.num_context:
            raise ValueError(
                f"task.num_noise must be from 0 to task.num_context ({self.num_context}), got {self.num_noise}"
            )

    def sample(self, num_tasks: int, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> RegressionBatch:
        """Draw ``num_tasks`` tasks on the generator's device.

        Example:
            >>> batch = LinearRegressionTask(num_context=4, input_dim=3).sample(2, torch.Generator())
            >>> [tuple(tensor.shape) for tensor in batch]
            [(2, 4, 3), (2, 4, 1), (2, 3), (2, 1)]
        """
        num_points, dim, outputs = self.num_context, self.input_dim, self.output_dim
        options = {"generator": generator, "dtype": dtype, "device": generator.device}
        x = _uniform((num_points, dim, num_tasks), self.input_range, generator, dtype)
        query = _uniform((dim, num_tasks), self.input_range, generator, dtype)
        weight = torch.randn(outputs, dim, num_tasks, **options).mul_(self.weight_scale)  # type: ignore[call-overload]
        y = (x[:, None] * weight).sum(2)  # (N, O, B)
        target = (query * weight).sum(1)  # (O, B)
        if self.num_noise:
            noise = torch.randn(self.num_noise, outputs, num_tasks, **options)  # type: ignore[call-overload]
            order = torch.rand(num_points, 1, num_tasks, **options).argsort(0)  # type: ignore[call-overload]
            y.scatter_(0, order[: self.num_noise].expand_as(noise), noise)
        return RegressionBatch(x.permute(2, 0, 1), y.permute(2, 0, 1), query.T, target.T)


def _uniform(shape: tuple[int, ...], width: float, generator: torch.Generator, dtype: torch.dtype) -> Tensor:
    """Draw from U(-width/2, width/2) with every bit of the significand random."""
    # The integers behind torch.rand, drawn directly: the same distribution in 2/3 of the time.
    bits = 53 if dtype == torch.float64 else 24
    half = 1 << (bits - 1)
    integers = torch.empty(shape, dtype=dtype, device=generator.device).random_(-half, half, generator=generator)
    return integers.mul_(width / (2 * half))
