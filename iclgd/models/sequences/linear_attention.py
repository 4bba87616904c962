"""Causal attention without a softmax, in time that grows linearly with the length."""

import torch
from torch import Tensor
from torch.nn import functional as F

CHUNK = 64  # positions whose scores are one matrix; what comes before them is one state


def linear_attention(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    r"""Return :math:`\sum_{j \le t} v_j \, k_j^T q_t` at every position, unscaled.

    Args:
        queries: (..., T, D).
        keys: (..., T, D).
        values: (..., T, E).

    Returns:
        (..., T, E).

    Example:
        >>> ones = torch.ones(1, 1, 3, 1)
        >>> linear_attention(ones, ones, torch.tensor([[[[1.0], [2.0], [4.0]]]])).flatten()
        tensor([1., 3., 7.])
    """
    length = queries.shape[-2]
    if length <= CHUNK:
        return (queries @ keys.mT).tril() @ values
    queries, keys, values = (in_chunks(each, CHUNK) for each in (queries, keys, values))
    before = sums_before(keys.mT @ values)
    result = (queries @ keys.mT).tril() @ values + queries @ before
    return result.flatten(-3, -2)[..., :length, :]


def in_chunks(states: Tensor, size: int) -> Tensor:
    """Return the positions in chunks, the last of them filled with zeros, (..., T, D) -> (..., chunks, size, D)."""
    padded = F.pad(states, (0, 0, 0, -states.shape[-2] % size))
    chunks: Tensor = torch.unflatten(padded, -2, (-1, size))
    return chunks


def sums_before(of_chunks: Tensor) -> Tensor:
    """Return what the chunks before each sum up to, zero for the first; chunks are the third axis from the end."""
    sums = of_chunks[..., :-1, :, :].cumsum(-3)
    return torch.cat([torch.zeros_like(of_chunks[..., :1, :, :]), sums], -3)


def sums_after(of_chunks: Tensor) -> Tensor:
    """Return what the chunks after each sum up to, zero for the last."""
    return sums_before(of_chunks.flip(-3)).flip(-3)
