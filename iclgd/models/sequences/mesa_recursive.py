r"""The mesa layer position after position, as published: the inverse by Sherman and Morrison's formula.

.. math:: R_t = R_{t-1} - \frac{R_{t-1} k_t k_t^T R_{t-1}}{1 + k_t^T R_{t-1} k_t}, \quad R_0 = \lambda I

Von Oswald et al. 2023b, section 5. The weight moves with it, as in recursive least squares: its error stays of the size
of rounding, where the product of R with the sum of :math:`v k^T` would multiply that by lambda.
"""

import torch
from torch import Tensor


def recursive_mesa_attention(
    queries: Tensor, keys: Tensor, values: Tensor, strength: Tensor, *, normalize_rows: bool = False
) -> Tensor:
    r"""Return what :func:`~iclgd.models.sequences.mesa.mesa_attention` does, one position after the other.

    For generation, and beside the chunks as their check; training keeps every position's matrices in memory.

    Args:
        queries: (B, H, T, D).
        keys: (B, H, T, D).
        values: (B, H, T, E).
        strength: lambda of each head, (H,).
        normalize_rows: whether the attention :math:`k_j^T R_t q_t` of a position is divided by its norm over j.
    """
    dim = keys.shape[-1]
    identity = torch.eye(dim, dtype=keys.dtype, device=keys.device)
    inverse = (strength.view(-1, 1, 1) * identity).expand(*keys.shape[:2], -1, -1)
    weight = values.new_zeros(*values.shape[:2], values.shape[-1], dim)
    moment = torch.zeros_like(inverse)
    outputs = []
    for query, key, value in zip(*(each.unbind(-2) for each in (queries, keys, values)), strict=True):
        spread = inverse @ key[..., None]  # (B, H, D, 1)
        variance = 1 + key[..., None, :] @ spread
        gain = spread / variance
        inverse = inverse - gain @ spread.mT  # symmetric to the bit
        weight = weight + (value[..., None] - weight @ key[..., None]) @ gain.mT
        output = weight @ query[..., None]
        if normalize_rows:
            moment = moment + key[..., None] @ key[..., None, :]
            solution = inverse @ query[..., None]
            output = output / (solution.mT @ moment @ solution).sqrt()
        outputs.append(output.squeeze(-1))
    return torch.stack(outputs, -2)
