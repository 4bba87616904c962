"""Weighted sums of squares."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from iclgd.data.functions.drawn import Functions
from iclgd.data.functions.task import FunctionTask


@dataclass(frozen=True)
class QuadraticFunctions(Functions):
    r""":math:`y = \sum_j w_j x_j^2 / \sqrt 3`, without products of two coordinates.

    Example:
        >>> QuadraticFunctions(torch.tensor([[3.0, 0.0]]))(torch.ones(1, 1, 2))
        tensor([[1.7321]])
    """

    weight: Tensor  # (B, D)

    def __call__(self, x: Tensor) -> Tensor:
        """Return the functions' values at their inputs, (B, N, D) -> (B, N)."""
        return torch.bmm(x.square(), self.weight[..., None]).squeeze(-1) / math.sqrt(3)


@dataclass(frozen=True)
class QuadraticFunctionTask(FunctionTask):
    """Sums of squares with weights from N(0, I); of the code of Garg et al. 2022."""

    name: str = "quadratic"

    @property
    def mean_square(self) -> int:
        """D: the fourth moment of a normal number, 3, is divided out."""
        return self.input_dim

    def _draw(self, num_functions: int, generator: torch.Generator) -> QuadraticFunctions:
        return QuadraticFunctions(
            torch.randn(
                num_functions, self.input_dim, generator=generator, device=generator.device, dtype=torch.float32
            )
        )
