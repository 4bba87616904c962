"""The mesa layer: its forms agree, and single precision lasts over 500 positions."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from iclgd.models.learners import Ridge
from iclgd.models.sequences import (
    iterative_mesa_attention,
    linear_attention,
    mesa_attention,
    recursive_mesa_attention,
)
from iclgd.models.sequences.mesa import Past
from iclgd.models.sequences.mesa_iterative import METHODS
from tests.sequence_references import deviation

Attend = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def heads(length: int, dim: int = 6, outputs: int = 5, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    queries, keys, values = (
        torch.randn(2, 3, length, size, generator=generator, dtype=torch.float64) for size in (dim, dim, outputs)
    )
    return queries, keys, values


STRENGTH = torch.tensor([0.1, 1.0, 30.0], dtype=torch.float64)


def test_it_is_ridge_regression_of_the_past() -> None:
    queries, keys, values = heads(9)
    output = mesa_attention(queries, keys, values, STRENGTH, chunk=4)
    for head, strength in enumerate(STRENGTH.tolist()):
        for position in range(9):
            seen = slice(position + 1)
            expected = Ridge(1 / strength)(keys[:, head, seen], values[:, head, seen], queries[:, head, position])
            assert (output[:, head, position] - expected).abs().max() < 1e-12


@pytest.mark.parametrize("length", [1, 15, 16, 17, 70])
@pytest.mark.parametrize("chunk", [None, 1, 7])
def test_chunks_change_nothing(length: int, chunk: int | None) -> None:
    queries, keys, values = heads(length)
    expected = recursive_mesa_attention(queries, keys, values, STRENGTH)
    assert deviation(mesa_attention(queries, keys, values, STRENGTH, chunk=chunk), expected) < 1e-12


@pytest.mark.parametrize("chunk", [None, 5])
def test_gradients_are_those_of_the_recursion(chunk: int | None) -> None:
    inputs = [each.requires_grad_() for each in (*heads(23), STRENGTH.clone())]
    weights = torch.randn(2, 3, 23, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    ours, expected = (
        torch.autograd.grad((output * weights).sum(), inputs)
        for output in (mesa_attention(*inputs, chunk=chunk), recursive_mesa_attention(*inputs))
    )
    for gradient, reference in zip(ours, expected, strict=True):
        assert deviation(gradient, reference) < 1e-10


def test_a_past_stands_for_the_positions_before() -> None:
    queries, keys, values = heads(40)
    whole = mesa_attention(queries, keys, values, STRENGTH)
    past = Past.of(keys[..., :25, :], values[..., :25, :])
    rest = mesa_attention(queries[..., 25:, :], keys[..., 25:, :], values[..., 25:, :], STRENGTH, past=past)
    assert deviation(rest, whole[..., 25:, :]) < 1e-12


# The recursion loses some digits where the keys have just begun to span all channels, and keeps the loss.
@pytest.mark.parametrize(("attend", "tolerance"), [(mesa_attention, 5e-5), (recursive_mesa_attention, 5e-4)])
def test_single_precision_lasts_over_500_positions(attend: Attend, tolerance: float) -> None:
    queries, keys, values = heads(500, dim=16)
    expected = recursive_mesa_attention(queries, keys, values, STRENGTH)
    single = attend(*(each.float() for each in (queries, keys, values, STRENGTH)))
    for positions in (slice(0, 50), slice(450, 500)):  # no worse at the end than at the start
        assert deviation(single[..., positions, :].double(), expected[..., positions, :]) < tolerance


@pytest.mark.parametrize("method", METHODS)
def test_with_enough_steps_an_iteration_is_exact(method: str) -> None:
    queries, keys, values = heads(20)
    strength = torch.tensor([0.1, 0.3, 1.0], dtype=torch.float64)
    expected = mesa_attention(queries, keys, values, strength)
    steps = {"conjugate": 6, "chebyshev": 200, "neumann": 5000}[method]
    errors = [
        deviation(iterative_mesa_attention(queries, keys, values, strength, method, number), expected)
        for number in (1, 3, steps)
    ]
    assert errors[2] < 1e-8
    assert errors[0] > errors[1] > errors[2]


def test_without_past_it_is_linear_attention_in_the_limit() -> None:
    queries, keys, values = heads(80)
    weak = torch.full((3,), 1e-8, dtype=torch.float64)  # R is lambda I
    output = mesa_attention(queries, keys, values, weak) / 1e-8
    assert deviation(output, linear_attention(queries, keys, values)) < 1e-5


def test_linear_attention_in_chunks_is_that_of_one_matrix() -> None:
    queries, keys, values = heads(150)
    assert deviation(linear_attention(queries, keys, values), (queries @ keys.mT).tril() @ values) < 1e-12


def test_what_is_not_finite_stays_that() -> None:
    queries, keys, values = heads(40)
    keys[0, 0, 20] = torch.nan
    output = mesa_attention(queries, keys, values, STRENGTH)
    assert output[0, 0, 20:].isnan().all()
    assert output[1].isfinite().all()
