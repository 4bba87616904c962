"""Nonlinear dynamical systems: all sequences share the nonlinearity, each has its own matrix."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from iclgd import checks
from iclgd.data.seeding import named_generator
from iclgd.data.sequences.linear_system import linear_step, orthogonal
from iclgd.data.sequences.task import SequenceTask, Step, normal


@dataclass(frozen=True)
class NonlinearSystemTask(SequenceTask):
    r"""States :math:`W f / |f|` with :math:`f = \mathrm{gelu}(s A) B`; von Oswald et al. 2023b, section 4.

    W is orthogonal and differs from sequence to sequence; A and B, normal, are the task's. That f is normalised is in
    the published code alone.
    """

    name: str = "nonlinear_system"
    hidden_dim: int = 40
    """Width of the network that all sequences share."""
    network_seed: int = 0
    """Seed of that network: a part of the task, not of the run's random numbers."""

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.at_least(1, "task", self, "hidden_dim")
        checks.at_least(0, "task", self, "network_seed", most=checks.LARGEST_SEED)

    def network(self, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
        """Return A, (N, M), and B, (M, N)."""
        generator = named_generator(self.network_seed, "network")
        shapes = ((self.state_dim, self.hidden_dim), (self.hidden_dim, self.state_dim))
        first, second = (normal(shape, generator, dtype).to(device) for shape in shapes)
        return first, second

    def _draw_step(self, num_sequences: int, generator: torch.Generator, dtype: torch.dtype) -> Step:
        shape = (num_sequences, self.state_dim, self.state_dim)
        turn = linear_step(orthogonal(normal(shape, generator, dtype)))
        first, second = self.network(generator.device, dtype)
        return lambda state: turn(features(state, first, second))


def features(states: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Return the normalised features f / |f| of states, (..., N); A and B are (N, M) and (M, N)."""
    return F.normalize(F.gelu(states @ first, approximate="tanh") @ second, dim=-1)
