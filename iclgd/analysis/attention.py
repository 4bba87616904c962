"""The attention function that our captures give to transformers: its own, but it is watched, and may have a context.

Momentum, where a model's attention has it, stays: it is added to the result, and what is watched is the softmax part.

transformers looks up the attention function of most models by name in a registry; :func:`install` adds this one.
"""

from contextvars import ContextVar
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface

from iclgd.analysis.precision import at_least_single
from iclgd.analysis.scoring import PLAIN, Scoring
from iclgd.models import momentum
from iclgd.vendors.transformers import capped_attention_forward, sdpa_mask

NAME = "iclgd"
UNKNOWN = ("s_aux", "position_bias")  # arguments that change the scores in ways that are not captured


class UnknownAttentionError(Exception):
    """Attention whose scores are more than scaled inner products."""


class Observer(Protocol):
    """Who watches the attention layers of a forward pass."""

    def context_of(self, module: nn.Module) -> tuple[Tensor, Tensor] | None:
        """Return the keys and values that a layer attends to before its own, shape ``(1, G, N, E)`` each."""

    def see(
        self, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scoring: Scoring
    ) -> None:
        """Take note of scaled queries ``(B, H, T, E)``, own keys and values ``(B, G, T, E)``, mask and scoring.

        The mask is true where attention is allowed, shape ``(B or 1, 1, T, N + T)``; ``None``: to everything before.
        """


OBSERVER: ContextVar[Observer | None] = ContextVar("observer", default=None)


def install() -> None:
    """Add the attention function to transformers' registry."""
    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, sdpa_mask)


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Return the attention's result, shape ``(B, T, H, E)``; arguments are those of transformers' functions.

    Raises:
        UnknownAttentionError: for models whose scores are more than scaled inner products, with a cap perhaps.
    """
    if unknown := [name for name in UNKNOWN if kwargs.get(name) is not None]:
        raise UnknownAttentionError(f"attention with {unknown[0]}")
    if reason := momentum.beyond_causal(module, attention_mask, kwargs):
        raise UnknownAttentionError(reason)
    if attention_mask is not None and attention_mask.shape[1] != 1:
        raise UnknownAttentionError("attention with a mask of its own for each head")
    softcap: float | None = kwargs.get("softcap")
    scoring = PLAIN if softcap is None else Scoring(softcap)
    observer, context = OBSERVER.get(), None
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    if observer is not None:
        observer.see(module, at_least_single(query) * scale, key, value, attention_mask, scoring)
        context = observer.context_of(module)
    if context is not None:
        result = attend_with_context(at_least_single(query) * scale, key, value, context, attention_mask, scoring)
    elif softcap is not None:
        result = _attend_capped(module, query, key, value, attention_mask, scale, softcap)
    else:
        return momentum.attend(module, query, key, value, attention_mask, dropout, scaling, **kwargs)
    added = momentum.added_values(
        module, value, attention_mask, query.shape[1], query.shape[2], None if context is None else context[1]
    )
    return result if added is None else result + added, None


def _attend_capped(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float, softcap: float
) -> Tensor:
    """Return causal attention of capped scores, shape ``(B, T, H, E)``: PyTorch's own attention has no caps."""
    if mask is None:
        mask = torch.ones(query.shape[2], key.shape[2], dtype=torch.bool, device=query.device).tril()[None, None]
    added = torch.zeros_like(mask, dtype=query.dtype).masked_fill(~mask, torch.finfo(query.dtype).min)
    result: Tensor = capped_attention_forward(module, query, key, value, added, scaling=scale, softcap=softcap)[0]
    return result


def attend_with_context(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    context: tuple[Tensor, Tensor],
    mask: Tensor | None,
    scoring: Scoring = PLAIN,
) -> Tensor:
    """Return softmax attention to a context shared by the batch, and causally to the own tokens.

    The queries of all prompts are one long matrix beside the context, which is neither copied nor joined to the
    own keys: a product of matrices that is as large as the hardware likes them.

    Everything is computed in at least single precision, and rounded at the end to that of the values.

    Args:
        query: scaled, shape ``(B, H, T, E)``.
        key: own, shape ``(B, G, T, E)`` with G key heads, each for H / G query heads in turn.
        value: own, likewise.
        context: keys and values before them, shape ``(1, G, N, E)`` each.
        mask: true where attention is allowed, shape ``(B or 1, 1, T, N + T)``; ``None``: everywhere.
        scoring: with a cap of the scores, where there is one.

    Returns:
        shape ``(B, T, H, E)``.
    """
    batch, num_heads, length, size = query.shape
    num_groups, num_context = key.shape[1], context[0].shape[-2]
    dtype = value.dtype
    query, key, value, keys, values = (
        at_least_single(part) for part in (query, key, value, context[0][0], context[1][0])
    )
    grouped = query.view(batch, num_groups, -1, length, size)
    folded = grouped.transpose(0, 1).reshape(num_groups, -1, size)  # (G, B * H / G * T, E)
    past = scoring.capped(folded.matmul(keys.transpose(-1, -2)))  # (G, B * H / G * T, N)
    own = scoring.capped(grouped.matmul(key.unsqueeze(2).transpose(-1, -2)))  # (B, G, H / G, T, T)
    past, own = at_least_single(past), at_least_single(own)  # bf16-mixed makes bfloat16 of them again
    if mask is not None:
        own = own.masked_fill(~mask[..., num_context:].unsqueeze(2), -torch.inf)
        if not (allowed := mask[..., :num_context]).all():  # a window that is shorter than the prompt
            seen = past.view(num_groups, batch, -1, length, num_context)
            seen.masked_fill_(~allowed.unsqueeze(0), -torch.inf)
    largest = torch.maximum(past.amax(-1), own.amax(-1).transpose(0, 1).reshape(num_groups, -1))
    past.sub_(largest.unsqueeze(-1)).exp_()
    own.sub_(largest.view(num_groups, batch, -1, length).transpose(0, 1).unsqueeze(-1)).exp_()
    total = past.sum(-1).view(num_groups, batch, -1, length).transpose(0, 1) + own.sum(-1)
    result = past.matmul(values).view(num_groups, batch, -1, length, size).transpose(0, 1)
    result = (result + own.matmul(value.unsqueeze(2))) / total.unsqueeze(-1)
    result = result.reshape(batch, num_heads, length, size).transpose(1, 2).to(dtype)
    return result.contiguous()  # as transformers' own is
