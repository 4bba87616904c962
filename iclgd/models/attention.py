"""Self-attention over context tokens: the last token asks, and is never a key or a value."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from iclgd.models.batched_matmul import mix_channels, multiply_per_task
from iclgd.models.initialization import truncated_normal_

ATTENTIONS = {
    "linear": "scores as they are: no scale, no 1/N",
    "softmax": "softmax over the context of the scores divided by the root of the key size",
    "mixture": "a learned mean of softmax and linear attention weights",
}
_MIXTURE_SLOPE = 10.0  # of the published code: the softmax's share is sigmoid(10 * parameter)


class SelfAttention(nn.Module):
    r"""One multi-head self-attention layer, [vO] equation 1, as its published code computes it.

    .. math:: \Delta e_j = \sum_h \sum_{i \le N} a(e_j W_Q^h \cdot e_i W_K^h)\; e_i W_V^h W_P^h

    with ``a`` the identity (linear attention: no scale, no 1/N), the softmax over i of the scores divided by the root
    of the key size, or a learned mean of both. Weights act from the right, ``x @ W``: ``query``, ``key``, ``value`` are
    (H, C, K) and ``linear`` (W_P) is (H, K, C) for H heads, C channels and key size K. With biases, queries, keys and
    values have one each, ``*_bias`` (H, K), and the update ``linear_bias`` (C). Token tensors are
    (tokens, channels, tasks).

    Args:
        num_channels: width C of a token.
        num_heads: number of heads H.
        attention: ``"linear"``, ``"softmax"`` or ``"mixture"``.
        key_size: K; C if ``None``.
        bias: whether there are biases.

    Raises:
        ValueError: for another kind of attention.
    """

    query: Tensor
    key: Tensor
    value: Tensor
    linear: Tensor

    def __init__(
        self,
        num_channels: int,
        num_heads: int = 1,
        attention: str = "linear",
        key_size: int | None = None,
        bias: bool = False,
    ) -> None:
        super().__init__()
        if attention not in ATTENTIONS:
            raise ValueError(f"attention must be one of {', '.join(ATTENTIONS)}, got {attention!r}")
        self.attention = attention
        self.bias = bias
        key_size = key_size or num_channels
        for name in ("query", "key", "value"):
            self.register_parameter(name, nn.Parameter(torch.zeros(num_heads, num_channels, key_size)))
        self.register_parameter("linear", nn.Parameter(torch.zeros(num_heads, key_size, num_channels)))
        if bias:
            for name in ("query_bias", "key_bias", "value_bias"):
                self.register_parameter(name, nn.Parameter(torch.zeros(num_heads, key_size)))
            self.linear_bias = nn.Parameter(torch.zeros(num_channels))
        if attention == "mixture":
            self.softmax_share = nn.Parameter(torch.zeros(()))

    def initialize(self, scale: float, generator: torch.Generator) -> None:
        """Draw the weights from a normal distribution cut at two sigma, of variance ``scale / fan_in``."""
        num_heads, num_channels, key_size = self.query.shape
        for weight in (self.query, self.key, self.value, self.linear):
            fan_in = num_heads * key_size if weight is self.linear else num_channels
            truncated_normal_(weight, scale / fan_in, generator)
        if self.attention == "mixture":
            truncated_normal_(self.softmax_share, scale, generator)

    def forward(self, context: Tensor, tokens: Tensor, start: Tensor | None = None) -> Tensor:
        """Return what attention to the context adds to tokens, together with what it is added to.

        Args:
            context: what is attended to, (N, C, B).
            tokens: what attends, (T, C, B).
            start: what to add to, (T, C, B); nothing if ``None``.

        Returns:
            The sum, (T, C, B).
        """
        context, tokens = self._with_ones(context), self._with_ones(tokens)
        keys = context.transpose(0, 1)  # (C, N, B)
        # Without a softmax the sum over the context can come first: its size is then that of a weight, whatever N is.
        sum_first = self.attention == "linear" and keys.shape[1] > keys.shape[0]
        total = start
        for qk, ov in zip(self.qk_matrix(), self.ov_matrix(), strict=True):
            queries = mix_channels(qk, tokens)  # (T, C, B)
            values = mix_channels(ov.T, context)  # (N, C, B)
            if sum_first:
                total = multiply_per_task(queries, multiply_per_task(keys, values), total)
            else:
                total = multiply_per_task(self._weights(multiply_per_task(queries, keys)), values, total)
        assert total is not None
        return total + self.linear_bias[:, None] if self.bias else total

    def read_out(self, context: Tensor, query: Tensor, num_outputs: int) -> Tensor:
        """Return only what :meth:`forward` adds to the last ``num_outputs`` channels of a single token.

        Args:
            context: context tokens, (N, C, B).
            query: the query token, (C, B).
            num_outputs: number O of channels to compute.

        Returns:
            Their update, (O, B).
        """
        # The weights enter only as two products: one query per head, one column of values per head and output.
        context, (query,) = self._with_ones(context), self._with_ones(query[None])
        query_by_head = self.qk_matrix() @ query  # (H, C, B)
        columns = self._augmented("value") @ self.linear[:, :, -num_outputs:]  # (H, C, O)
        scores = (context[:, None] * query_by_head).sum(2)  # (N, H, B)
        values = (context[:, None, None] * columns.mT[..., None]).sum(3)  # (N, H, O, B)
        update = (self._weights(scores, dim=0)[:, :, None] * values).sum((0, 1))
        return update + self.linear_bias[-num_outputs:, None] if self.bias else update

    def attention_weights(self, context: Tensor, tokens: Tensor) -> Tensor:
        """Return the weights with which tokens attend to the context, (H, T, N, B); arguments as in :meth:`forward`."""
        context, tokens = self._with_ones(context), self._with_ones(tokens)
        scores = [
            multiply_per_task(mix_channels(product, tokens), context.transpose(0, 1)) for product in self.qk_matrix()
        ]
        return self._weights(torch.stack(scores))

    def qk_matrix(self) -> Tensor:
        """Return the product ``W_K W_Q^T`` of each head, (H, C, C): from the query's token (columns) to the key's.

        With biases there is one more channel, which is 1 in every token.
        """
        return self._augmented("key") @ self._augmented("query").mT

    def ov_matrix(self) -> Tensor:
        """Return the product ``W_V W_P`` of each head, (H, C, C): from the value's token (rows) to the update.

        With biases there is one more row, for a channel that is 1 in every token.
        """
        return self._augmented("value") @ self.linear

    def _augmented(self, name: str) -> Tensor:
        """Return a weight with its bias as the last row."""
        weight: Tensor = getattr(self, name)
        return torch.cat([weight, getattr(self, f"{name}_bias")[:, None]], dim=1) if self.bias else weight

    def _with_ones(self, tokens: Tensor) -> Tensor:
        """Append the channel that the biases multiply."""
        return F.pad(tokens, (0, 0, 0, 1), value=1.0) if self.bias else tokens

    def _weights(self, scores: Tensor, dim: int = -2) -> Tensor:
        """Turn scores into attention weights; ``dim`` is that of the key's token."""
        if self.attention == "linear":
            return scores
        weights = torch.softmax(scores / math.sqrt(self.key.shape[-1]), dim=dim)
        if self.attention == "mixture":
            share = torch.sigmoid(_MIXTURE_SLOPE * self.softmax_share)
            weights = share * weights + (1 - share) * scores
        return weights
