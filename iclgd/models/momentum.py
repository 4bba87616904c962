r"""Momentum attention, Dai et al. 2023 section 5: softmax attention and a decayed sum of the values before a token.

.. math:: \mathrm{MoAttn}(V, K, q_t) = V\, \mathrm{softmax}(K^\top q_t / \sqrt d) + \sum_{i<t} \eta^{t-i} v_i

By analogy with gradient descent with momentum, whose step adds the decayed sum of earlier gradients. The token itself
is not in the sum, and ``t - i`` counts places in the sequence. What a layer's mask hides from softmax is hidden from
the sum too: padding, what lies outside a sliding window, other documents of a packed sequence.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedConfig, PreTrainedModel

from iclgd.checks import InputError
from iclgd.models.attention_layers import find_attention_layers, number_of_heads, text_decoder
from iclgd.vendors.transformers import UNREGISTERED, attention_implementation, sdpa_attention_forward, sdpa_mask

ATTENTIONS = {
    "softmax": "plain attention",
    "momentum": "plain attention and a decayed sum of the values before, Dai et al. 2023",
}
DEFAULT_MOMENTUM = 0.9
NAME = "momentum"  # of the attention function in transformers' registry
ATTRIBUTE = "momentum"  # the part of an attention module that knows its eta
CONFIG_KEY = "momentum_attention"  # of a model's config.json
CHUNK = 64  # tokens whose sum is one product of matrices; what comes before them is one vector
UNKNOWN = ("softcap", "s_aux", "cache")  # arguments of attention functions that PyTorch's attention would not heed


@dataclass(frozen=True)
class MomentumConfig:
    """How much momentum the attention of a model has, as its config.json keeps it.

    Args:
        momentum: eta, from 0 to below 1; where it is learned, that of the start.
        is_learned: whether each head learns its own.

    Raises:
        ValueError: if eta is out of its range; a learned one is between 0 and 1, and never 0.
    """

    momentum: float
    is_learned: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.momentum < 1:
            raise ValueError(f"model.momentum must be at least 0 and below 1, got {self.momentum}")
        if self.is_learned and not 0.001 <= self.momentum <= 0.999:
            raise ValueError(f"model.momentum must be from 0.001 to 0.999 to be learned, got {self.momentum}")


class Momentum(nn.Module):
    """Knows eta of the heads of one attention layer.

    Args:
        config: how much.
        num_heads: of the layer.

    Example:
        >>> Momentum(MomentumConfig(0.5), num_heads=2)()
        tensor([0.5000])
        >>> Momentum(MomentumConfig(0.5, is_learned=True), num_heads=2)()
        tensor([0.5000, 0.5000], grad_fn=<SigmoidBackward0>)
    """

    def __init__(self, config: MomentumConfig, num_heads: int) -> None:
        super().__init__()
        self.settings = config
        if config.is_learned:
            logit = math.log(config.momentum / (1 - config.momentum))
            self.logits = nn.Parameter(torch.full((num_heads,), logit))

    @property
    def is_zero(self) -> bool:
        """Return whether there is no momentum, and attention is to stay as it is to the bit."""
        return not self.settings.is_learned and self.settings.momentum == 0

    def forward(self, device: torch.device | None = None, dtype: torch.dtype = torch.float32) -> Tensor:
        """Return eta of every head ``(H,)``, or of all alike ``(1,)``, in single precision or better."""
        dtype = torch.promote_types(dtype, torch.float32)
        if self.settings.is_learned:
            return self.logits.to(dtype).sigmoid()
        return torch.full((1,), self.settings.momentum, device=device, dtype=dtype)


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
    """Return momentum attention, shape ``(B, T, H, E)``; arguments are those of transformers' attention functions.

    A module without momentum, or with one of 0, has transformers' own result to the bit.

    Raises:
        InputError: for attention that is more than softmax of scaled inner products to what is before.
    """
    if momentum_of(module) is not None:
        unknown = [f"attention with {name}" for name in UNKNOWN if kwargs.get(name) is not None]
        if reason := next(iter(unknown), None) or beyond_causal(module, attention_mask, kwargs):
            raise InputError(f"momentum attention does not know {reason}")
    result: Tensor = sdpa_attention_forward(
        module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
    )[0]
    added = added_values(module, value, attention_mask, query.shape[1], query.shape[2])
    return result if added is None else result + added, None


def beyond_causal(module: nn.Module, attention_mask: Tensor | None, kwargs: Mapping[str, Any]) -> str | None:
    """Return what a mask does beyond saying which earlier tokens are seen; ``None``: nothing.

    Args:
        module: of attention.
        attention_mask: that transformers gives to its attention function.
        kwargs: the other arguments that it gives.
    """
    if attention_mask is not None and attention_mask.dtype != torch.bool:
        return "attention with a mask that is added to the scores"
    is_causal = kwargs.get("is_causal")
    if attention_mask is None and not (getattr(module, "is_causal", True) if is_causal is None else is_causal):
        return "attention to later tokens"
    return None


def added_values(
    module: nn.Module,
    value: Tensor,
    mask: Tensor | None,
    num_heads: int,
    num_queries: int,
    context: Tensor | None = None,
) -> Tensor | None:
    """Return what the momentum of an attention module adds to its result, shape ``(B, T, H, E)``; ``None``: nothing.

    Args:
        module: of attention.
        value: shape ``(B, G, S, E)`` with G heads of values, each for H / G query heads in turn.
        mask: true where attention is allowed, shape ``(B or 1, 1, T, N + S)``; ``None``: to all before.
        num_heads: H.
        num_queries: T; they are the last tokens.
        context: values that stand before, which the batch shares, shape ``(1, G, N, E)``.
    """
    momentum = momentum_of(module)
    if momentum is None:
        return None
    eta = momentum(value.device, value.dtype)
    if len(eta) > 1:  # heads that share values have different sums
        value, context = _of_heads(value, num_heads), None if context is None else _of_heads(context, num_heads)
    if mask is None and context is None and num_queries > 1:
        added = decayed_sum(value[:, :, :num_queries], eta)
    else:
        num_context = 0 if context is None else context.shape[2]
        weights = decay_weights(eta, num_queries, num_context + value.shape[2], mask).to(value.dtype)
        # Not @, which would copy the weights for heads that share them, and the context for each prompt.
        added = torch.einsum("bhts,bhse->bhte", weights[..., num_context:], value)
        if context is not None:
            added = added + torch.einsum("bhtn,hne->bhte", weights[..., :num_context], context[0])
    return _of_heads(added, num_heads).transpose(1, 2)


def momentum_of(module: nn.Module) -> Momentum | None:
    """Return the momentum of an attention module; ``None`` if it has none, or one of 0."""
    momentum = getattr(module, ATTRIBUTE, None)
    return momentum if isinstance(momentum, Momentum) and not momentum.is_zero else None


def _of_heads(states: Tensor, num_heads: int) -> Tensor:
    """Repeat the states of heads ``(B, G, T, E)`` for all query heads that share them."""
    num_sharing = num_heads // states.shape[1]
    return states if num_sharing == 1 else states.repeat_interleave(num_sharing, dim=1)


def decayed_sum(values: Tensor, eta: Tensor) -> Tensor:
    r"""Return :math:`s_t = \sum_{i<t} \eta^{t-i} v_i` at all positions.

    Each chunk of tokens is summed by one small product of matrices, whose last row is what the chunk hands on; those
    are summed over chunks in the same way.

    Args:
        values: shape ``(B, H, T, E)``.
        eta: of each head ``(H,)`` or of all ``(1,)``.

    Returns:
        shape ``(B, H, T, E)``.

    Example:
        >>> decayed_sum(torch.tensor([1.0, 0, 2, 0]).view(1, 1, 4, 1), torch.tensor([0.5])).flatten()
        tensor([0.0000, 0.5000, 0.2500, 1.1250])
    """
    length, dtype = values.shape[2], values.dtype
    size = min(CHUNK, length)
    padded = F.pad(values, (0, 0, 0, -length % size))
    chunks: Tensor = torch.unflatten(padded, 2, (-1, size))  # (B, H, chunks, size, E)
    places = torch.arange(size + 1, device=values.device)
    distance = places[:, None] - places[:-1]
    within = _powers(eta, distance, distance > 0)  # (H, size + 1, size)
    sums = within[:, None].to(dtype) @ chunks
    sums, handed_on = sums[..., :-1, :], sums[..., -1, :]
    if chunks.shape[2] > 1:
        starts = torch.arange(chunks.shape[2], device=values.device)
        distance = starts[:, None] - starts
        before = _powers(eta**size, distance - 1, distance > 0).to(dtype) @ handed_on  # (B, H, chunks, E)
        decay = (eta[:, None] ** places[:-1])[:, None, :, None].to(dtype)
        sums = torch.addcmul(sums, decay, before.unsqueeze(-2))
    result: Tensor = sums.flatten(2, 3)[:, :, :length]
    return result


def decay_weights(eta: Tensor, num_queries: int, num_keys: int, mask: Tensor | None) -> Tensor:
    r"""Return :math:`\eta^{t-i}` where a token sees one before it, else 0.

    Args:
        eta: of each head ``(H,)`` or of all ``(1,)``.
        num_queries: T.
        num_keys: S; without a mask the queries are the last of them.
        mask: true where attention is allowed, shape ``(B or 1, 1, T, S)``; the last place that a token sees is its own.

    Returns:
        shape ``(B or 1, H or 1, T, S)``.

    Example:
        >>> decay_weights(torch.tensor([0.5]), 1, 3, None)
        tensor([[[[0.2500, 0.5000, 0.0000]]]])
    """
    places = torch.arange(num_keys, device=eta.device)
    if mask is None:
        own = places[num_keys - num_queries :].view(1, 1, -1, 1)
        return _powers(eta, own - places, own > places)
    if mask.stride(0) == 0:  # transformers' way to say that all prompts have the same
        mask = mask[:1]
    own = num_keys - 1 - mask.flip(-1).int().argmax(-1, keepdim=True)
    return _powers(eta, own - places, mask & (own > places))


def _powers(eta: Tensor, exponent: Tensor, is_kept: Tensor) -> Tensor:
    """Return eta ``(H,)`` to the power of exponents ``(..., T, S)`` where they are kept, else 0: ``(..., H, T, S)``."""
    return (eta[:, None, None] ** exponent.clamp(min=0)).masked_fill(~is_kept, 0)


def add_momentum(model: PreTrainedModel, config: MomentumConfig) -> None:
    """Give a model's attention momentum, which its config then has too, and ``save_pretrained`` keeps.

    Any momentum that it has had is replaced.

    Args:
        model: whose attention goes through transformers' registry; it is changed.
        config: how much.

    Raises:
        InputError: if the model's attention cannot have it.

    Example:
        >>> from transformers import GPT2Config, GPT2LMHeadModel
        >>> model = GPT2LMHeadModel(GPT2Config(vocab_size=8, n_positions=8, n_embd=4, n_layer=1, n_head=2))
        >>> add_momentum(model, MomentumConfig(0.9))
        >>> momentum_config(model.config)
        MomentumConfig(momentum=0.9, is_learned=False)
    """
    num_heads = number_of_heads(model)
    layers = find_attention_layers(model, num_heads) if num_heads else []
    install()
    if layers and not any(isinstance(layer.module, UNREGISTERED) for layer in layers):
        text_decoder(model).set_attn_implementation(NAME)
    if attention_implementation(text_decoder(model)) != NAME:
        raise InputError(
            f"model.attention=momentum: attention of {type(model).__name__} does not go through transformers' registry "
            "of attention functions, or has projections that are not known"
        )
    assert num_heads is not None
    for layer in layers:
        parameter = next(layer.module.parameters())
        layer.module.add_module(ATTRIBUTE, Momentum(config, num_heads).to(parameter.device, parameter.dtype))
    setattr(model.config, CONFIG_KEY, vars(config))


def remove_momentum(model: PreTrainedModel) -> None:
    """Give a model plain attention; other models stay as they are."""
    for module in model.modules():
        if isinstance(getattr(module, ATTRIBUTE, None), Momentum):
            delattr(module, ATTRIBUTE)
    if hasattr(model.config, CONFIG_KEY):
        delattr(model.config, CONFIG_KEY)


def momentum_config(config: PreTrainedConfig) -> MomentumConfig | None:
    """Return the momentum that a model's config names; ``None`` for plain attention.

    Raises:
        InputError: if it cannot be read.
    """
    kept: dict[str, Any] | None = getattr(config, CONFIG_KEY, None)
    if kept is None:
        return None
    try:
        return MomentumConfig(**kept)
    except (TypeError, ValueError) as error:
        raise InputError(f"config.json: {CONFIG_KEY} is not what this version writes ({error})") from None


def install() -> None:
    """Add the attention function to transformers' registry."""
    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, sdpa_mask)
