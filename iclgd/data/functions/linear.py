"""Linear functions: dense, sparse, and with noise."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from iclgd import checks
from iclgd.data.functions.drawn import Functions
from iclgd.data.functions.task import FunctionTask


@dataclass(frozen=True)
class LinearFunctions(Functions):
    """y = w x.

    Example:
        >>> LinearFunctions(torch.tensor([[1.0, 2.0]]))(torch.ones(1, 3, 2))
        tensor([[3., 3., 3.]])
    """

    weight: Tensor  # (B, D)

    def __call__(self, x: Tensor) -> Tensor:
        """Return the functions' values at their inputs, (B, N, D) -> (B, N)."""
        return torch.bmm(x, self.weight[..., None]).squeeze(-1)


@dataclass(frozen=True)
class LinearFunctionTask(FunctionTask):
    """Linear functions with weights from N(0, I); Garg et al. 2022, section 3."""

    name: str = "linear"

    @property
    def mean_square(self) -> int:
        """D."""
        return self.input_dim

    @property
    def baselines(self) -> tuple[str, ...]:
        """What is best where there is noise, and for a pool, beside learners that know neither."""
        has_posterior = self.num_tasks > 0 and self.noise_std > 0 and not self.renormalize
        best = ["ridge"] * (self.noise_std > 0) + ["dmmse"] * has_posterior
        return (*best, *super().baselines)

    def _draw(self, num_functions: int, generator: torch.Generator) -> LinearFunctions:
        return LinearFunctions(
            torch.randn(
                num_functions, self.input_dim, generator=generator, device=generator.device, dtype=torch.float32
            )
        )


@dataclass(frozen=True)
class NoisyLinearFunctionTask(LinearFunctionTask):
    """Linear functions whose targets have noise: what Raventós et al. 2023 train on, and a shift of Garg et al."""

    name: str = "noisy_linear"
    noise_std: float = 1.0
    """Standard deviation of the noise of targets."""

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.positive("task", self, "noise_std")


@dataclass(frozen=True)
class SparseLinearFunctionTask(LinearFunctionTask):
    """Linear functions of ``sparsity`` coordinates, which differ from prompt to prompt; Garg et al. 2022, section 5.

    Kept weights are not rescaled. Where inputs have fewer dimensions the coordinates are among those, and all of them
    if they are fewer than ``sparsity``. A pool holds weights of all coordinates, and every prompt draws which it keeps.
    """

    name: str = "sparse_linear"
    sparsity: int = 3
    """Coordinates that a function depends on."""

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.at_least(1, "task", self, "sparsity")
        if self.sparsity > self.input_dim:
            raise ValueError(f"task.sparsity must be at most task.input_dim ({self.input_dim}), got {self.sparsity}")

    @property
    def mean_square(self) -> int:
        """The number of coordinates."""
        return self.sparsity

    @property
    def baselines(self) -> tuple[str, ...]:
        """The Lasso beside what knows nothing of sparsity."""
        return ("lasso", *super().baselines)

    def draw_functions(
        self,
        num_functions: int,
        generator: torch.Generator,
        dtype: torch.dtype = torch.float32,
        num_dims: int | None = None,
    ) -> Functions:
        """Draw functions; see :meth:`FunctionTask.draw_functions`."""
        dense = super().draw_functions(num_functions, generator, dtype, num_dims)
        assert isinstance(dense, LinearFunctions)
        valid = num_dims or self.input_dim
        order = torch.rand(num_functions, valid, generator=generator, device=generator.device).argsort(1)
        return replace(dense, weight=keep_coordinates(dense.weight, order[:, : self.sparsity]))


def keep_coordinates(weight: Tensor, kept: Tensor) -> Tensor:
    """Set all but some coordinates of weights to zero.

    Args:
        weight: (B, D).
        kept: indices of the coordinates that each keeps, (B, s).

    Example:
        >>> keep_coordinates(torch.ones(1, 4), torch.tensor([[3, 1]]))
        tensor([[0., 1., 0., 1.]])
    """
    return torch.zeros_like(weight).scatter(1, kept, weight.gather(1, kept))
