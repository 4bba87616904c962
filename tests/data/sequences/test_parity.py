"""Dynamical systems beside the published implementation's, from its matrices and noise."""

import pytest
import torch

from iclgd.data.sequences.batch import SequenceBatch
from iclgd.data.sequences.linear_system import linear_step, observed, with_eigenvalues
from iclgd.data.sequences.nonlinear_system import features
from iclgd.data.sequences.task import roll_out
from iclgd.models.sequences.tokens import constructed_tokens, lagged_tokens
from tests.sequence_references import arrays, deviation


@pytest.mark.parametrize("name", ["E1_linear_full", "E1_linear_clipped", "E1_linear_partial", "E1_contracting"])
def test_linear_systems(name: str) -> None:
    given = arrays(name)
    noise = given["noise"] * given["standard_state_noise"]
    observations = roll_out(linear_step(given["W"]), given["initial_state"], noise, given["data_clip"].item())
    if "states" in given:
        states = SequenceBatch.of(observations)
        assert deviation(states.inputs, given["states"]) < 2e-5
        assert deviation(states.targets, given["next_states"]) < 2e-5
        observations = observed(observations, given["observation_matrix"])
        observations = observations + given["noise_obs"] * given["standard_observation_noise"]
    batch = SequenceBatch.of(observations)
    assert deviation(batch.inputs, given["inputs"]) < 2e-5
    assert deviation(batch.targets, given["targets"]) < 2e-5


def test_contracting_matrices() -> None:
    given = arrays("E1_contracting")
    # The order of the eigenvalues is that in which the published code has drawn them.
    values = (torch.linalg.inv(given["raw_matrix"]) @ given["W"] @ given["raw_matrix"]).diagonal(dim1=1, dim2=2)
    assert deviation(values.sort(1).values, given["eigenvalues"]) < 2e-5
    assert deviation(with_eigenvalues(given["raw_matrix"], values), given["W"]) < 2e-5


def test_one_matrix_for_all() -> None:
    given = arrays("E1_fixed_matrix")
    residual = given["targets"] - given["inputs"] @ given["W"].T
    assert residual.std().item() == pytest.approx(given["noise"].item(), rel=0.15)  # its noise is not in the file
    assert deviation(given["W"] @ given["W"].T, torch.eye(5, dtype=torch.float64)) < 2e-5


def test_nonlinear_systems() -> None:
    given = arrays("E1_nonlinear")
    turn = linear_step(given["W"])
    noise = given["noise"] * given["standard_state_noise"]
    states = roll_out(lambda state: turn(features(state, given["A"], given["Bmat"])), given["initial_state"], noise)
    batch = SequenceBatch.of(states)
    assert deviation(batch.inputs, given["inputs"]) < 2e-3
    assert deviation(batch.targets, given["targets"]) < 2e-3


def test_tokens() -> None:
    given = arrays("E2_tokens")
    assert torch.equal(constructed_tokens(given["sequence"]), given["tokens"])
    lagged = lagged_tokens(given["partial_sequence"], int(given["past_observations"]))
    assert torch.equal(lagged, given["partial_tokens"])
