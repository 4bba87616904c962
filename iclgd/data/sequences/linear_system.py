"""Linear dynamical systems: s <- W s + noise."""

from dataclasses import dataclass

import torch
from torch import Tensor

from iclgd import checks
from iclgd.data.regression import SCALES
from iclgd.data.seeding import named_generator
from iclgd.data.sequences.task import SequenceTask, Step, normal

OBSERVATION_SCALE = 0.5  # standard deviation of the entries of C


@dataclass(frozen=True)
class LinearSystemTask(SequenceTask):
    """Linear systems with an orthogonal matrix each, seen fully or in part; von Oswald et al. 2023b, section 4.

    What is observed is the state, or mixtures C s of it with C drawn for each sequence, with noise of its own.
    """

    name: str = "linear_system"
    clip: float = 10.0
    """Largest absolute value of a coordinate of the state after a step; 0: there is none."""
    observed_dim: int | None = None
    """Random mixtures of the state that are observed; null: the state itself."""
    observation_noise_std: float = 0.0
    """Standard deviation of the noise of observations."""
    shared_matrix: bool = False
    """Whether all sequences have one matrix, so that there is nothing to learn in context."""
    matrix_seed: int = 0
    """Seed of that matrix: a part of the task, not of the run's random numbers."""

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.at_least(0, "task", self, "clip", "observation_noise_std", most=SCALES[1])
        checks.at_least(0, "task", self, "matrix_seed", most=checks.LARGEST_SEED)
        if self.observed_dim is not None:
            checks.at_least(1, "task", self, "observed_dim")

    @property
    def observed_size(self) -> int:
        """Number of coordinates of an observation."""
        return self.state_dim if self.observed_dim is None else self.observed_dim

    @property
    def _most(self) -> float:
        return self.clip or torch.inf

    def _draw_matrices(self, num_matrices: int, generator: torch.Generator, dtype: torch.dtype) -> Tensor:
        return orthogonal(normal((num_matrices, self.state_dim, self.state_dim), generator, dtype))

    def _draw_step(self, num_sequences: int, generator: torch.Generator, dtype: torch.dtype) -> Step:
        if not self.shared_matrix:
            return linear_step(self._draw_matrices(num_sequences, generator, dtype))
        drawn = self._draw_matrices(1, named_generator(self.matrix_seed, "matrix"), torch.float64)
        return linear_step(drawn.to(generator.device, dtype).expand(num_sequences, -1, -1))

    def _observe(self, states: Tensor, generator: torch.Generator) -> Tensor:
        if self.observed_dim is not None:
            shape = (len(states), self.observed_dim, self.state_dim)
            states = observed(states, OBSERVATION_SCALE * normal(shape, generator, states.dtype))
        if self.observation_noise_std:
            noise = normal(tuple(states.shape), generator, states.dtype)
            states = states + self.observation_noise_std * noise
        return states


@dataclass(frozen=True)
class ContractingSystemTask(LinearSystemTask):
    """Linear systems with real eigenvalues below 1, one of them the largest allowed; von Oswald et al. 2023b."""

    name: str = "contracting_system"
    least_eigenvalue: float = 0.3
    """Smallest eigenvalue that is drawn."""
    largest_eigenvalue: float = 0.9
    """Largest eigenvalue, which every system has."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not -1 <= self.least_eigenvalue <= self.largest_eigenvalue <= 1:
            raise ValueError(
                "task.least_eigenvalue and task.largest_eigenvalue must be from -1 to 1 and in this order, "
                f"got {self.least_eigenvalue} and {self.largest_eigenvalue}"
            )

    def _draw_matrices(self, num_matrices: int, generator: torch.Generator, dtype: torch.dtype) -> Tensor:
        vectors = normal((num_matrices, self.state_dim, self.state_dim), generator, torch.float64)
        uniform = torch.rand(vectors.shape[:2], generator=generator, device=generator.device, dtype=torch.float32)
        values = self.least_eigenvalue + (self.largest_eigenvalue - self.least_eigenvalue) * uniform.double()
        values[:, 0] = self.largest_eigenvalue  # of vectors that are all alike: its place has no meaning
        return with_eigenvalues(vectors, values).to(dtype)


def orthogonal(standard: Tensor) -> Tensor:
    """Return orthogonal matrices, uniform among all, from standard normal ones, (B, N, N); Mezzadri 2007."""
    q, r = torch.linalg.qr(standard)
    return q * r.diagonal(dim1=-2, dim2=-1).sign()[..., None, :]  # type: ignore[no-any-return]


def with_eigenvalues(vectors: Tensor, values: Tensor) -> Tensor:
    """Return matrices with given eigenvectors, the columns of (B, N, N), and eigenvalues, (B, N).

    Example:
        >>> with_eigenvalues(torch.tensor([[[1.0, 1.0], [0.0, 1.0]]]), torch.tensor([[2.0, 3.0]]))
        tensor([[[2., 1.],
                 [0., 3.]]])
    """
    matrix: Tensor = torch.linalg.solve_ex(vectors, vectors * values[..., None, :], left=False).result
    return matrix


def linear_step(matrix: Tensor) -> Step:
    """Return what multiplies states, (B, N), by matrices, (B, N, N)."""
    return lambda state: torch.bmm(matrix, state[..., None]).squeeze(-1)


def observed(states: Tensor, matrix: Tensor) -> Tensor:
    """Return the mixtures C s of states, (B, T, N), for matrices C, (B, O, N)."""
    return torch.bmm(states, matrix.mT)
