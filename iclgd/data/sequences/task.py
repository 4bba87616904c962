"""What all dynamical systems share: a state that moves on, with noise, and what is observed of it.

Von Oswald et al. 2023b (arXiv 2309.05858) ask what a transformer that predicts such sequences has learned to do.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from iclgd import checks
from iclgd.data.regression import SCALES
from iclgd.data.sequences.batch import SequenceBatch

Step = Callable[[Tensor], Tensor]  # from states (B, N) to those one step later, without noise


@dataclass(frozen=True)
class SequenceTask(ABC):
    """A class of dynamical systems, of which every sequence has one of its own.

    Raises:
        ValueError: if a value is out of its range.
    """

    name: str
    """Which dynamical systems."""
    length: int = 50
    """Steps of a sequence; at each the next observation is asked."""
    state_dim: int = 10
    """Dimensions of the state."""
    noise_std: float = 0.1
    """Standard deviation of the noise that every step adds to the state."""
    initial_range: float = 1.0
    """The first state is uniform between minus this and this, in every coordinate."""

    def __post_init__(self) -> None:
        checks.at_least(2, "task", self, "length")
        checks.at_least(1, "task", self, "state_dim")
        checks.at_least(0, "task", self, "noise_std", most=SCALES[1])
        checks.positive("task", self, "initial_range", between=SCALES)

    @property
    def observed_size(self) -> int:
        """Number of coordinates of an observation."""
        return self.state_dim

    @abstractmethod
    def _draw_step(self, num_sequences: int, generator: torch.Generator, dtype: torch.dtype) -> Step:
        """Draw how the states of so many sequences move on."""

    def sample(
        self, num_sequences: int, generator: torch.Generator, dtype: torch.dtype = torch.float32
    ) -> SequenceBatch:
        """Draw sequences on the generator's device.

        Args:
            num_sequences: B.
            generator: where all random numbers come from.
            dtype: of the result; random numbers are the same in each, up to its rounding.
        """
        step = self._draw_step(num_sequences, generator, dtype)
        shape = (num_sequences, self.state_dim)
        uniform = torch.rand(shape, generator=generator, device=generator.device, dtype=torch.float32).to(dtype)
        noise = self.noise_std * normal((self.length, *shape), generator, dtype)
        states = roll_out(step, self.initial_range * (2 * uniform - 1), noise.transpose(0, 1), self._most)
        return SequenceBatch.of(self._observe(states, generator))

    @property
    def _most(self) -> float:
        """Largest absolute value of a state's coordinate."""
        return torch.inf

    def _observe(self, states: Tensor, generator: torch.Generator) -> Tensor:
        return states


def roll_out(step: Step, initial: Tensor, noise: Tensor, clip: float = torch.inf) -> Tensor:
    """Return the first state and those after it, each ``clip(step(state) + noise)``, (B, T + 1, N).

    Args:
        step: moves states on.
        initial: (B, N).
        noise: of every step, (B, T, N).
        clip: largest absolute value of a coordinate, but for those of the first state.

    Example:
        >>> roll_out(lambda state: 2 * state, torch.ones(1, 1), torch.zeros(1, 3, 1), clip=5.0).flatten()
        tensor([1., 2., 4., 5.])
    """
    states = [initial]
    for added in noise.unbind(1):
        moved = step(states[-1]) + added
        states.append(moved if clip == torch.inf else moved.clamp(-clip, clip))
    return torch.stack(states, 1)


def normal(shape: tuple[int, ...], generator: torch.Generator, dtype: torch.dtype) -> Tensor:
    """Draw standard normal numbers, the same in every precision up to its rounding."""
    return torch.randn(shape, generator=generator, device=generator.device, dtype=torch.float32).to(dtype)
