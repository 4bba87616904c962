r"""Least squares with ever more examples: the weights of every position, from those of the positions before.

Greville 1960, in the symmetric form of recursive least squares. :math:`P` is the pseudo-inverse of the past's Gram
matrix :math:`\sum_j x_j x_j^T`, :math:`Q` the projection on what is orthogonal to the past. A new input
:math:`x` has the gain :math:`k = Q x / (x^T Q x)` where it is independent of the past, otherwise
:math:`k = P x / (1 + x^T P x)`; then

.. math:: w \leftarrow w + k (y - w^T x), \quad P \leftarrow (I - k x^T) P (I - x k^T) + k k^T.

Ridge regression starts at :math:`P = I / \lambda` instead of zero, and every input counts as dependent.

Where the first D inputs of a prompt are independent by far, least squares learns from blocks of examples together
(Kailath 1968, innovations). A block of inputs :math:`Z`, one a row, with targets :math:`y` has

.. math:: L L^T = I + Z P Z^T, \quad G = L^{-1} Z P, \quad u = L^{-1} (y - Z w)

and each of its examples adds :math:`u_j G_j` to the weight; then :math:`P` is less by :math:`G^T G`. The first block
is of D examples, without the first I and with I for :math:`P`: all are fitted.
"""

import torch
from torch import Tensor

from iclgd.models.every_position.learner import batches

BATCH = 256  # prompts: their matrices fit into a core's cache
BLOCK = 48  # examples: solving for more at once costs more than it saves
SAFE = 1e-6  # share of the past's squared norm that independent inputs keep: with less, Gram matrices are too inexact


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
    x, y = x.detach().double(), y.detach().double()
    found = [_fitted(*some) for some in batches(BATCH, x, y)]
    weights, is_safe = (torch.cat(parts) for parts in zip(*found, strict=True))
    left = (~is_safe).nonzero().squeeze(1)
    if len(left):
        alone = [_one_by_one(*some, precision=precision) for some in batches(BATCH, x[left], y[left])]
        weights[left] = torch.cat(alone)
    return weights


def ridge_weights(x: Tensor, y: Tensor, regularization: float) -> Tensor:
    """Return at every position the ridge solution from the examples before it; as :func:`minimum_norm_weights`.

    Args:
        x: inputs, (B, N, D).
        y: targets, (B, N).
        regularization: lambda, positive, for the *summed* squared error.
    """
    return torch.cat(
        [_one_by_one(*some, regularization=regularization) for some in batches(BATCH, x.double(), y.double())]
    )


@torch.no_grad()
def _fitted(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return the weights (B, N, D) that blocks give, and whether the first D inputs are independent by far, (B,)."""
    inputs, later = x[:, : x.shape[2]], x[:, x.shape[2] :]
    factor = torch.linalg.cholesky_ex(inputs @ inputs.mT).L
    seen = inputs.square().sum(-1).cumsum(1)
    is_safe = (factor.diagonal(dim1=1, dim2=2).square() > SAFE * seen).all(1)
    steps, basis = _steps(factor, y[:, : x.shape[2]], inputs.mT)
    weights = [steps[:, :-1]]
    if later.shape[1]:
        half = torch.linalg.solve_triangular(factor.mT, basis.mT, upper=True)  # the inverse of all D inputs, transposed
        weights += _learned(later, y[:, x.shape[2] :], steps[:, -1], half.mT @ half)
    return torch.cat(weights, 1), is_safe


def _learned(x: Tensor, y: Tensor, weight: Tensor, inverse: Tensor) -> list[Tensor]:
    """Return the weights (B, K, D) of block after block, from the weight (B, D) and P (B, D, D) before the first."""
    inputs, targets = x[:, :BLOCK], y[:, :BLOCK]
    spread = inverse @ inputs.mT
    covariance = inputs @ spread
    covariance.diagonal(dim1=1, dim2=2).add_(1)
    surprise = targets - (inputs @ weight[..., None]).squeeze(-1)
    steps, gains = _steps(torch.linalg.cholesky_ex(covariance).L, surprise, spread)
    steps += weight[:, None]
    weights = [steps[:, :-1]]
    if x.shape[1] > BLOCK:
        weights += _learned(x[:, BLOCK:], y[:, BLOCK:], steps[:, -1], inverse - gains @ gains.mT)
    return weights


def _steps(factor: Tensor, surprise: Tensor, spread: Tensor) -> tuple[Tensor, Tensor]:
    """Return how far the weight has come before each of K examples and after all, (B, K + 1, D), and G^T, (B, D, K).

    Args:
        factor: L, (B, K, K).
        surprise: y - Z w, (B, K).
        spread: P Z^T, (B, D, K).
    """
    columns = torch.cat([spread, surprise[:, None]], 1)
    solved = torch.linalg.solve_triangular(factor, columns.mT, upper=False).mT  # in LAPACK's layout
    gains = solved[:, :-1]
    steps = torch.zeros(*gains.shape[:2], gains.shape[2] + 1, dtype=gains.dtype, device=gains.device)
    torch.cumsum(solved[:, -1:] * gains, 2, out=steps[..., 1:])
    return steps.mT, gains


@torch.no_grad()
def _one_by_one(x: Tensor, y: Tensor, *, precision: float = 0.0, regularization: float | None = None) -> Tensor:
    """Return the weights (B, N, D) of any inputs, example after example: ridge solutions, if it is given a penalty."""
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
