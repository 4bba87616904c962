r"""The mesa layer in a language model, in the place of its softmax attention; von Oswald et al. 2023b, section 6.

Queries and keys of a head have norm 1, so that lambda means the same in every layer; each head learns its own. Where a
model generates text, tokens before those of a pass are there as keys and values; the layer needs no more of them than
two sums.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedConfig, PreTrainedModel

from iclgd.checks import InputError
from iclgd.models.attention_layers import find_attention_layers, number_of_heads, text_decoder
from iclgd.models.momentum import beyond_causal
from iclgd.models.sequences.mesa import Past, mesa_attention
from iclgd.vendors.transformers import UNREGISTERED, attention_implementation, sdpa_mask

NAME = "mesa"  # of the attention function in transformers' registry
ATTRIBUTE = "mesa"  # the part of an attention module that knows its lambdas
CONFIG_KEY = "mesa_attention"  # of a model's config.json


@dataclass(frozen=True)
class MesaConfig:
    """The mesa layers of a model, as its config.json keeps them.

    Args:
        strength: lambda of all heads before training, positive.

    Raises:
        ValueError: if it is out of its range.
    """

    strength: float = 1.0

    def __post_init__(self) -> None:
        if not 1e-4 <= self.strength <= 1e4:
            raise ValueError(f"model.mesa_strength must be from 0.0001 to 10000, got {self.strength}")


class Mesa(nn.Module):
    """Knows lambda of the heads of one attention layer.

    Args:
        config: with which they begin.
        num_heads: of the layer.

    Example:
        >>> Mesa(MesaConfig(2.0), num_heads=2)().detach().round(decimals=4)
        tensor([2., 2.])
    """

    def __init__(self, config: MesaConfig, num_heads: int) -> None:
        super().__init__()
        self.log_strength = nn.Parameter(torch.full((num_heads,), config.strength).log())

    def forward(self) -> Tensor:
        """Return lambda of every head, (H,), in single precision or better."""
        return self.log_strength.to(torch.promote_types(self.log_strength.dtype, torch.float32)).exp()


def attend(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, None]:
    """Return the mesa layer's result, shape ``(B, T, H, E)``; arguments are those of transformers' attention functions.

    Raises:
        InputError: for a mask that is more than padding and the order of tokens.
    """
    mesa = getattr(module, ATTRIBUTE)
    if reason := beyond_causal(module, attention_mask, kwargs):
        raise InputError(f"mesa attention does not know {reason}")
    query, key = (F.normalize(each, dim=-1) for each in (query, key))
    if attention_mask is not None:
        seen = seen_tokens(attention_mask)[..., None]
        key, value = key * seen, value * seen
    length, num_before = query.shape[2], key.shape[2] - query.shape[2]
    past = None
    if num_before:
        precise = torch.promote_types(value.dtype, torch.float32)
        past = Past.of(*(each[:, :, :num_before].to(precise) for each in (key, value)))
    key, value = (each[:, :, -length:] for each in (key, value))
    return mesa_attention(query, key, value, mesa(), past=past).transpose(1, 2), None


def seen_tokens(mask: Tensor) -> Tensor:
    """Return which tokens the last one sees, (B or 1, 1, S): all but padding.

    Args:
        mask: true where attention is allowed, (B or 1, 1, T, S).

    Raises:
        InputError: if another token sees others of those before it, as with a window.

    Example:
        >>> seen_tokens(torch.ones(3, 3, dtype=torch.bool).tril()[None, None])
        tensor([[[True, True, True]]])
    """
    length, num_keys = mask.shape[-2:]
    seen = mask[..., -1, :]
    causal = torch.ones(length, num_keys, dtype=torch.bool, device=mask.device).tril(num_keys - length)
    # Tokens of padding may see themselves, so that their softmax is one; nobody looks at them.
    is_token = seen[..., -length:, None]
    if not torch.equal(mask & is_token, seen[..., None, :] & causal & is_token):
        raise InputError("mesa attention does not know attention with a window, or of packed texts")
    return seen


def add_mesa(model: PreTrainedModel, config: MesaConfig) -> None:
    """Give a model mesa layers in place of its attention; its config then names them, and ``save_pretrained`` keeps.

    Args:
        model: whose attention goes through transformers' registry; it is changed.
        config: of the layers.

    Raises:
        InputError: if the model's attention cannot be replaced.
    """
    num_heads = number_of_heads(model)
    layers = find_attention_layers(model, num_heads) if num_heads else []
    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    if layers and not any(isinstance(layer.module, UNREGISTERED) for layer in layers):
        text_decoder(model).set_attn_implementation(NAME)
    if attention_implementation(text_decoder(model)) != NAME:
        raise InputError(
            f"model.attention=mesa: attention of {type(model).__name__} does not go through transformers' registry "
            "of attention functions, or has projections that are not known"
        )
    assert num_heads is not None
    for layer in layers:
        parameter = next(layer.module.parameters())
        layer.module.add_module(ATTRIBUTE, Mesa(config, num_heads).to(parameter.device, parameter.dtype))
    setattr(model.config, CONFIG_KEY, vars(config))


def mesa_config(config: PreTrainedConfig) -> MesaConfig | None:
    """Return the mesa layers that a model's config names; ``None`` for other attention.

    Raises:
        InputError: if they cannot be read.
    """
    kept: dict[str, Any] | None = getattr(config, CONFIG_KEY, None)
    if kept is None:
        return None
    try:
        return MesaConfig(**kept)
    except (TypeError, ValueError) as error:
        raise InputError(f"config.json: {CONFIG_KEY} is not what this version writes ({error})") from None
