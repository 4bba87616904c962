"""Gaussian inputs with a given covariance and mean, and the covariances that Garg et al. 2022 evaluate on."""

import math

import torch
from torch import Tensor

from iclgd.data.covariance import random_rotation

INPUT_COVARIANCES = {
    "isotropic": "the same spread in all directions",
    "skewed": "standard deviations as 1, 1/2, 1/3, ... along turned axes; mean square D",
    "half_subspace": "a random subspace of half the dimensions; mean square D",
}


def gaussian_inputs(
    standard: Tensor, scale: Tensor | None = None, mean: Tensor | None = None, num_dims: int | None = None
) -> Tensor:
    """Turn standard normal numbers into inputs.

    Args:
        standard: numbers drawn from N(0, 1), (B, N, D).
        scale: S of ``standard @ S``, (D, D): the covariance is S^T S.
        mean: of an input, (D,).
        num_dims: how many dimensions the inputs have, at most D: all further coordinates are zero.

    Returns:
        Inputs, (B, N, D).

    Example:
        >>> gaussian_inputs(torch.ones(1, 1, 3), 2 * torch.eye(3), mean=torch.ones(3), num_dims=2)
        tensor([[[3., 3., 0.]]])
    """
    inputs = standard if scale is None else standard @ scale
    if mean is not None:
        inputs = inputs + mean
    if num_dims is not None and num_dims < inputs.shape[-1]:
        inputs = inputs.clone()
        inputs[..., num_dims:] = 0
    return inputs


def deviations(covariance: str, dim: int) -> Tensor:
    """Return the standard deviations along a covariance's axes, before :func:`input_scale` normalises; (D,), float64.

    Raises:
        ValueError: for an unknown covariance.

    Example:
        >>> deviations("half_subspace", 5)
        tensor([1., 1., 0., 0., 0.], dtype=torch.float64)
    """
    match covariance:
        case "isotropic":
            return torch.ones(dim, dtype=torch.float64)
        case "skewed":
            return 1 / torch.arange(1, dim + 1, dtype=torch.float64)
        case "half_subspace":
            return (torch.arange(dim) < dim // 2).double()
    raise ValueError(f"covariance must be one of: {', '.join(INPUT_COVARIANCES)}; got {covariance!r}")


def input_scale(axes: Tensor, spread: Tensor, normalize: bool = True) -> Tensor:
    r"""Return the symmetric matrix :math:`T = U \mathrm{diag}(e) U^T` by which standard normal inputs are multiplied.

    Args:
        axes: U, orthogonal, (D, D).
        spread: e, the standard deviations along the axes, (D,).
        normalize: multiply by :math:`\sqrt{D / \sum_i e_i^2}`, so that an input's mean square is D.

    Example:
        >>> input_scale(torch.eye(2), torch.tensor([1.0, 0.0])).diagonal()
        tensor([1.4142, 0.0000])
    """
    scale = (axes * spread) @ axes.T
    return scale * math.sqrt(len(spread) / spread.square().sum().item()) if normalize else scale


def covariance_scale(covariance: str, dim: int, seed: int) -> Tensor | None:
    """Return the scale of a named covariance with the axes that a seed stands for, (D, D) in double precision.

    ``None`` is the unit matrix.
    """
    if covariance == "isotropic":
        return None
    return input_scale(random_rotation(dim, seed), deviations(covariance, dim))
