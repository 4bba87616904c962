"""Causal self-attention over a sequence: softmax, linear, or the mesa layer."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from iclgd.models.sequences.linear_attention import linear_attention
from iclgd.models.sequences.mesa import mesa_attention
from iclgd.models.sequences.mesa_iterative import METHODS, iterative_mesa_attention
from iclgd.models.sequences.mesa_recursive import recursive_mesa_attention

ATTENTIONS = {
    "linear": "attention without a softmax, unscaled",
    "softmax": "softmax attention",
    "mesa": "the mesa layer: least squares of the values on the keys so far",
}
MESA_SOLVERS = {
    "exact": "exact, all chunks of positions at once",
    "recursive": "exact, position after position, as published",
    **METHODS,
}
NORMALIZATIONS = {
    "none": "heads as they are",
    "keys": "queries and keys of norm 1",
    "values": "queries and values of norm 1, as the published code has it",
}


class SequenceAttention(nn.Module):
    """Heads that look at the past, without biases and without a residual connection.

    Args:
        width: channels of a token.
        num_heads: H.
        kind: of ``ATTENTIONS``.
        key_size: channels of a head.
        mesa_solver: of ``MESA_SOLVERS``.
        mesa_steps: of solvers that take steps.
        normalize: of ``NORMALIZATIONS``, for the mesa layer.

    Example:
        >>> SequenceAttention(6, num_heads=2, kind="mesa", key_size=3)(torch.ones(4, 5, 6)).shape
        torch.Size([4, 5, 6])
    """

    def __init__(
        self,
        width: int,
        num_heads: int,
        kind: str,
        key_size: int,
        mesa_solver: str = "exact",
        mesa_steps: int = 10,
        normalize: str = "none",
    ) -> None:
        super().__init__()
        self.num_heads, self.kind = num_heads, kind
        self.mesa_solver, self.mesa_steps, self.normalize = mesa_solver, mesa_steps, normalize
        heads = num_heads * key_size
        self.query, self.key, self.value = (nn.Linear(width, heads, bias=False) for _ in range(3))
        self.output = nn.Linear(heads, width, bias=False)
        # lambda of each head begins at 1, as published; its logarithm is learned, so that it stays positive.
        self.log_strength = nn.Parameter(torch.zeros(num_heads)) if kind == "mesa" else None

    def forward(self, tokens: Tensor) -> Tensor:
        """Return what the heads read, (B, T, C) -> (B, T, C)."""
        queries, keys, values = (self._heads(each(tokens)) for each in (self.query, self.key, self.value))
        return self.output(self._attend(queries, keys, values).transpose(1, 2).flatten(2))  # type: ignore[no-any-return]

    def _attend(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        if self.log_strength is None:
            if self.kind == "softmax":
                return F.scaled_dot_product_attention(queries, keys, values, is_causal=True)
            return linear_attention(queries, keys, values)
        if self.normalize != "none":
            queries = F.normalize(queries, dim=-1)
        if self.normalize == "keys":
            keys = F.normalize(keys, dim=-1)
        if self.normalize == "values":
            values = F.normalize(values, dim=-1)
        strength = self.log_strength.exp()
        if self.mesa_solver == "exact":
            return mesa_attention(queries, keys, values, strength)
        if self.mesa_solver == "recursive":
            return recursive_mesa_attention(queries, keys, values, strength)
        return iterative_mesa_attention(queries, keys, values, strength, self.mesa_solver, self.mesa_steps)

    def _heads(self, states: Tensor) -> Tensor:
        heads: Tensor = torch.unflatten(states, -1, (self.num_heads, -1))
        return heads.transpose(1, 2)
