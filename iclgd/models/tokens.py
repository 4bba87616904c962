"""From regression problems to token sequences.

Token tensors are ``(tokens, channels, tasks)`` in index *and* memory: sums over tokens or channels then run over
contiguous tasks. T = N + 1 tokens, C = D + O channels.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def joint_tokens(x: Tensor, y: Tensor, query: Tensor, initial_weight: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Concatenate inputs and targets to tokens ``e_i = (x_i, y_i)``; [vO] section 2.

    The query's token is ``(x_query, -W0 x_query)``, so ``(x_query, 0)`` without an initial weight.

    Args:
        x: context inputs, (B, N, D).
        y: context targets, (B, N, O).
        query: query inputs, (B, D).
        initial_weight: W0 of the learner to imitate, (O, D).

    Returns:
        The context tokens, (N, D + O, B), and the query token, (D + O, B).

    Example:
        >>> context, query = joint_tokens(torch.ones(2, 4, 3), torch.zeros(2, 4, 1), torch.ones(2, 3))
        >>> tuple(context.shape), tuple(query.shape)
        ((4, 4, 2), (4, 2))
    """
    context = torch.cat([x.permute(1, 2, 0), y.permute(1, 2, 0)], dim=1)
    if initial_weight is None:
        return context, F.pad(query.T, (0, 0, 0, y.shape[-1]))
    return context, torch.cat([query.T, -(initial_weight @ query.T)])
