r"""The mesa layer of von Oswald et al. 2023b (arXiv 2309.05858), section 5: attention that solves least squares.

.. math:: o_t = \sum_{j \le t} v_j \, k_j^T R_t q_t, \quad
    R_t = \Big( \sum_{j \le t} k_j k_j^T + \tfrac{1}{\lambda} I \Big)^{-1}

which is :math:`B_t q_t` with the weight :math:`B_t` of ridge regression of the values on the keys so far.

The published layer computes :math:`R_t` position after position. Here it is exact as well, but chunk after chunk, all
of them at once, with products of matrices alone. With R the inverse and :math:`P = \sum k_j v_j^T` from before a chunk,
and the chunk's K, V and Q as rows, let

.. math:: I + K R K^T = L L^T, \quad W = L^{-T} \, \mathrm{triu}(L^{-1} K R Q^T).

By Woodbury's identity the inverse at a position t within the chunk needs the inverse of the leading block of
:math:`I + K R K^T`, whose Cholesky factor is the leading block of L: one factor serves all positions. Entry (j, t) of W
is :math:`k_j^T R_t q_t`, and

.. math:: O = Q R P + W^T (V - K R P):

predictions by the weight from before the chunk, and attention to what that weight leaves of the chunk's values. The
gradient needs no derivative of a factorisation: with :math:`x_t = R_t q_t`, and :math:`y_t = R_t g_t` of its gradient
:math:`g_t`, that of the sum of :math:`k k^T` up to t is :math:`-x_t y_t^T`, which goes to the keys by linear attention
from the end to the start.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from iclgd.models.sequences.linear_attention import in_chunks, sums_after, sums_before

ONE_CHUNK = 64  # positions that are not divided
LEAST_CHUNK = 16


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
    past: Past | None = None,
    chunk: int | None = None,
) -> Tensor:
    r"""Return :math:`\sum_{j \le t} v_j \, k_j^T R_t q_t` at every position, in single precision or better.

    Args:
        queries: (B, H, T, D).
        keys: (B, H, T, D).
        values: (B, H, T, E).
        strength: lambda of each head, (H,), positive: the larger, the less the weights are held at zero.
        past: of positions before the first; no gradient goes there.
        chunk: positions of a chunk; chosen by the number of channels if ``None``.

    Returns:
        (B, H, T, E), in the type of the values.

    Example:
        >>> keys, values = torch.tensor([1.0, 2.0]).view(1, 1, 2, 1), torch.tensor([2.0, 4.0]).view(1, 1, 2, 1)
        >>> mesa_attention(keys, keys, values, torch.tensor([1e6])).flatten()  # y = 2 x
        tensor([2.0000, 4.0000])
    """
    length, dtype = queries.shape[-2], values.dtype
    size = min(length, chunk or chunk_size(length, keys.shape[-1]))
    with torch.autocast(queries.device.type, enabled=False):
        precise = torch.promote_types(dtype, torch.float32)
        parts = (in_chunks(each.to(precise), size) for each in (queries, keys, values))
        result: Tensor = _ChunkedMesa.apply(  # type: ignore[no-untyped-call]
            *parts, strength.to(precise), past
        )
    return result.flatten(-3, -2)[..., :length, :].to(dtype)


def chunk_size(length: int, dim: int) -> int:
    """Return how many positions make a chunk: about as many as keys have channels, where work is least."""
    return length if length <= ONE_CHUNK else min(ONE_CHUNK, max(LEAST_CHUNK, dim))


class _Chunks(NamedTuple):
    """What solves for the positions of every chunk: (..., chunks, C, C or D)."""

    inverse: Tensor  # R from before the chunk
    keys: Tensor  # K R
    factor: Tensor  # the inverse of L

    def attention(self, right: Tensor) -> Tensor:
        """Return W for right-hand sides in place of the queries."""
        return self.factor.mT @ (self.factor @ (self.keys @ right.mT)).triu_()

    def solution(self, right: Tensor, attention: Tensor) -> Tensor:
        """Return R_t times the right-hand sides, of which W is known."""
        return right @ self.inverse - attention.mT @ self.keys


class _ChunkedMesa(torch.autograd.Function):
    """The layer on chunks, (B, H, chunks, C, D)."""

    @staticmethod
    def forward(ctx: Any, queries: Tensor, keys: Tensor, values: Tensor, strength: Tensor, past: Past | None) -> Tensor:
        cross = sums_before(keys.mT @ values)
        if past is not None:
            cross = cross + past.cross.unsqueeze(-3)
        inverse = _inverse_before(keys, strength, past)
        solved_keys = keys @ inverse
        inner = solved_keys @ keys.mT
        inner.diagonal(dim1=-2, dim2=-1).add_(1)
        chunks = _Chunks(inverse, solved_keys, inverse_factor(inner))
        attention = chunks.attention(queries)
        weight = inverse @ cross
        ctx.save_for_backward(queries, keys, values, strength, cross, attention, *chunks)
        return queries @ weight + attention.mT @ (values - keys @ weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        queries, keys, values, strength, cross, attention, *rest = ctx.saved_tensors
        chunks = _Chunks(*rest)
        x = chunks.solution(queries, attention)
        with_values = (upstream @ values.mT).tril_()  # (t, j)
        gradient = with_values @ keys + upstream @ cross.mT  # of x
        attention_y = chunks.attention(gradient)
        y = chunks.solution(gradient, attention_y)
        later, later_moment = sums_after(x.mT @ upstream), sums_after(x.mT @ y)
        of_keys = with_values.mT @ x - attention @ y - attention_y @ x
        of_keys += values @ later.mT - keys @ (later_moment + later_moment.mT)
        of_values = attention @ upstream + keys @ later
        of_strength = (x * y).sum((-1, -2, -3)).sum(0) / strength.square()
        return y, of_keys, of_values, of_strength, None


def _inverse_before(keys: Tensor, strength: Tensor, past: Past | None) -> Tensor:
    """Return R from before each chunk, (B, H, chunks, D, D); of the first it is lambda I if there is no past."""
    identity = torch.eye(keys.shape[-1], dtype=keys.dtype, device=keys.device)
    scale = strength.view(-1, 1, 1, 1)
    moment = sums_before(keys.mT @ keys) + identity / scale
    if past is not None:
        moment = moment + past.moment.unsqueeze(-3)
        factor = inverse_factor(moment)
        return factor.mT @ factor
    first = (scale * identity).expand(*keys.shape[:2], 1, -1, -1)
    if keys.shape[-3] == 1:
        return first
    factor = inverse_factor(moment[..., 1:, :, :])
    return torch.cat([first, factor.mT @ factor], -3)


def inverse_factor(matrix: Tensor) -> Tensor:
    """Return the inverse of the Cholesky factor; NaN where a matrix is not positive definite, without an exception."""
    factor, info = torch.linalg.cholesky_ex(matrix)
    factor = factor.masked_fill((info != 0)[..., None, None], torch.nan)
    identity = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
    inverse: Tensor = torch.linalg.solve_triangular(factor, identity.expand_as(factor), upper=False)
    return inverse
