"""Matrix products over many small matrices whose task index comes last in memory.

Torch's batched products take the task first and work on each tiny matrix for itself; here a product of small matrices
is a few multiply-and-adds over contiguous tasks, several times as fast on a CPU.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def mix_channels(weight: Tensor, tokens: Tensor) -> Tensor:
    """Multiply the channels of every token by one matrix.

    Args:
        weight: (C', C).
        tokens: (T, C, B).

    Returns:
        The mixed tokens, (T, C', B).
    """
    # As matmul it would be folded into one product of copied, transposed tokens: three times as slow.
    return torch.bmm(weight.expand(len(tokens), *weight.shape), tokens)


def multiply_per_task(left: Tensor, right: Tensor, start: Tensor | None = None) -> Tensor:
    """Multiply two matrices of each task, and add the product to another matrix.

    Args:
        left: (I, K, B).
        right: (K, J, B).
        start: what to add to, (I, J, B); nothing if ``None``.

    Returns:
        The products, (I, J, B).

    Example:
        >>> left, right = torch.randn(2, 3, 5), torch.randn(3, 4, 5)
        >>> expected = (left.permute(2, 0, 1) @ right.permute(2, 0, 1)).permute(1, 2, 0)
        >>> torch.allclose(multiply_per_task(left, right), expected, atol=1e-6)
        True
    """
    if left.is_cuda:  # where one launch of many small products costs less than many launches
        product = torch.einsum("ikb,kjb->ijb", left, right)
        return product if start is None else start + product
    result: Tensor = _MultiplyPerTask.apply(left, right, start)  # type: ignore[no-untyped-call]
    return result


class _MultiplyPerTask(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(left: Tensor, right: Tensor, start: Tensor | None) -> Tensor:
        return _accumulate(left, right, start)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor | None], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[:2])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        left, right = ctx.saved_tensors
        needs_left, needs_right, needs_start = ctx.needs_input_grad
        return (
            _accumulate(gradient, right.transpose(0, 1)) if needs_left else None,
            _accumulate(left.transpose(0, 1), gradient) if needs_right else None,
            gradient if needs_start else None,
        )


def _accumulate(left: Tensor, right: Tensor, start: Tensor | None = None) -> Tensor:
    columns, rows = left[:, None].unbind(2), right.unbind(0)  # (I, 1, B) and (J, B) for each k
    product = columns[0] * rows[0] if start is None else torch.addcmul(start, columns[0], rows[0])
    for column, row in zip(columns[1:], rows[1:], strict=True):
        product.addcmul_(column, row)
    return product
