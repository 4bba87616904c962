r"""The mesa layer of von Oswald et al. 2023b (arXiv 2309.05858), section 5: attention that solves least squares.

.. math:: o_t = \sum_{j \le t} v_j \, k_j^T R_t q_t, \quad
    R_t = \Big( \sum_{j \le t} k_j k_j^T + \tfrac{1}{\lambda} I \Big)^{-1}

which is :math:`B_t q_t` with the weight :math:`B_t` of ridge regression of the values on the keys so far.

The published layer computes :math:`R_t` position after position. Here it is exact as well, but chunk after chunk, all
of them at once, with products of matrices alone. Before a chunk the past is :math:`A = G G^T` (its second moment and
:math:`I / \lambda`, by Cholesky) and :math:`P = \sum v_j k_j^T`. With the chunk's K, V and Q as rows let

.. math:: Y = G^{-1} K^T, \quad Z = G^{-1} Q^T, \quad X = G^{-1} P^T, \quad I + Y^T Y = L L^T.

By Woodbury's identity the inverse at a position t within the chunk needs the inverse of the leading block of
:math:`I + Y^T Y`, whose Cholesky factor is the leading block of L: one factor serves all positions. So

.. math:: W = L^{-T} \, \mathrm{triu}(L^{-1} Y^T Z), \quad O = Z^T X + W^T (V - Y^T X),

predictions by the weight from before the chunk, and attention to what that weight leaves of the chunk's values.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from iclgd.models.sequences.linear_attention import in_chunks, sums_before

LARGEST_CHUNK = 64


class Past(NamedTuple):
    """What positions before the first leave behind: the sums of k k^T, (..., D, D), and of k v^T, (..., D, E)."""

    moment: Tensor
    cross: Tensor

    @classmethod
    def of(cls, keys: Tensor, values: Tensor) -> "Past":
        """Return what keys, (..., N, D), and values, (..., N, E), leave behind."""
        return cls(keys.mT @ keys, keys.mT @ values)


def mesa_attention(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    strength: Tensor,
    *,
    normalize_rows: bool = False,
    past: Past | None = None,
    chunk: int | None = None,
) -> Tensor:
    r"""Return :math:`\sum_{j \le t} v_j \, k_j^T R_t q_t` at every position.

    Args:
        queries: (B, H, T, D).
        keys: (B, H, T, D).
        values: (B, H, T, E).
        strength: lambda of each head, (H,), positive: the larger, the less the weights are held at zero.
        normalize_rows: whether the attention :math:`k_j^T R_t q_t` of a position is divided by its norm over j.
        past: of positions before the first.
        chunk: positions of a chunk; chosen by the number of channels if ``None``.

    Returns:
        (B, H, T, E).

    Example:
        >>> keys, values = torch.tensor([1.0, 2.0]).view(1, 1, 2, 1), torch.tensor([2.0, 4.0]).view(1, 1, 2, 1)
        >>> mesa_attention(keys, keys, values, torch.tensor([1e6])).flatten()  # y = 2 x
        tensor([2.0000, 4.0000])
    """
    length = queries.shape[-2]
    size = min(length, chunk or chunk_size(keys.shape[-1]))
    queries, keys, values = (in_chunks(each, size) for each in (queries, keys, values))
    dim = keys.shape[-1]
    moment, cross = sums_before(keys.mT @ keys), sums_before(keys.mT @ values)
    if past is not None:
        moment, cross = moment + past.moment.unsqueeze(-3), cross + past.cross.unsqueeze(-3)
    weak = 1 / strength.view(-1, 1, 1, 1)
    identity = torch.eye(dim, dtype=keys.dtype, device=keys.device)
    factor = cholesky(moment + weak * identity)
    solved = solve_lower(factor, torch.cat([keys.mT, queries.mT, cross], -1))
    y, z, x = solved.split([size, size, values.shape[-1]], -1)
    inner = cholesky(y.mT @ y + torch.eye(size, dtype=y.dtype, device=y.device))
    weights = torch.linalg.solve_triangular(inner.mT, solve_lower(inner, y.mT @ z).triu(), upper=True)
    result = z.mT @ x + weights.mT @ (values - y.mT @ x)
    if normalize_rows:
        rest = z - y @ weights  # G^T R q
        preconditioned = torch.linalg.solve_triangular(factor.mT, rest, upper=True)
        before = rest.square().sum(-2) - weak[..., 0] * preconditioned.square().sum(-2)
        squared = before.clamp(min=0) + weights.square().sum(-2)
        result = result * squared.clamp(min=torch.finfo(result.dtype).tiny).rsqrt()[..., None]
    return result.flatten(-3, -2)[..., :length, :]


def chunk_size(dim: int) -> int:
    """Return how many positions make a chunk: about as many as keys have channels, where work is least."""
    return min(LARGEST_CHUNK, max(16, dim))


def cholesky(matrix: Tensor) -> Tensor:
    """Return the lower factor; of a matrix that is not positive definite, not finite, without an exception."""
    factor, info = torch.linalg.cholesky_ex(matrix)
    return factor if matrix.is_cuda else factor.masked_fill((info != 0)[..., None, None], torch.nan)


def solve_lower(factor: Tensor, right: Tensor) -> Tensor:
    """Return the solution of lower triangular equations."""
    return torch.linalg.solve_triangular(factor, right, upper=False)
