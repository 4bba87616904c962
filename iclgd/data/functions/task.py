"""What all function classes share: inputs, queries, noise, and a pool of functions to draw from.

Garg et al. 2022 (arXiv 2208.01066) ask what function classes a transformer can learn in its context; Raventós et al.
2023 (arXiv 2306.15063) how many functions it has to be trained on.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from iclgd import checks
from iclgd.data.functions.batch import FunctionBatch
from iclgd.data.functions.drawn import Functions
from iclgd.data.functions.inputs import INPUT_COVARIANCES, covariance_scale, gaussian_inputs
from iclgd.data.functions.queries import QUERY_SHIFTS
from iclgd.data.regression import SCALES
from iclgd.data.seeding import named_generator


@dataclass(frozen=True)
class FunctionTask(ABC):
    """A class of functions, from which every prompt has one.

    Inputs are normal with mean square D (times ``input_scale`` squared). ``num_tasks`` is the task diversity M of
    Raventós et al.: above 0 functions come from a pool of so many, which ``pool_seed`` stands for.

    Raises:
        ValueError: for an unknown name, or if a value is out of its range.
    """

    name: str
    """Which function class."""
    num_points: int = 41
    """Points of a prompt, of which each is asked after those before it."""
    input_dim: int = 20
    """Dimensions of an input."""
    input_scale: float = 1.0
    """What multiplies the inputs."""
    input_mean: float = 0.0
    """Mean of every coordinate of the inputs."""
    input_covariance: str = "isotropic"
    """Covariance of the inputs."""
    covariance_seed: int = 0
    """Seed of the covariance's axes: a part of the task, not of the run's random numbers."""
    query: str = "standard"
    """Where queries come from."""
    weight_scale: float = 1.0
    """What multiplies the functions."""
    noise_std: float = 0.0
    """Standard deviation of the noise of targets."""
    renormalize: bool = False
    """Scale targets with noise so that their variance in a batch is what it would be without noise."""
    num_tasks: int = 0
    """Functions in the pool that prompts draw from; 0 draws a new one for every prompt."""
    replacement: bool = True
    """Draw from the pool with replacement (Raventós et al.); without, a batch has no function twice (Garg et al.)."""
    pool_seed: int = 0
    """Seed of the pool: a part of the task, not of the run's random numbers."""

    def __post_init__(self) -> None:
        checks.at_least(1, "task", self, "num_points", "input_dim")
        checks.positive("task", self, "input_scale", "weight_scale", between=SCALES)
        checks.at_least(-SCALES[1], "task", self, "input_mean", most=SCALES[1])
        checks.one_of(INPUT_COVARIANCES, "task", self, "input_covariance")
        checks.one_of(QUERY_SHIFTS, "task", self, "query")
        checks.at_least(0, "task", self, "noise_std", most=SCALES[1])
        if 0 < self.noise_std < SCALES[0]:  # squared errors over its square have to be numbers
            raise ValueError(f"task.noise_std must be 0 or at least {SCALES[0]:g}, got {self.noise_std:g}")
        checks.at_least(0, "task", self, "num_tasks")
        checks.at_least(0, "task", self, "covariance_seed", "pool_seed", most=checks.LARGEST_SEED)
        if self.input_covariance == "half_subspace" and self.input_dim < 2:
            raise ValueError("task.input_dim must be at least 2 with task.input_covariance=half_subspace, got 1")
        if self.renormalize and not self.noise_std:
            raise ValueError("task.renormalize=true needs task.noise_std above 0, got 0")

    @property
    @abstractmethod
    def mean_square(self) -> int:
        """Mean square of the functions over standard normal inputs, which errors are divided by in figures."""

    @property
    def baselines(self) -> tuple[str, ...]:
        """Learners, of ``iclgd.analysis.function_baselines.BASELINES``, that models are compared with, as published."""
        return ("least_squares", "averaging", "nearest_neighbors")

    @abstractmethod
    def _draw(self, num_functions: int, generator: torch.Generator) -> Functions:
        """Draw functions of scale 1 in single precision, on the generator's device."""

    def draw_functions(
        self,
        num_functions: int,
        generator: torch.Generator,
        dtype: torch.dtype = torch.float32,
        num_dims: int | None = None,
    ) -> Functions:
        """Draw functions from the class, or from the task's pool.

        Args:
            num_functions: how many.
            generator: draws on its own device.
            dtype: of the parameters; random numbers are the same in each, up to its rounding.
            num_dims: dimensions of the inputs, at most D; ``None`` for D.

        Raises:
            ValueError: if the pool has too few functions to draw without replacement.
        """
        if not self.num_tasks:
            return self._draw(num_functions, generator).to(generator.device, dtype).scaled(self.weight_scale)
        self.check_batch_size(num_functions)
        device = generator.device
        if self.replacement:
            index = torch.randint(self.num_tasks, (num_functions,), generator=generator, device=device)
        else:
            index = torch.randperm(self.num_tasks, generator=generator, device=device)[:num_functions]
        return self.pool(device, dtype).select(index)

    def check_batch_size(self, num_prompts: int) -> None:
        """Refuse a batch of more prompts than a pool without replacement has functions.

        Raises:
            ValueError: if it has fewer.
        """
        if self.num_tasks and not self.replacement and self.num_tasks < num_prompts:
            raise ValueError(
                f"task.num_tasks must be at least the prompts of a batch ({num_prompts}) with task.replacement=false, "
                f"got {self.num_tasks}"
            )

    def pool(self, device: torch.device | None = None, dtype: torch.dtype = torch.float32) -> Functions:
        """Return all M functions of the pool; they are the same on every device.

        Raises:
            ValueError: for a task without a pool.
        """
        if not self.num_tasks:
            raise ValueError("a task with task.num_tasks=0 has no pool")
        device = device or torch.device("cpu")
        if (device, dtype) not in self._pools:
            drawn = self._draw(self.num_tasks, named_generator(self.pool_seed, "task_pool"))
            self._pools[device, dtype] = drawn.to(device, dtype).scaled(self.weight_scale)
        return self._pools[device, dtype]

    @cached_property
    def _pools(self) -> dict[tuple[torch.device, torch.dtype], Functions]:
        return {}

    @cached_property
    def _input_scale(self) -> Tensor | None:
        return covariance_scale(self.input_covariance, self.input_dim, self.covariance_seed)

    def sample(
        self,
        num_prompts: int,
        generator: torch.Generator,
        dtype: torch.dtype = torch.float32,
        num_points: int | None = None,
        num_dims: int | None = None,
    ) -> FunctionBatch:
        """Draw prompts on the generator's device.

        Args:
            num_prompts: B.
            generator: where all random numbers come from.
            dtype: of the result; random numbers are the same in each, up to its rounding.
            num_points: points of a prompt, fewer than the task's in a curriculum; ``None`` for the task's.
            num_dims: coordinates of the inputs that are not zero, likewise.

        Raises:
            ValueError: if the pool has too few functions to draw without replacement.
        """
        functions = self.draw_functions(num_prompts, generator, dtype, num_dims)
        shape = (num_prompts, num_points or self.num_points, self.input_dim)
        inputs = self._inputs(_normal(shape, generator, dtype), num_dims)
        x, query = QUERY_SHIFTS[self.query].draw(inputs, generator)
        y = self._observed(functions, x, generator)
        target = y if query is x else self._observed(functions, query, generator)
        if self.renormalize:
            factor = self.normalization(y)
            y, target, functions = y * factor, target * factor, functions.scaled(factor)
        noiseless = functions(query) if self.noise_std else target
        return FunctionBatch(x, y, query, target, noiseless, functions)

    def normalization(self, y: Tensor) -> Tensor:
        """Return what ``renormalize`` multiplies a batch by: signal and noise, all prompts and points together.

        Args:
            y: targets with noise, (B, N).
        """
        return self.weight_scale * math.sqrt(self.mean_square) / y.std()

    def _inputs(self, standard: Tensor, num_dims: int | None) -> Tensor:
        scale = self._input_scale
        inputs = gaussian_inputs(standard, None if scale is None else scale.to(standard))
        if self.input_scale != 1:
            inputs = inputs * self.input_scale
        mean = inputs.new_full((self.input_dim,), self.input_mean) if self.input_mean else None
        return gaussian_inputs(inputs, mean=mean, num_dims=num_dims)

    def _observed(self, functions: Functions, x: Tensor, generator: torch.Generator) -> Tensor:
        """Return the functions' values with noise, which is new at every call."""
        values = functions(x)
        if not self.noise_std:
            return values
        return values + self.noise_std * _normal(tuple(values.shape), generator, values.dtype)


def _normal(shape: tuple[int, ...], generator: torch.Generator, dtype: torch.dtype) -> Tensor:
    return torch.randn(shape, generator=generator, device=generator.device, dtype=torch.float32).to(dtype)
