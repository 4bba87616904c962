"""The mesa layer with its inverse by a fixed number of steps, each of which costs one linear attention.

Von Oswald et al. 2023b approximate the inverse by truncated series; conjugate gradients for all positions at once are
from von Oswald et al. 2025 (MesaNet, arXiv 2506.05233). No step knows a matrix: what multiplies by the second moment of
the past is linear attention with the keys as values.
"""

from torch import Tensor

from iclgd.models.sequences.inverses import Apply, chebyshev, conjugate_gradients, neumann
from iclgd.models.sequences.linear_attention import linear_attention

METHODS = {
    "neumann": "so many terms of the Neumann series, scaled by the trace",
    "chebyshev": "so many steps of Chebyshev's iteration, between 1 / lambda and the trace",
    "conjugate": "so many steps of conjugate gradients",
}


def iterative_mesa_attention(
    queries: Tensor, keys: Tensor, values: Tensor, strength: Tensor, method: str, num_steps: int
) -> Tensor:
    """Return :func:`~iclgd.models.sequences.mesa.mesa_attention` with an approximate inverse.

    Args:
        queries: (B, H, T, D).
        keys: (B, H, T, D).
        values: (B, H, T, E).
        strength: lambda of each head, (H,).
        method: of ``METHODS``.
        num_steps: products with the second moment of the past.

    Raises:
        KeyError: for an unknown method.
    """
    weak = 1 / strength.view(-1, 1, 1)

    def apply(states: Tensor) -> Tensor:
        return linear_attention(states, keys, keys) + weak * states

    return linear_attention(_solve(method, apply, queries, keys, weak, num_steps), keys, values)


def _solve(method: str, apply: Apply, queries: Tensor, keys: Tensor, weak: Tensor, num_steps: int) -> Tensor:
    if method == "conjugate":
        return conjugate_gradients(apply, queries, num_steps)
    trace = keys.square().sum(-1).cumsum(-1)[..., None] + weak  # no eigenvalue is larger
    if method == "chebyshev":
        return chebyshev(apply, queries, weak, trace, num_steps)
    if method == "neumann":
        return neumann(apply, queries, trace, num_steps)
    raise KeyError(method)
