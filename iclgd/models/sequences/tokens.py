"""How observations become the tokens of a model."""

import torch
from torch import Tensor

TOKENS = {
    "observations": "each observation is a token",
    "constructed": "zeros, the observation twice, and the one before it: what gradient descent in one layer needs",
    "lagged": "each observation and those before it, of which a part of the state can be told",
}


def shifted(sequence: Tensor, num_steps: int = 1) -> Tensor:
    """Return what a sequence, (B, T, N), was some steps before; zeros before its start.

    Example:
        >>> shifted(torch.tensor([[[1.0], [2.0], [3.0]]])).flatten()
        tensor([0., 1., 2.])
    """
    return torch.cat([torch.zeros_like(sequence[:, :num_steps]), sequence[:, : sequence.shape[1] - num_steps]], 1)


def constructed_tokens(observations: Tensor, first: Tensor | None = None) -> Tensor:
    """Return the tokens (0, s_t, s_t, s_{t-1}) of observations, (B, T, N) -> (B, T, 4 N); section 3.

    The first block is where the prediction grows. The second and the third say the same: a layer may change one.

    Args:
        observations: s.
        first: the first block, if it is not zero.
    """
    first = torch.zeros_like(observations) if first is None else first
    return torch.cat([first, observations, observations, shifted(observations)], -1)


def lagged_tokens(observations: Tensor, num_lags: int) -> Tensor:
    """Return the tokens (s_t, s_{t-1}, ..., s_{t-k+1}) of observations, (B, T, N) -> (B, T, k N)."""
    return torch.cat([shifted(observations, lag) for lag in range(num_lags)], -1)
