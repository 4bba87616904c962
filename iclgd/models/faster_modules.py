"""Modules that compute what a language model's own do, to rounding, in less time: the model itself stays as it is."""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from transformers.activations import ACT2FN

from iclgd.vendors.torch import has_onednn, onednn_linear
from iclgd.vendors.transformers import Conv1D, NewGELUActivation

FEWEST_WEIGHTS = 2**18  # of a map that is given to oneDNN: for smaller ones its preparations take longer than it saves


class Faster:
    """A language model's modules that there are faster ones for.

    Large linear maps in single precision on a CPU are computed by oneDNN, whose products are faster than those that
    PyTorch calls by itself: measured on a processor with AVX-512, 1.2 times for a batch, 1.4 times for a sentence.
    GPT-2's activation, written out as eight operations, becomes one.

    Args:
        model: with any modules; it stays as it is, but within :meth:`applied`.

    Example:
        >>> from transformers import GPT2Config, GPT2LMHeadModel
        >>> model = GPT2LMHeadModel(GPT2Config(vocab_size=9, n_embd=8, n_layer=1, n_head=2)).eval()
        >>> tokens = torch.tensor([[5, 6, 7]])
        >>> with torch.no_grad(), Faster(model).applied():
        ...     logits = model(tokens).logits
        >>> logits.allclose(model(tokens).logits, atol=1e-6)
        True
    """

    def __init__(self, model: nn.Module) -> None:
        children = [(module, name, child) for module in model.modules() for name, child in module.named_children()]
        self.activations = [each for each in children if type(each[2]) is NewGELUActivation]
        maps = {id(child): child for _, _, child in children if type(child) in FASTER and has_onednn()}
        self.maps = [child for child in maps.values() if child.weight.numel() >= FEWEST_WEIGHTS]  # type: ignore[operator]

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Let the model compute the same in less time within the block."""
        own = [(child, type(child)) for child in self.maps]
        try:
            for child, kind in own:
                child.__class__ = FASTER.get(kind, kind)
            for module, name, _ in self.activations:
                setattr(module, name, ACT2FN["gelu_pytorch_tanh"])  # the same function
            yield
        finally:
            for child, kind in own:
                child.__class__ = kind
            for module, name, child in self.activations:
                setattr(module, name, child)


class OneDNNLinear(nn.Linear):
    """A linear map by oneDNN, where that can be."""

    def forward(self, input: Tensor) -> Tensor:
        """Return what :class:`torch.nn.Linear` does."""
        return _mapped(input, self.weight, self.bias) if _is_for_onednn(input, self.weight) else super().forward(input)


class OneDNNConv1D(Conv1D):  # type: ignore[misc]  # transformers is not checked
    """The same of GPT-2's linear map, whose weight is transposed."""

    def forward(self, x: Tensor) -> Tensor:
        """Return what transformers' own does."""
        if _is_for_onednn(x, self.weight):
            return _mapped(x, self.weight.T, self.bias)
        result: Tensor = super().forward(x)
        return result


FASTER: dict[type[nn.Module], type[nn.Module]] = {nn.Linear: OneDNNLinear, Conv1D: OneDNNConv1D}


def use_onednn(model: nn.Module, fewest_weights: int = FEWEST_WEIGHTS) -> None:
    """Let a model's large linear maps be oneDNN's for good, where that can be: of one that is ours, and learns.

    Args:
        model: with any modules; its weights and their names stay.
        fewest_weights: of a map; of one for many tokens fewer than by default pay.
    """
    for module in model.modules() if has_onednn() else ():
        if type(module) in FASTER and module.weight.numel() >= fewest_weights:  # type: ignore[operator]
            module.__class__ = FASTER[type(module)]


def _is_for_onednn(inputs: Tensor, weight: Tensor) -> bool:
    is_single = inputs.dtype == weight.dtype == torch.float32
    return is_single and inputs.device.type == "cpu" and not torch.is_autocast_enabled("cpu")


def _mapped(inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    needs_gradient = torch.is_grad_enabled() and any(
        each is not None and each.requires_grad for each in (inputs, weight, bias)
    )
    if not needs_gradient:
        return onednn_linear(inputs, weight, bias)
    result: Tensor = _DifferentiableMap.apply(inputs, weight, bias)  # type: ignore[no-untyped-call]
    return result


class _DifferentiableMap(torch.autograd.Function):
    """PyTorch knows no gradient of the operation."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(inputs if ctx.needs_input_grad[1] else None, weight)
        return onednn_linear(inputs, weight, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        inputs, weight = ctx.saved_tensors
        gradient = gradients[0].contiguous()
        rows = gradient.reshape(-1, gradient.shape[-1])
        needed = ctx.needs_input_grad
        return (
            onednn_linear(gradient, weight.T, None) if needed[0] else None,
            rows.T @ inputs.reshape(-1, inputs.shape[-1]) if needed[1] else None,
            rows.sum(0) if needed[2] else None,
        )
