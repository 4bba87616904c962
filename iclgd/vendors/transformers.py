"""Beneath transformers' public surface: its attention functions, a layer of its cache, and the insides of some models.

How projections are called within an attention module stands in :mod:`iclgd.models.projections`.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Cache, GPT2LMHeadModel, PreTrainedConfig, PreTrainedModel, modeling_gguf_pytorch_utils
from transformers.activations import NewGELUActivation as NewGELUActivation
from transformers.cache_utils import DynamicLayer
from transformers.integrations.sdpa_attention import sdpa_attention_forward as sdpa_attention_forward
from transformers.masking_utils import sdpa_mask as sdpa_mask
from transformers.models.auto.auto_factory import _get_model_class
from transformers.models.bloom.modeling_bloom import BloomAttention as BloomAttention
from transformers.models.codegen.modeling_codegen import CodeGenAttention as CodeGenAttention
from transformers.models.falcon.modeling_falcon import FalconAttention as FalconAttention
from transformers.models.falcon.modeling_falcon import apply_rotary_pos_emb as rotate_falcon
from transformers.models.gemma2.modeling_gemma2 import eager_attention_forward
from transformers.models.gpt_neo.modeling_gpt_neo import GPTNeoSelfAttention as GPTNeoSelfAttention
from transformers.models.gptj.modeling_gptj import GPTJAttention as GPTJAttention
from transformers.models.xglm.modeling_xglm import XGLMAttention as XGLMAttention
from transformers.pytorch_utils import Conv1D as Conv1D

capped_attention_forward = eager_attention_forward  # the one that takes a cap for the scores

# Attention outside transformers' registry whose modules have a method that is given queries, all keys and values, and
# the mask: with this factor of the scores.
WITH_METHOD: dict[type, Callable[[Any], float]] = {
    GPTNeoSelfAttention: lambda module: 1.0,
    GPTJAttention: lambda module: 1 / module.scale_attn,
    CodeGenAttention: lambda module: 1 / module.scale_attn,
}
METHOD = "_attn"
# Such attention without one: it is seen through its projections, with this factor.
WITH_PROJECTIONS: dict[type, Callable[[Any], float]] = {XGLMAttention: lambda module: module.scaling}
PROJECTIONS = ("q_proj", "k_proj", "v_proj")
# Such attention that parts what one fused projection makes by a method of this name.
WITH_PARTING: dict[type, str] = {BloomAttention: "_reshape", FalconAttention: "_split_heads"}
UNREGISTERED = (*WITH_METHOD, *WITH_PROJECTIONS, *WITH_PARTING)
# The part within such attention whose result has no residual in it yet, if that is not the module's.
OUTPUTS: dict[type, str] = {BloomAttention: "dense"}


def attention_implementation(model: PreTrainedModel) -> str:
    """Return under which name a model looks up its attention function."""
    name: str = model.config._attn_implementation
    return name


def fresh_model(kind: type[PreTrainedModel], config: PreTrainedConfig) -> PreTrainedModel:
    """Return a model of a class, which may be nobody's but its user's, with the weights that training would begin with.

    In single precision; ``Auto`` classes do the same with those classes that they know.
    """
    return kind._from_config(config, dtype=torch.float32)


class WithParts:
    """Loads a saved model that has more parts than its class.

    Args:
        loader: an ``Auto`` class.
        config: of the model.
        add: what adds the parts to a new model, before its weights are read.
    """

    def __init__(self, loader: Any, config: PreTrainedConfig, add: Callable[[PreTrainedModel], None]) -> None:
        self.kind: type[PreTrainedModel] = _get_model_class(config, loader._model_mapping)

        def make(model: PreTrainedModel, *arguments: Any, **keys: Any) -> None:
            self.kind.__init__(model, *arguments, **keys)
            add(model)

        self.extended = type(self.kind.__name__, (self.kind,), {"__init__": make, "__module__": self.kind.__module__})

    def from_pretrained(self, *arguments: Any, **keys: Any) -> tuple[PreTrainedModel, dict[str, Any]]:
        """Return the model, of its own class, and what was found; arguments are those of the ``Auto`` class."""
        model, found = self.extended.from_pretrained(*arguments, **keys)  # type: ignore[attr-defined]
        model.__class__ = self.kind
        return model, found


@contextlib.contextmanager
def without_progress_of_gguf() -> Iterator[None]:
    """Let GGUF files be unpacked within the block without a progress bar, which has no switch."""
    previous = modeling_gguf_pytorch_utils.tqdm
    modeling_gguf_pytorch_utils.tqdm = lambda tensors, **_: tensors
    try:
        yield
    finally:
        modeling_gguf_pytorch_utils.tqdm = previous


def is_dispatched(model: PreTrainedModel) -> bool:
    """Say whether accelerate has brought a model's parts to several devices."""
    return hasattr(model, "hf_device_map")


def place_like(other: PreTrainedModel, model: PreTrainedModel) -> None:
    """Bring a model's parts to where those of another of the same shape are."""
    if not is_dispatched(other):
        model.to(other.get_input_embeddings().weight.device)
        return
    from accelerate import dispatch_model  # an extra

    dispatch_model(model, device_map=other.hf_device_map, skip_keys=model._skip_keys_device_placement)


def has_recurrent_state(model: PreTrainedModel) -> bool:
    """Say whether a model has more to hand on to the next token than keys and values."""
    return bool(getattr(model, "_is_stateful", False))


def adds_biases_twice(module: nn.Module) -> bool:
    """Say whether an attention module adds its linear biases beside a mask that has them, as Falcon's eager one does.

    Which one it is has been chosen when the model was made, for good.
    """
    config: Any = getattr(module, "config", None)
    return isinstance(module, FalconAttention) and config.alibi and config._attn_implementation != "sdpa"


def parted(module: nn.Module, parts: Any, keywords: dict[str, Any]) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Return scaled queries ``(B, H, T, E)``, keys and values ``(B, G, T, E)``, and what is added to the scores.

    Args:
        module: of ``WITH_PARTING``.
        parts: what its method has returned.
        keywords: with which the module was called.

    Returns:
        what is added last, shape ``(B, H, N + T)``; ``None``: nothing.
    """
    query, key, value = parts
    added = keywords["alibi"]
    if isinstance(module, FalconAttention):
        query, key, value = (part.transpose(1, 2) for part in parts)
        if added is None:
            query, key = rotate_falcon(query, key, *keywords["position_embeddings"])
        else:
            added = added * module.inv_norm_factor
    if added is not None:
        added = added.view(len(query), query.shape[1], -1)
    return query * module.inv_norm_factor, key, value, added


def windows(module: GPTNeoSelfAttention, start: int, stop: int) -> Tensor:
    """Return where GPT-Neo's layers let tokens from ``start`` to ``stop`` attend, shape ``(1, 1, Q, stop)``.

    It has causality and windows to itself, and does not put them into the mask that it is given.
    """
    allowed: Tensor = module.bias[:, :, start:stop, :stop]
    return allowed


class FilledLayer(DynamicLayer):  # type: ignore[misc]  # transformers is not checked
    """A layer of a cache that has keys and values from the beginning, shape ``(1, heads, N, head_size)`` each."""

    def __init__(self, keys: Tensor, values: Tensor) -> None:
        super().__init__()
        self.lazy_initialization(keys, values)
        self.keys, self.values = keys, values


def keys_and_values(cache: Cache) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield what each layer of a cache holds."""
    for layer in cache.layers:
        yield layer.keys, layer.values


def gpt2_positions(model: GPT2LMHeadModel) -> nn.Parameter:
    """Return GPT-2's embeddings of positions, shape ``(T, C)``."""
    positions: nn.Parameter = model.transformer.wpe.weight
    return positions


def gpt2_queries_and_keys(model: GPT2LMHeadModel) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield views of the weights that make each layer's queries and keys, shape ``(C, C)`` each."""
    for block in model.transformer.h:
        query, key, _ = block.attn.c_attn.weight.split(model.config.hidden_size, dim=1)
        yield query, key
