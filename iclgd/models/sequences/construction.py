r"""The weights with which one layer of linear attention is one step of gradient descent on the past of a sequence.

Proposition 1 of von Oswald et al. 2023b: on tokens :math:`(\Phi_0 s_t, s_t, s_{t-1})` the layer changes the first block
to :math:`(\Phi_0 - \eta \nabla L_t) s_t`, see :func:`~iclgd.models.sequences.solvers.gradient_step`.
"""

import torch
from torch import Tensor

from iclgd.models.sequences.attention import SequenceAttention
from iclgd.models.sequences.tokens import shifted


def gradient_descent_tokens(observations: Tensor, initial: Tensor) -> Tensor:
    """Return the tokens of the construction, (B, T, N) -> (B, T, 3 N), for an initial map, (N, N)."""
    return torch.cat([observations @ initial.T, observations, shifted(observations)], -1)


def gradient_descent_layer(learning_rate: float, initial: Tensor) -> SequenceAttention:
    """Return the layer, without its residual connection.

    Args:
        learning_rate: eta.
        initial: Phi_0, (N, N).

    Example:
        >>> layer = gradient_descent_layer(0.1, torch.zeros(2, 2))
        >>> layer(torch.ones(1, 3, 6)).shape
        torch.Size([1, 3, 6])
    """
    size = len(initial)
    none, identity = torch.zeros_like(initial), torch.eye(size, dtype=initial.dtype)
    layer = SequenceAttention(3 * size, num_heads=1, kind="linear", key_size=size).to(initial.dtype)
    with torch.no_grad():
        layer.query.weight.copy_(torch.cat([none, identity, none], 1))
        layer.key.weight.copy_(torch.cat([none, none, identity], 1))
        layer.value.weight.copy_(torch.cat([none, identity, -initial], 1))  # the errors of Phi_0
        layer.output.weight.copy_(learning_rate * torch.cat([identity, none, none]))
    return layer
