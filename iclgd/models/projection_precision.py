"""Key and value projections in single precision, within a model in half precision: finetuning's small steps count."""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn

from iclgd.models.attention_layers import AttentionLayer

HALF = (torch.float16, torch.bfloat16)
_IS_ROUNDED: ContextVar[bool] = ContextVar("is_rounded", default=True)


def keep_single_precision(layer: AttentionLayer) -> None:
    """Give a layer's key and value projections weights in single precision, where theirs are in half precision.

    They compute in it, too, and round what they have made to the precision of the rest. A matrix that makes queries as
    well is kept whole.

    Args:
        layer: of a model that is ours; the numbers stay the same.
    """
    parameters = [part.parameter for part in layer.projections if part.parameter.dtype in HALF]
    for parameter in parameters:
        parameter.data = parameter.data.float()
    for owner in _owners(layer) if parameters else []:
        rounding = _Rounding()
        owner.register_forward_pre_hook(rounding.enlarge)
        owner.register_forward_hook(rounding.round)


@contextlib.contextmanager
def unrounded() -> Iterator[None]:
    """Let such projections leave what they make in single precision within the block.

    What a step changes may be less than the rounding of keys and values. Most attention goes on with such mixtures up
    to the scores, and no further.
    """
    token = _IS_ROUNDED.set(False)
    try:
        yield
    finally:
        _IS_ROUNDED.reset(token)


def _owners(layer: AttentionLayer) -> list[nn.Module]:
    names = dict.fromkeys(part.name.rpartition(".")[0] for part in layer.projections)
    return [layer.module.get_submodule(name) for name in names]


class _Rounding:
    """The hooks around one projection."""

    dtype: torch.dtype

    def enlarge(self, module: Any, inputs: tuple[Tensor]) -> tuple[Tensor]:
        """Bring the input to the precision of the weights."""
        self.dtype = inputs[0].dtype
        return (inputs[0].to(module.weight.dtype),)

    def round(self, module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> Tensor:
        """Bring the output to that of the input."""
        return output.to(self.dtype) if _IS_ROUNDED.get() else output
