"""Queries of another distribution than the examples: the shifts of Garg et al. 2022, section 4 and appendix B.

At position i the prompt shows examples 0 to i - 1 and asks for query i, which may be unlike every example.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


class Shifted(NamedTuple):
    """Examples and the query of each position, (B, N, D) both."""

    x: Tensor
    query: Tensor


class QueryShift(NamedTuple):
    """A shift: what it is, and how inputs and a generator become examples and queries."""

    description: str
    draw: Callable[[Tensor, torch.Generator], Shifted]


def random_quadrants(inputs: Tensor, signs: Tensor) -> Shifted:
    """Put a prompt's examples in one quadrant, and leave its queries where they are.

    Args:
        inputs: (B, N, D).
        signs: of the coordinates in the quadrant, 1 or -1, (B, 1, D).

    Example:
        >>> random_quadrants(torch.tensor([[[1.0, -2.0]]]), torch.tensor([[[-1.0, -1.0]]])).x
        tensor([[[-1., -2.]]])
    """
    return Shifted(inputs.abs() * signs, inputs)


def opposite_quadrants(inputs: Tensor, signs: Tensor) -> Shifted:
    """Put a prompt's examples in one quadrant, and its queries in the opposite one; see :func:`random_quadrants`.

    Example:
        >>> opposite_quadrants(torch.tensor([[[1.0, -2.0]]]), torch.tensor([[[-1.0, -1.0]]])).query
        tensor([[[1., 2.]]])
    """
    x = inputs.abs() * signs
    return Shifted(x, -x)


def orthogonal(inputs: Tensor) -> Shifted:
    """Make every query orthogonal to all examples before it, with the norm of the input in its place.

    From position D on no such direction is left and the query is the zero vector: leave those positions out of means.

    Args:
        inputs: (B, N, D); the first D of a prompt linearly independent.

    Example:
        >>> orthogonal(torch.tensor([[[2.0, 0.0], [3.0, 4.0], [1.0, 1.0]]])).query.int()
        tensor([[[2, 0],
                 [0, 5],
                 [0, 0]]], dtype=torch.int32)
    """
    # What Gram-Schmidt leaves of input i lies along column i of the orthogonal factor.
    dim = inputs.shape[-1]
    first = inputs[:, :dim].double()
    directions, triangular = torch.linalg.qr(first.mT)
    lengths = torch.linalg.vector_norm(first, dim=-1) * triangular.diagonal(dim1=-2, dim2=-1).sign()
    query = torch.zeros_like(inputs)
    query[:, :dim] = (directions * lengths[:, None]).mT.to(inputs.dtype)
    return Shifted(inputs, query)


def overlapping(inputs: Tensor, source: Tensor) -> Shifted:
    """Make every query one of the examples before it; position 0, which has none, keeps its input.

    Args:
        inputs: (B, N, D).
        source: which example, (B, N), below the position; any number at position 0.

    Example:
        >>> overlapping(torch.tensor([[[1.0], [2.0], [3.0]]]), torch.tensor([[0, 0, 1]])).query.flatten()
        tensor([1., 1., 2.])
    """
    query = inputs.gather(1, source[..., None].expand_as(inputs))
    query[:, 0] = inputs[:, 0]
    return Shifted(inputs, query)


def _draw_signs(inputs: Tensor, generator: torch.Generator) -> Tensor:
    shape = (len(inputs), 1, inputs.shape[-1])
    return 2 * torch.randint(2, shape, generator=generator, device=generator.device).to(inputs.dtype) - 1


def _draw_source(inputs: Tensor, generator: torch.Generator) -> Tensor:
    prompts, points, _ = inputs.shape
    uniform = torch.rand(prompts, points, generator=generator, device=generator.device, dtype=torch.float64)
    return (uniform * torch.arange(points, device=generator.device)).long()  # below the position, 0 at position 0


QUERY_SHIFTS: dict[str, QueryShift] = {
    "standard": QueryShift("queries as the examples", lambda inputs, generator: Shifted(inputs, inputs)),
    "random_quadrants": QueryShift(
        "examples in one quadrant, queries in any",
        lambda inputs, generator: random_quadrants(inputs, _draw_signs(inputs, generator)),
    ),
    "opposite_quadrants": QueryShift(
        "examples in one quadrant, queries in the opposite one",
        lambda inputs, generator: opposite_quadrants(inputs, _draw_signs(inputs, generator)),
    ),
    "orthogonal": QueryShift(
        "every query orthogonal to the examples before it (zero from position D on)",
        lambda inputs, generator: orthogonal(inputs),
    ),
    "overlapping": QueryShift(
        "every query one of the examples before it",
        lambda inputs, generator: overlapping(inputs, _draw_source(inputs, generator)),
    ),
}
