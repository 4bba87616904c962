"""Regression tasks: each samples contexts, queries and the answers that a learner should give.

Shapes: B tasks, N context points, D inputs, O outputs. Every tensor's *memory* holds the task index last
(contiguous): the models multiply and add small vectors of many tasks at once, which is several times faster over
contiguous tasks than as thousands of tiny matrix products.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from iclgd import checks
from iclgd.data.covariance import COVARIANCES, square_root
from iclgd.data.covariates import DISTRIBUTIONS, draw_covariates

SCALES = (1e-6, 1e6)  # the fourth power of inputs is computed with, in single precision


class RegressionBatch(NamedTuple):
    """B in-context regression problems.

    Example:
        >>> batch = LinearRegressionTask(input_dim=2).sample(6, torch.Generator())
        >>> [tuple(tensor.shape) for tensor in batch.shard(0, 3)]
        [(2, 10, 2), (2, 10, 1), (2, 2), (2, 1)]
    """

    x: Tensor  # (B, N, D)
    y: Tensor  # (B, N, O)
    query: Tensor  # (B, D)
    target: Tensor  # (B, O)

    def shard(self, index: int, num_shards: int) -> "RegressionBatch":
        """Return the ``index``-th of ``num_shards`` equal consecutive parts of the tasks."""
        size = len(self.target) // num_shards
        return RegressionBatch(*(tensor[index * size : (index + 1) * size] for tensor in self))


@dataclass(frozen=True)
class RegressionTask(ABC):
    """What all regression tasks share: the keys that models and shifts read, and noise in the context.

    ``num_noise`` randomly chosen context targets are replaced by ``N(0, 1)``. ``references`` are the learners (of
    ``iclgd.analysis.learners.LEARNERS``) with which every evaluation compares a transformer; alignment to the first
    has the plain names.

    Raises:
        ValueError: if a count or a scale is out of its range.

    Example:
        >>> class Zero(RegressionTask):
        ...     def sample(self, num_tasks, generator, dtype=torch.float32):
        ...         x = torch.rand(num_tasks, self.num_context, self.input_dim, generator=generator)
        ...         y = torch.zeros(num_tasks, self.num_context, self.output_dim)
        ...         return RegressionBatch(x.to(dtype), y.to(dtype), x[:, 0].to(dtype), y[:, 0].to(dtype))
        >>> Zero("zero").sample(5, torch.Generator()).target.shape
        torch.Size([5, 1])
    """

    references: ClassVar[tuple[str, ...]] = ("gd", "gd_plus_plus", "gd_momentum")

    name: str
    """Which task."""
    num_context: int = 10
    """Examples in the context."""
    input_dim: int = 10
    """Dimensions of an input."""
    output_dim: int = 1
    """Dimensions of a target."""
    input_range: float = 1.0
    """Width of the interval from which inputs come, around 0."""
    weight_scale: float = 1.0
    """Scale of a task's weights."""
    num_noise: int = 0
    """Context targets, chosen at random, that are replaced by standard normal noise."""

    def __post_init__(self) -> None:
        checks.at_least(1, "task", self, "num_context", "input_dim", "output_dim")
        checks.positive("task", self, "input_range", "weight_scale", between=SCALES)
        if not 0 <= self.num_noise <= self.num_context:
            raise ValueError(
                f"task.num_noise must be from 0 to task.num_context ({self.num_context}), got {self.num_noise}"
            )

    @abstractmethod
    def sample(self, num_tasks: int, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> RegressionBatch:
        """Draw ``num_tasks`` tasks on the generator's device.

        Random numbers are drawn in single precision and then converted, so that the tasks are the same in single and
        double precision; targets are computed from them in ``dtype``.
        """

    def _add_noise(self, y: Tensor, generator: torch.Generator) -> None:
        """Replace ``num_noise`` of the context targets of each task, (N, O, B), in place."""
        if not self.num_noise:
            return
        num_points, outputs, num_tasks = y.shape
        options = {"generator": generator, "dtype": torch.float32, "device": y.device}
        noise = torch.randn(self.num_noise, outputs, num_tasks, **options).to(y.dtype)  # type: ignore[call-overload]
        order = torch.rand(num_points, 1, num_tasks, **options).argsort(0)  # type: ignore[call-overload]
        y.scatter_(0, order[: self.num_noise].expand_as(noise), noise)


@dataclass(frozen=True)
class LinearRegressionTask(RegressionTask):
    """Noise-free linear regression, the task of [vO] section 2.

    ``y = W x`` with ``x ~ U(-input_range/2, input_range/2)`` and ``W ~ N(0, weight_scale^2)``, drawn anew for each
    task. ``num_noise`` randomly chosen context targets are replaced by ``N(0, 1)``.

    x and query may have another ``distribution`` (see ``covariates.py``), and are multiplied by the square root of a
    fixed covariance of trace D (see ``covariance.py``). ``normalize`` comes last: it divides a task's context and query
    by the context's Frobenius norm and multiplies them by ``input_range``. With ``distribution="mixture"`` this is
    ``create_ood_data`` of [vO]'s code (their appendix A.2 does not mention the norm).

    Raises:
        ValueError: for an unknown name, or if a value is out of its range.
    """

    name: str = "linear"
    input_range: float = 1.0
    """Width of the interval from which inputs come, around 0; 1 as in [vO]'s code."""
    distribution: str = "uniform"
    """Distribution of the inputs."""
    normalize: bool = False
    """Divide a task's inputs by its context's Frobenius norm and multiply them by input_range."""
    covariance: str = "isotropic"
    """Covariance of the inputs."""
    condition_number: float = 1.0
    """Ratio of the covariance's largest to its smallest eigenvalue."""
    covariance_seed: int = 0
    """Seed of the covariance's rotation: a part of the task, not of the run's random numbers."""

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.one_of(DISTRIBUTIONS, "task", self, "distribution")
        checks.one_of(COVARIANCES, "task", self, "covariance")
        checks.at_least(1, "task", self, "condition_number", most=1e12)
        checks.at_least(0, "task", self, "covariance_seed", most=checks.LARGEST_SEED)
        if self.condition_number != 1 and (self.covariance == "isotropic" or self.input_dim == 1):
            only = "task.input_dim=1" if self.input_dim == 1 else "task.covariance=isotropic"
            raise ValueError(f"task.condition_number must be 1 with {only}, got {self.condition_number}")

    def sample(self, num_tasks: int, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> RegressionBatch:
        """Draw ``num_tasks`` tasks on the generator's device.

        Example:
            >>> batch = LinearRegressionTask(num_context=4, input_dim=3).sample(2, torch.Generator())
            >>> [tuple(tensor.shape) for tensor in batch]
            [(2, 4, 3), (2, 4, 1), (2, 3), (2, 1)]
        """
        x, query = self._covariates(num_tasks, generator, dtype)
        weight = torch.empty(self.output_dim, self.input_dim, num_tasks, dtype=torch.float32, device=generator.device)
        weight = weight.normal_(generator=generator).to(dtype).mul_(self.weight_scale)
        y = (x[:, None] * weight).sum(2)  # (N, O, B)
        target = (query * weight).sum(1)  # (O, B)
        self._add_noise(y, generator)
        return RegressionBatch(x.permute(2, 0, 1), y.permute(2, 0, 1), query.T, target.T)

    def _covariates(self, num_tasks: int, generator: torch.Generator, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Return the context, (N, D, B), and the queries, (D, B)."""
        shapes = [(self.num_context, self.input_dim, num_tasks), (self.input_dim, num_tasks)]
        x, query = draw_covariates(self.distribution, shapes, self.input_range, generator, dtype)
        if self.covariance != "isotropic":
            root = square_root(self.covariance, self.input_dim, self.condition_number, self.covariance_seed).to(query)
            x, query = root @ x, root @ query
        if self.normalize:
            factor = self.input_range / torch.linalg.vector_norm(x, dim=(0, 1))
            x, query = x * factor, query * factor
        return x, query
