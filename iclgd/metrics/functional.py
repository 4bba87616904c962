"""Pure functions beneath the metrics. Shapes: B tasks, O outputs, D inputs.

Each returns the sum over what it averages and the number of terms, so that batches and devices add up exactly.
"""

import torch
from torch import Tensor

EPSILON = 1e-8  # added to a norm before dividing by it, as in [vO]'s code: a zero vector has cosine 0


def half_mean_squared_error(preds: Tensor, target: Tensor) -> tuple[Tensor, int]:
    r"""Sum :math:`\frac12 |\hat y_b - y_b|^2` over tasks; preds and target (B, O)."""
    _check_same_shape(preds, target)
    return 0.5 * (preds - target).square().sum(), len(preds)


def prediction_l2(preds: Tensor, target: Tensor) -> tuple[Tensor, int]:
    r"""Sum :math:`|\hat y_b - \hat y'_b|_2` over tasks; preds and target (B, O)."""
    _check_same_shape(preds, target)
    return torch.linalg.vector_norm(preds - target, dim=-1).sum(), len(preds)


def sensitivity_l2(preds: Tensor, target: Tensor) -> tuple[Tensor, int]:
    r"""Sum :math:`|s_{bo} - s'_{bo}|_2` over tasks and outputs; preds and target (B, O, D)."""
    _check_same_shape(preds, target)
    norms = torch.linalg.vector_norm(preds - target, dim=-1)
    return norms.sum(), norms.numel()


def sensitivity_cosine(preds: Tensor, target: Tensor) -> tuple[Tensor, int]:
    r"""Sum :math:`\cos(s_{bo}, s'_{bo})` over tasks and outputs, 0 for a zero vector; both arguments (B, O, D)."""
    _check_same_shape(preds, target)
    cosines = (_unit(preds) * _unit(target)).sum(-1)
    return cosines.sum(), cosines.numel()


def _unit(vectors: Tensor) -> Tensor:
    norms: Tensor = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    return vectors / (norms + EPSILON)


def _check_same_shape(preds: Tensor, target: Tensor) -> None:
    if preds.shape != target.shape:
        raise ValueError(f"preds and target must have one shape, got {tuple(preds.shape)} and {tuple(target.shape)}")
