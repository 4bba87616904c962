r"""Solutions of many small equations :math:`A x = b` by products with A alone, in a fixed number of steps.

Each takes ``apply``, which multiplies right-hand sides (..., D) by their symmetric positive definite matrices. The
published approximations are series :math:`\sum_k c_k A^k`: von Oswald et al. 2023b, section 4 and appendix.
"""

from collections.abc import Callable

import torch
from torch import Tensor

Apply = Callable[[Tensor], Tensor]


def neumann(apply: Apply, right: Tensor, scale: Tensor | float, num_steps: int) -> Tensor:
    r"""Return :math:`\frac1c \sum_{k=0}^{K} (I - A / c)^k b`, which converges for c above half A's largest eigenvalue.

    Args:
        apply: multiplies by A.
        right: b, (..., D).
        scale: c, (..., 1).
        num_steps: K.

    Example:
        >>> neumann(lambda x: 0.5 * x, torch.ones(1), 1.0, num_steps=3)
        tensor([1.8750])
    """
    term = total = right / scale
    for _ in range(num_steps):
        term = term - apply(term) / scale
        total = total + term
    return total


def polynomial(apply: Apply, right: Tensor, scale: Tensor | float, alphas: Tensor, betas: Tensor) -> Tensor:
    r"""Return the published Chebyshev approximation; with betas of zero it is Richardson's.

    On A / c: ``term <- (I - alpha A / c) term`` and ``sum <- sum + term + beta (sum - previous sum)``, from ``term =
    sum = previous sum = b / c``.

    Args:
        apply: multiplies by A.
        right: b, (..., D).
        scale: c, (..., 1): the Frobenius norm of A.
        alphas: (K,).
        betas: (K,).
    """
    term = total = previous = right / scale
    for alpha, beta in zip(alphas, betas, strict=True):
        term = term - alpha * apply(term) / scale
        total, previous = total + term + beta * (total - previous), total
    return total


def chebyshev(apply: Apply, right: Tensor, low: Tensor, high: Tensor, num_steps: int) -> Tensor:
    """Return the iterate of Chebyshev's semi-iteration from zero; Saad 2003, algorithm 12.1.

    Of all polynomials of A with that degree it has the smallest largest error on the interval of eigenvalues.

    Args:
        apply: multiplies by A.
        right: b, (..., D).
        low: bound of A's eigenvalues, (..., 1).
        high: likewise.
        num_steps: products with A.
    """
    centre, half = (high + low) / 2, (high - low) / 2
    ratio = centre / half
    step = 1 / ratio
    solution, residual = torch.zeros_like(right), right
    change = residual / centre
    for _ in range(num_steps):
        solution = solution + change
        residual = residual - apply(change)
        following = 1 / (2 * ratio - step)
        change = following * step * change + 2 * following / half * residual
        step = following
    return solution + change


def conjugate_gradients(apply: Apply, right: Tensor, num_steps: int) -> Tensor:
    """Return the iterate of conjugate gradients from zero; what is solved already stays.

    Args:
        apply: multiplies by A.
        right: b, (..., D).
        num_steps: products with A; D of them are exact but for rounding.

    Example:
        >>> matrix = torch.tensor([[2.0, 1.0], [1.0, 3.0]])
        >>> conjugate_gradients(lambda x: x @ matrix, torch.tensor([3.0, 4.0]), num_steps=2).round(decimals=4)
        tensor([1., 1.])
    """
    tiny = torch.finfo(right.dtype).tiny
    solution, residual, direction = torch.zeros_like(right), right, right
    square = residual.square().sum(-1, keepdim=True)
    for _ in range(num_steps):
        image = apply(direction)
        curvature = (direction * image).sum(-1, keepdim=True)
        length = square / curvature.clamp(min=tiny)
        solution = solution + length * direction
        residual = residual - length * image
        following = residual.square().sum(-1, keepdim=True)
        direction = residual + following / square.clamp(min=tiny) * direction
        square = following
    return solution


def newton_inverse(matrix: Tensor, num_steps: int) -> Tensor:
    r"""Return :math:`M_K` of Newton's iteration :math:`M \leftarrow M (2 I - A M)` from :math:`I / \mathrm{tr} A`.

    Args:
        matrix: A, (..., D, D).
        num_steps: K.
    """
    identity = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
    inverse = identity / matrix.diagonal(dim1=-2, dim2=-1).sum(-1)[..., None, None]
    for _ in range(num_steps):
        inverse = inverse @ (2 * identity - matrix @ inverse)
    return inverse
