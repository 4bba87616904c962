"""Self-attention over context tokens: the last token asks, and is never a key or a value."""

import math

import torch
from torch import Tensor, nn

ATTENTIONS = {
    "linear": "scores as they are: no scale, no 1/N",
    "softmax": "softmax over the context of the scores divided by the root of the key size",
}


class SelfAttention(nn.Module):
    r"""One multi-head self-attention layer without biases, [vO] equation 1, as its published code computes it.

    .. math:: \Delta e_j = \sum_h \sum_{i \le N} a(e_j W_Q^h \cdot e_i W_K^h)\; e_i W_V^h W_P^h

    with ``a`` the identity (linear attention: no scale, no 1/N) or the softmax over i of the scores divided by the root
    of the key size. Weights act from the right, ``x @ W``: ``query``, ``key``, ``value`` are (H, C, K) and ``linear``
    (W_P) is (H, K, C) for H heads, C channels and K = C. Token tensors are (tokens, channels, tasks).

    Args:
        num_channels: width C of a token.
        num_heads: number of heads H.
        attention: ``"linear"`` or ``"softmax"``.

    Raises:
        ValueError: for another kind of attention.
    """

    query: Tensor
    key: Tensor
    value: Tensor
    linear: Tensor

    def __init__(self, num_channels: int, num_heads: int = 1, attention: str = "linear") -> None:
        super().__init__()
        if attention not in ATTENTIONS:
            raise ValueError(f"attention must be one of {', '.join(ATTENTIONS)}, got {attention!r}")
        self.attention = attention
        for name in ("query", "key", "value", "linear"):
            self.register_parameter(name, nn.Parameter(torch.zeros(num_heads, num_channels, num_channels)))

    def initialize(self, scale: float, generator: torch.Generator) -> None:
        """Draw the weights from a normal distribution cut at two sigma, with variance ``scale / fan_in``."""
        num_heads, num_channels, _ = self.query.shape
        for weight in (self.query, self.key, self.value, self.linear):
            fan_in = num_heads * num_channels if weight is self.linear else num_channels
            # Cutting at two sigma shrinks the standard deviation by this factor.
            sigma = math.sqrt(scale / fan_in) / 0.87962566103423978
            nn.init.trunc_normal_(weight, std=sigma, a=-2 * sigma, b=2 * sigma, generator=generator)

    def forward(self, hidden: Tensor) -> Tensor:
        """Return the update of every token, (N + 1, C, B); the last token is the query."""
        context = hidden[:-1]
        query = torch.einsum("tcb,hck->thkb", hidden, self.query)
        key = torch.einsum("ncb,hck->nhkb", context, self.key)
        value = torch.einsum("ncb,hck->nhkb", context, self.value)
        weights = self._weights(torch.einsum("thkb,nhkb->nthb", query, key))
        mixed = torch.einsum("nthb,nhkb->thkb", weights, value)
        return torch.einsum("thkb,hkc->tcb", mixed, self.linear)

    def read_out(self, context: Tensor, query: Tensor, num_outputs: int) -> Tensor:
        """Return only what :meth:`forward` adds to the last ``num_outputs`` channels of the query token.

        Args:
            context: context tokens, (N, C, B).
            query: the query token, (C, B).
            num_outputs: number O of channels to compute.

        Returns:
            Their update, (O, B).
        """
        # The weights enter only as two products: one question per head, one column of values per head and output.
        # Multiply-and-add over contiguous tasks beats einsum's thousands of tiny matrix products here.
        question = self.query_key() @ query  # (H, C, B)
        columns = self.value @ self.linear[:, :, -num_outputs:]  # (H, C, O)
        scores = (context[:, None] * question).sum(2)  # (N, H, B)
        values = (context[:, None, None] * columns.mT[..., None]).sum(3)  # (N, H, O, B)
        return (self._weights(scores)[:, :, None] * values).sum((0, 1))

    def query_key(self) -> Tensor:
        """Return the product ``W_K W_Q^T`` of each head, (H, C, C): from the query's token (columns) to the key's."""
        return self.key @ self.query.mT

    def value_linear(self) -> Tensor:
        """Return the product ``W_V W_P`` of each head, (H, C, C): from the value's token (rows) to the update."""
        return self.value @ self.linear

    def _weights(self, scores: Tensor) -> Tensor:
        """Turn scores into attention weights; dimension 0 is the key's token."""
        if self.attention == "linear":
            return scores
        return torch.softmax(scores / math.sqrt(self.key.shape[-1]), dim=0)
