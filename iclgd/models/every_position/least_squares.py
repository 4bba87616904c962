r"""Least squares with ever more examples: the weights of every position, from those of the position before.

Greville 1960, in the symmetric form of recursive least squares. :math:`P` is the pseudo-inverse of the past's Gram
matrix :math:`\sum_j x_j x_j^T`, :math:`Q` the projection on what is orthogonal to the past. A new input
:math:`x` has the gain :math:`k = Q x / (x^T Q x)` where it is independent of the past, otherwise
:math:`k = P x / (1 + x^T P x)`; then

.. math:: w \leftarrow w + k (y - w^T x), \quad P \leftarrow (I - k x^T) P (I - x k^T) + k k^T.

Ridge regression starts at :math:`P = I / \lambda` instead of zero, and every input counts as dependent.
"""

import torch
from torch import Tensor

from iclgd.models.every_position.learner import batches

BATCH = 256  # prompts: their matrices fit into a core's cache


def minimum_norm_weights(x: Tensor, y: Tensor) -> Tensor:
    """Return at every position the weight of smallest norm among those that fit the examples before it best.

    Directions in which the past's inputs are smaller than their rounding errors, times max(N, D), count as none, as in
    LAPACK's drivers. Computed in double precision.

    Args:
        x: inputs, (B, N, D).
        y: targets, (B, N).

    Returns:
        (B, N, D) in double precision, zero at position 0.
    """
    precision = torch.finfo(x.dtype).eps
    return torch.cat([_weights(*some, precision=precision) for some in batches(BATCH, x.double(), y.double())])


def ridge_weights(x: Tensor, y: Tensor, regularization: float) -> Tensor:
    """Return at every position the ridge solution from the examples before it; as :func:`minimum_norm_weights`.

    Args:
        x: inputs, (B, N, D).
        y: targets, (B, N).
        regularization: lambda, positive, for the *summed* squared error.
    """
    return torch.cat(
        [_weights(*some, regularization=regularization) for some in batches(BATCH, x.double(), y.double())]
    )


@torch.no_grad()
def _weights(x: Tensor, y: Tensor, *, precision: float = 0.0, regularization: float | None = None) -> Tensor:
    num_prompts, num_points, dim = x.shape
    inputs, targets = x.permute(1, 2, 0).contiguous(), y.T.contiguous()  # prompts last: whole vectors of them
    weights = inputs.new_zeros(num_points, dim, num_prompts)
    weight = weights[0].clone()
    identity = torch.eye(dim, dtype=x.dtype, device=x.device)[..., None].expand(dim, dim, num_prompts)
    inverse = torch.zeros_like(identity).contiguous() if regularization is None else identity / regularization
    complement = identity.contiguous() if regularization is None else None
    seen = 0 * targets[0]  # the squared norm of all inputs so far
    rank = seen.long()
    for position, (new, target) in enumerate(zip(inputs, targets, strict=True)):
        weights[position] = weight
        spread = (inverse * new[:, None]).sum(0)
        variance = 1 + (new * spread).sum(0)
        gain = spread / variance
        if complement is not None:
            seen = seen + new.square().sum(0)
            rest = (complement * new[:, None]).sum(0)
            rest = (complement * rest[:, None]).sum(0)  # twice, or rounding errors grow with the condition number
            squared = rest.square().sum(0)
            # The smallest singular value that the past would have with this input; zero inputs are dependent.
            smallest = precision * max(position + 1, dim)
            is_independent = squared > smallest**2 * variance * seen
            gain = torch.where(is_independent, rest / squared, gain)
            complement.addcmul_(torch.where(is_independent, gain, 0.0)[:, None], rest, value=-1)
            half = spread - variance / 2 * gain
            inverse.addcmul_(gain[:, None], half, value=-1).addcmul_(half[:, None], gain, value=-1)
            rank += is_independent
            if position + 1 >= dim and rank.min() == dim:  # of all prompts: all further inputs are dependent
                complement = None
        else:
            inverse.addcmul_(gain[:, None], spread, value=-1)
        weight = weight + gain * (target - (new * weight).sum(0))
    return weights.permute(2, 0, 1)
