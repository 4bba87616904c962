"""Where the attention of a Hugging Face model is: the layers that read text, and their key and value projections."""

from dataclasses import dataclass
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from iclgd.models.projections import KeyValueProjection, find_projections

# What attention to an encoder's output is called, which no text without an encoder gets to.
CROSS_ATTENTION = {"encoder_attn", "crossattention", "cross_attn"}


@dataclass(frozen=True)
class AttentionLayer:
    """One attention layer of a language model.

    Args:
        name: of its module within the model.
        module: which maps hidden states to the output of the attention block, before the residual.
        projections: its key and value projections.
    """

    name: str
    module: nn.Module
    projections: list[KeyValueProjection]


def text_decoder(model: PreTrainedModel) -> PreTrainedModel:
    """Return the part that reads text: what stands beside the towers for images and sound, where there are any."""
    decoder = model.get_decoder()
    return decoder if isinstance(decoder, PreTrainedModel) else model


def number_of_heads(model: PreTrainedModel) -> int | None:
    """Return the attention heads of a layer, as the config has them; ``None`` if it does not."""
    names = ("decoder_attention_heads", "num_decoder_attention_heads", "num_attention_heads")
    return _first(_text_config(model), names)


def number_of_layers(model: PreTrainedModel) -> int | None:
    """Return the number of layers, likewise."""
    return _first(_text_config(model), ("decoder_layers", "num_decoder_layers", "num_hidden_layers"))


def find_attention_layers(model: PreTrainedModel, num_heads: int) -> list[AttentionLayer]:
    """Return the self-attention layers whose projections we know, in order.

    Args:
        model: with a language modelling head.
        num_heads: attention heads of a layer.
    """
    readers = _text_modules(text_decoder(model))
    num_key_value_heads = getattr(_text_config(model), "num_key_value_heads", None) or num_heads
    return [
        AttentionLayer(name, module, projections)
        for name, module in model.named_modules()
        if id(module) in readers
        and not CROSS_ATTENTION.intersection(name.split("."))
        and (projections := find_projections(module, num_heads, num_key_value_heads)) is not None
    ]


def _text_config(model: PreTrainedModel) -> Any:
    return model.config.get_text_config(decoder=True)


def _first(config: Any, names: tuple[str, ...]) -> int | None:
    """Return a number of a config, which may have one for a decoder and another, of the usual name, for an encoder."""
    return next((number for name in names if (number := getattr(config, name, None))), None)


def _text_modules(decoder: PreTrainedModel) -> set[int]:
    """Return the identities of a decoder's modules, without those of models for images or sound that are within it."""
    parts = [part for part in decoder.modules() if isinstance(part, PreTrainedModel)]
    towers = [part for part in parts if type(part.config) is not type(decoder.config)]
    return {id(module) for module in decoder.modules()} - {id(module) for part in towers for module in part.modules()}
