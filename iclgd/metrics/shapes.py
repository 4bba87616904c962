"""Checks of shapes, with one line that names what is wrong."""

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor


def check_layout(layout: str | Sequence[str], known: Mapping[str, int], **tensors: Tensor) -> dict[str, int]:
    """Refuse tensors that are not laid out as said, and return the sizes of all axes.

    Args:
        layout: names of the axes, such as ``"B L C"``.
        known: sizes of axes; those of the others are the first tensor's.
        tensors: by argument name.

    Raises:
        ValueError: naming the first bad argument, the shape that it must have and the one that it has.

    Example:
        >>> sizes = check_layout("B L C", {"L": 2}, zero_shot=torch.ones(5, 2, 3))
        >>> check_layout("B L C", sizes, in_context=torch.ones(5, 2, 4))
        Traceback (most recent call last):
        ValueError: in_context must have shape (B, L, C) = (5, 2, 3), got (5, 2, 4)
    """
    axes = layout.split() if isinstance(layout, str) else layout
    sizes = dict(known)
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor):
            raise ValueError(f"{name} must be a tensor, got {type(tensor).__name__}")
        shape = tuple(tensor.shape)
        pairs = zip(axes, shape, strict=False)
        if len(shape) != len(axes) or any(sizes.get(axis, size) != size for axis, size in pairs):
            sized = f" = {_tuple(sizes.get(axis, axis) for axis in axes)}" if sizes.keys() & set(axes) else ""
            raise ValueError(f"{name} must have shape {_tuple(axes)}{sized}, got {shape}")
        sizes |= dict(zip(axes, shape, strict=True))
    return sizes


def _tuple(items: Iterable[object]) -> str:
    texts = [str(item) for item in items]
    return f"({', '.join(texts)}{',' * (len(texts) == 1)})"


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
