"""Dynamical systems: what they promise of their states."""

import pytest
import torch

from iclgd.data.sequences import SEQUENCE_TASKS, ContractingSystemTask, LinearSystemTask, SequenceTask
from iclgd.data.sequences.batch import SequenceBatch


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("kind", SEQUENCE_TASKS.values())
def test_the_same_seed_gives_the_same_sequences_in_every_precision(kind: type[SequenceTask]) -> None:
    task = kind(length=6, state_dim=3)  # type: ignore[call-arg]  # a subclass has a name
    single, double = (task.sample(5, generator(), dtype) for dtype in (torch.float32, torch.float64))
    assert torch.equal(single.inputs, task.sample(5, generator()).inputs)
    assert single.inputs.dtype == torch.float32
    torch.testing.assert_close(single.inputs.double(), double.inputs, rtol=1e-4, atol=1e-5)
    assert torch.equal(double.inputs[:, 1:], double.targets[:, :-1])
    assert not torch.equal(single.inputs, task.sample(5, generator(1)).inputs)


def transitions(batch: SequenceBatch) -> torch.Tensor:
    """Return the matrices that noiseless sequences, longer than they have coordinates, move on by."""
    solution: torch.Tensor = torch.linalg.lstsq(batch.inputs, batch.targets).solution
    return solution.mT


def test_orthogonal_systems_keep_the_norm_and_differ() -> None:
    task = LinearSystemTask(length=9, state_dim=4, noise_std=0.0)
    batch = task.sample(6, generator(), torch.float64)
    norms = batch.inputs.norm(dim=-1)
    assert torch.allclose(norms, norms[:, :1].expand_as(norms))
    matrices = transitions(batch)
    assert torch.allclose(matrices @ matrices.mT, torch.eye(4, dtype=torch.float64).expand(6, 4, 4), atol=1e-8)
    assert (matrices[1:] - matrices[0]).abs().amax((1, 2)).min() > 0.1
    shared = transitions(
        LinearSystemTask(length=9, state_dim=4, noise_std=0.0, shared_matrix=True).sample(6, generator(), torch.float64)
    )
    assert torch.allclose(shared, shared[:1].expand_as(shared), atol=1e-8)


def test_contracting_systems_have_the_eigenvalues_that_are_asked_for() -> None:
    task = ContractingSystemTask(length=12, state_dim=3, noise_std=0.0, least_eigenvalue=0.5, largest_eigenvalue=0.8)
    values = torch.linalg.eigvals(transitions(task.sample(20, generator(), torch.float64))).real
    assert torch.allclose(values.amax(1), torch.tensor(0.8, dtype=torch.float64), atol=1e-4)
    assert values.min() > 0.5 - 1e-4


def test_noise_and_the_first_state_have_their_size() -> None:
    task = LinearSystemTask(length=3, state_dim=4, noise_std=0.2, initial_range=2.0)
    batch = task.sample(4000, generator())
    first = batch.inputs[:, 0]
    assert first.abs().max() <= 2
    assert first.std().item() == pytest.approx(2 / 3**0.5, rel=0.03)
    growth = batch.inputs[:, 1].square().sum(1) - first.square().sum(1)
    assert growth.mean().item() == pytest.approx(4 * 0.2**2, rel=0.15)


def test_states_are_clipped_and_seen_in_part() -> None:
    clipped = LinearSystemTask(length=30, state_dim=3, noise_std=1.0, clip=0.5).sample(50, generator())
    assert clipped.inputs[:, 1:].abs().max() == 0.5
    in_part = LinearSystemTask(length=5, state_dim=8, observed_dim=3, observation_noise_std=0.1)
    assert in_part.sample(2, generator()).inputs.shape == (2, 5, 3)
