"""Watch the attention layers of a language model while it runs; nothing outlives the watch."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from iclgd.analysis import attention
from iclgd.analysis.attention import Observer, UnknownAttentionError
from iclgd.analysis.scoring import PLAIN, Scoring
from iclgd.models.language import LanguageModel, LanguageModelError
from iclgd.vendors.transformers import (
    METHOD,
    OUTPUTS,
    PROJECTIONS,
    UNREGISTERED,
    WITH_METHOD,
    WITH_PARTING,
    WITH_PROJECTIONS,
    GPTNeoSelfAttention,
    adds_biases_twice,
    attention_implementation,
    parted,
    windows,
)


def is_registered(model: LanguageModel) -> bool:
    """Return whether the model's attention goes through transformers' registry of attention functions.

    Attention that does not is given the keys and values of a context joined to its own.
    """
    return type(model.layers[0].module) not in UNREGISTERED


def block_output(module: nn.Module) -> nn.Module:
    """Return the module whose result is the attention block's output before the residual: mostly itself."""
    return module.get_submodule(OUTPUTS.get(type(module), ""))


def make_watchable(model: LanguageModel) -> None:
    """Give the model, which is ours, our attention function: that saves changing it for every forward pass.

    Unwatched it does what transformers' own does (:func:`iclgd.analysis.attention.attend`).
    """
    if is_registered(model):
        attention.install()
        model.decoder.set_attn_implementation(attention.NAME)


@contextlib.contextmanager
def watch(model: LanguageModel, observer: Observer) -> Iterator[None]:
    """Show an observer every attention layer of the forward passes within the block.

    Raises:
        LanguageModelError: if the model's scores are more than scaled inner products.
    """
    token = attention.OBSERVER.set(observer)
    with contextlib.ExitStack() as stack:
        stack.callback(attention.OBSERVER.reset, token)
        previous = attention_implementation(model.decoder)
        if is_registered(model) and previous != attention.NAME:
            stack.callback(model.decoder.set_attn_implementation, previous)
            make_watchable(model)
        for layer in model.layers:
            if type(layer.module) in WITH_METHOD:
                stack.enter_context(_watched_method(layer.module, observer))
            elif type(layer.module) in WITH_PROJECTIONS:
                stack.enter_context(_watched_projections(layer.module, model.num_heads, observer))
            elif type(layer.module) in WITH_PARTING:
                stack.enter_context(_watched_parting(layer.module, observer))
        try:
            yield
        except UnknownAttentionError as error:
            raise LanguageModelError(f"model.name={model.name}: {error} cannot be captured") from None


@contextlib.contextmanager
def _watched_method(module: nn.Module, observer: Observer) -> Iterator[None]:
    """Show the observer what a module's method is called with."""
    scaling = WITH_METHOD[type(module)](module)
    own: Callable[..., Any] = getattr(module, METHOD)

    def watched(query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None = None) -> Any:
        length = query.shape[-2]
        mask = _allowed(attention_mask)
        if isinstance(module, GPTNeoSelfAttention):  # which has its layers' windows to itself
            own_windows = windows(module, key.shape[-2] - length, key.shape[-2])
            mask = own_windows if mask is None else own_windows & mask
        observer.see(module, query * scaling, key[:, :, -length:], value[:, :, -length:], mask, PLAIN)
        return own(query, key, value, attention_mask)

    with _replaced(module, METHOD, watched):
        yield


@contextlib.contextmanager
def _watched_parting(module: nn.Module, observer: Observer) -> Iterator[None]:
    """Show the observer what a module makes of the result of its one projection, with what is added to its scores."""
    name = WITH_PARTING[type(module)]
    own: Callable[..., Any] = getattr(module, name)
    calls: list[dict[str, Any]] = []

    def keep_call(_module: nn.Module, _inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        calls[:] = [kwargs]

    def watched(fused: Tensor) -> Any:
        if adds_biases_twice(module):
            raise UnknownAttentionError("eager attention that adds its linear biases twice")
        parts, call = own(fused), calls.pop()
        query, key, value, bias = parted(module, parts, call)
        observer.see(module, query, key, value, _allowed(call["attention_mask"], bias), Scoring(bias=bias))
        return parts

    handle = module.register_forward_pre_hook(keep_call, with_kwargs=True)
    try:
        with _replaced(module, name, watched):
            yield
    finally:
        handle.remove()


@contextlib.contextmanager
def _replaced(module: nn.Module, name: str, method: Callable[..., Any]) -> Iterator[None]:
    """Let a module have another method within the block."""
    previous = vars(module).get(name)  # of a watch around this one
    setattr(module, name, method)
    try:
        yield
    finally:
        if previous is None:
            delattr(module, name)
        else:
            setattr(module, name, previous)


@contextlib.contextmanager
def _watched_projections(module: nn.Module, num_heads: int, observer: Observer) -> Iterator[None]:
    """Show the observer what a module's projections make, once all three are there, and the mask that it is given."""
    scaling = WITH_PROJECTIONS[type(module)](module)
    projected: dict[str, Tensor] = {}
    masks: list[Tensor | None] = []

    def keep_mask(_module: nn.Module, _inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        masks[:] = [kwargs.get("attention_mask")]

    def keep(name: str) -> Any:
        def hook(_projection: nn.Module, _inputs: tuple[Any, ...], output: Tensor) -> None:
            projected[name] = output.view(*output.shape[:2], num_heads, -1).transpose(1, 2)
            if len(projected) == len(PROJECTIONS):
                query, key, value = (projected.pop(kind) for kind in PROJECTIONS)
                observer.see(module, query * scaling, key, value, _allowed(masks.pop()), PLAIN)

        return hook

    with contextlib.ExitStack() as stack:
        stack.callback(module.register_forward_pre_hook(keep_mask, with_kwargs=True).remove)
        for name in PROJECTIONS:
            stack.callback(getattr(module, name).register_forward_hook(keep(name)).remove)
        yield


def _allowed(mask: Tensor | None, bias: Tensor | None = None) -> Tensor | None:
    """Return where attention is allowed by a mask, which may be added to the scores: the smallest number hides.

    Args:
        mask: of booleans, true where attention is allowed, or of numbers.
        bias: of the scores, shape ``(B, H, N + T)``, which may be in the mask's numbers, for each head then.

    Raises:
        UnknownAttentionError: if it has other numbers, which change the scores.
    """
    if mask is None or mask.dtype == torch.bool:
        return mask
    allowed = mask > torch.finfo(mask.dtype).min
    known = torch.zeros_like(mask) if mask.shape[1] == 1 or bias is None else bias[:, :, None].expand_as(mask)
    if not torch.where(allowed, mask, known).allclose(known):
        raise UnknownAttentionError("attention with a mask that is added to the scores")
    return allowed[:, :1]
