"""Sine waves: the non-linear regression of [vO] section 3, appendix A.7."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from iclgd.data.covariates import draw_uniform
from iclgd.data.regression import RegressionBatch, RegressionTask


@dataclass(frozen=True)
class SineTask(RegressionTask):
    """Sine waves of random amplitude and phase, the non-linear task of [vO] appendix A.7.

    ``y = amplitude * sin(x + phase)`` with ``x ~ U(-input_range/2, input_range/2)``, ``amplitude ~ U(0.1, 0.5)`` and
    ``phase ~ U(0, pi)``; ``weight_scale`` multiplies both amplitude and phase. ``num_noise`` randomly chosen context
    targets are replaced by ``N(0, 1)``.

    All this is as in [vO]'s code. The paper's text has amplitudes from U(0.1, 5), and draws amplitude and phase
    independently (``coupled=False``); the code draws both from one random key, so that one number u gives amplitude
    ``0.1 + 0.4 u`` and phase ``pi u``.

    Raises:
        ValueError: if a value is out of its range, or for more than one input or output.
    """

    references: ClassVar[tuple[str, ...]] = ("mlp_gd",)

    name: str = "sine"
    input_dim: int = 1
    input_range: float = 10.0
    coupled: bool = True
    """Draw amplitude and phase from one random number, as [vO]'s code does, not independently."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for key in ("input_dim", "output_dim"):
            if getattr(self, key) != 1:
                raise ValueError(f"task.{key} must be 1 with task.name=sine, got {getattr(self, key)}")

    def sample(self, num_tasks: int, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> RegressionBatch:
        """Draw ``num_tasks`` tasks on the generator's device.

        Example:
            >>> batch = SineTask(num_context=4).sample(2, torch.Generator())
            >>> [tuple(tensor.shape) for tensor in batch]
            [(2, 4, 1), (2, 4, 1), (2, 1), (2, 1)]
        """
        amplitude, phase = self._functions(num_tasks, generator, dtype)
        x = draw_uniform((self.num_context, 1, num_tasks), self.input_range, generator, dtype)
        query = draw_uniform((1, num_tasks), self.input_range, generator, dtype)
        y = amplitude * torch.sin(x + phase)
        self._add_noise(y, generator)
        target = amplitude * torch.sin(query + phase)
        return RegressionBatch(x.permute(2, 0, 1), y.permute(2, 0, 1), query.T, target.T)

    def sample_function(
        self, generator: torch.Generator, num_queries: int = 100, dtype: torch.dtype = torch.float32
    ) -> RegressionBatch:
        """Draw one function and one context, to plot predictions over the whole input range.

        Args:
            generator: draws on its own device.
            num_queries: B, an even grid of queries from ``-input_range/2`` to ``input_range/2``.
            dtype: of all tensors.

        Returns:
            B tasks that differ in their query alone.

        Example:
            >>> batch = SineTask().sample_function(torch.Generator(), num_queries=3)
            >>> batch.query.flatten()
            tensor([-5.,  0.,  5.])
        """
        amplitude, phase = self._functions(1, generator, dtype)
        x = draw_uniform((self.num_context, 1, 1), self.input_range, generator, dtype)
        y = amplitude * torch.sin(x + phase)
        self._add_noise(y, generator)
        half = self.input_range / 2
        query = torch.linspace(-half, half, num_queries, dtype=dtype, device=generator.device)[None]  # (1, B)
        target = amplitude * torch.sin(query + phase)
        x, y = (context.repeat(1, 1, num_queries).permute(2, 0, 1) for context in (x, y))
        return RegressionBatch(x, y, query.T, target.T)

    def _functions(self, num_functions: int, generator: torch.Generator, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Return amplitudes and phases, (B,) each; both ways of coupling use up as many random numbers."""
        numbers = torch.rand(2, num_functions, generator=generator, dtype=torch.float32, device=generator.device)
        first, second = numbers.to(dtype)
        amplitude = self.weight_scale * (0.1 + 0.4 * first)
        phase = self.weight_scale * math.pi * (first if self.coupled else second)
        return amplitude, phase
