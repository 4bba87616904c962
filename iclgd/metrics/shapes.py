"""Checks of shapes, with one line that names what is wrong."""

import torch
from torch import Tensor


def check_same_shape(**tensors: Tensor) -> None:
    """Raise ValueError unless all have the shape of the first."""
    (name, first), *others = tensors.items()
    for other_name, other in others:
        if other.shape != first.shape:
            raise ValueError(
                f"{name} and {other_name} must have one shape, got {tuple(first.shape)} and {tuple(other.shape)}"
            )


def check_shape(name: str, tensor: Tensor, expected: str, matches: bool) -> None:
    """Raise ValueError naming the expected shape unless it matches."""
    if not matches:
        raise ValueError(f"{name} must have shape {expected}, got {tuple(tensor.shape)}")


def check_visible(visible: Tensor, **tensors: Tensor) -> None:
    """Raise ValueError unless ``visible`` is boolean and has the shape of all the others."""
    if visible.dtype != torch.bool:
        raise ValueError(f"visible must be boolean, got {visible.dtype}")
    check_same_shape(visible=visible, **tensors)
