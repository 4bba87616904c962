"""Beneath PyTorch's public surface: operations on many tensors at once, oneDNN's products, what broken connections say.

A norm for each of a toy's tensors in turn would take longer than the step itself.
"""

import torch
from torch import Tensor


def norms(tensors: list[Tensor]) -> tuple[Tensor, ...]:
    """Return the Euclidean norm of each tensor.

    Example:
        >>> [norm.item() for norm in norms([torch.tensor([3.0, 4.0]), torch.tensor([[1.0]])])]
        [5.0, 1.0]
    """
    found: tuple[Tensor, ...] = torch._foreach_norm(tensors)
    return found


def multiply_(tensors: list[Tensor], factor: Tensor) -> None:
    """Multiply all tensors by one number, in place.

    Example:
        >>> tensors = [torch.tensor([1.0, 2.0]), torch.tensor([[3.0]])]
        >>> multiply_(tensors, torch.tensor(2.0))
        >>> [tensor.tolist() for tensor in tensors]
        [[2.0, 4.0], [[6.0]]]
    """
    torch._foreach_mul_(tensors, factor)


def has_onednn() -> bool:
    """Say whether there is oneDNN for :func:`onednn_linear`."""
    is_available: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return is_available and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def onednn_linear(inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return a linear map of single precision on a CPU, computed by oneDNN and without a gradient.

    It is what compiled models call; weights stay as they are.

    Args:
        inputs: shape ``(..., in)``.
        weight: shape ``(out, in)``, of any strides.
        bias: shape ``(out,)``.

    Example:
        >>> onednn_linear(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0]]), None)
        tensor([[11.]])
    """
    result: Tensor = torch.ops.mkldnn._linear_pointwise(inputs, weight, bias, "none", [], "")
    return result


def is_lost(error: RuntimeError) -> bool:
    """Say whether an error is that of a connection to another process."""
    return isinstance(error, torch.distributed.DistError) or "gloo" in str(error)
