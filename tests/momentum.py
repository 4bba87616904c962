"""Momentum attention as its equation says, in a function for transformers' registry that shows its softmax."""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.masking_utils import eager_mask

from iclgd.models.momentum import MomentumConfig, add_momentum

FIXED, LEARNED = MomentumConfig(0.9), MomentumConfig(0.8, is_learned=True)
WRITTEN_OUT = "momentum, written out"


def give_momentum(model: PreTrainedModel, config: MomentumConfig) -> PreTrainedModel:
    """Return the model with momentum; if it is learned, every head has another one."""
    add_momentum(model, config)
    for name, parameter in model.named_parameters():
        if name.endswith("momentum.logits"):
            parameter.data += torch.linspace(-1, 1, len(parameter))
            parameter.requires_grad_(False)
    return model


def sums(module: Any, value: Tensor, is_seen: Tensor) -> Tensor | float:
    """Return the decayed sums of an attention module: 0 if it has no momentum.

    Args:
        module: of attention.
        value: of every query head, ``(B, H, T, E)``.
        is_seen: which tokens each may see, ``(B or 1, 1, T, T)``.
    """
    momentum = getattr(module, "momentum", None)
    if momentum is None:
        return 0.0
    num_heads, length = value.shape[1:3]
    etas = [momentum.settings.momentum] * num_heads
    if momentum.settings.is_learned:
        etas = [1 / (1 + float(torch.exp(-logit))) for logit in momentum.logits.double()]
    powers = [[[eta ** (t - i) if i < t else 0.0 for i in range(length)] for t in range(length)] for eta in etas]
    return torch.tensor(powers, dtype=value.dtype) * is_seen @ value


def _attend(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, scaling: float, **_: Any
) -> tuple[Tensor, Tensor]:
    key, value = (part.repeat_interleave(query.shape[1] // part.shape[1], dim=1) for part in (key, value))
    weights = (query @ key.transpose(-1, -2) * scaling + mask).softmax(-1)
    result = weights @ value + sums(module, value, mask == 0)
    return result.transpose(1, 2).contiguous(), weights


def set_eager(model: PreTrainedModel) -> None:
    """Let a model attend eagerly, with the momentum that it has; transformers' own eager attention knows none."""
    AttentionInterface.register(WRITTEN_OUT, _attend)
    AttentionMaskInterface.register(WRITTEN_OUT, eager_mask)
    has_momentum = hasattr(model.config, "momentum_attention")
    model.set_attn_implementation(WRITTEN_OUT if has_momentum else "eager")
