"""Any Hugging Face causal language model, as it is, and where its attention is."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from iclgd.checks import InputError
from iclgd.models.attention_layers import (
    AttentionLayer,
    find_attention_layers,
    number_of_heads,
    number_of_layers,
    text_decoder,
)
from iclgd.models.model_files import first_sentence
from iclgd.models.momentum import add_momentum, momentum_config
from iclgd.models.projection_precision import keep_single_precision
from iclgd.models.weight_sharing import sharing_weights
from iclgd.vendors.transformers import fresh_model, has_recurrent_state, is_dispatched, place_like

# Rotary embeddings whose angles depend on the longest position of a pass once it exceeds the length of the training.
LENGTH_DEPENDENT = ("longrope", "dynamic")


class LanguageModelError(InputError):
    """A language model that cannot be used."""


@dataclass(frozen=True)
class LanguageModel:
    """A Hugging Face model and where its attention is.

    Args:
        name: for messages.
        model: with a language modelling head, in evaluation mode; ours to change, see :func:`wrap`.
        num_heads: attention heads of a layer.
        max_length: the longest sequence that the model takes; ``None``: no limit is known.
        is_placed: whether it stays where it is: on one device, or with its parts on several.

    Example:
        >>> from iclgd.models import load_language_model
        >>> model = wrap("embedded", load_language_model("embedded")[0])
        >>> model.num_layers, model.num_heads, model.layers[0].name
        (4, 4, 'transformer.h.0.attn')
    """

    name: str
    model: PreTrainedModel
    num_heads: int
    max_length: int | None
    is_placed: bool = False
    layers: list[AttentionLayer] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", _attention_layers(self))

    @property
    def num_layers(self) -> int:
        """Return the number of attention layers."""
        return len(self.layers)

    @property
    def decoder(self) -> PreTrainedModel:
        """Return the part that reads text: what stands beside the towers for images and sound, where there are any."""
        return text_decoder(self.model)

    @property
    def device(self) -> torch.device:
        """Return where the weights are, or, where parts are on several devices, those that tokens come to first."""
        embeddings: nn.Parameter = self.model.get_input_embeddings().weight
        return embeddings.device

    @property
    def dtype(self) -> torch.dtype:
        """Return the precision of the weights, but for key and value projections, which have at least single."""
        embeddings: nn.Parameter = self.model.get_input_embeddings().weight
        return embeddings.dtype


def check_weights(name: str, model: PreTrainedModel) -> None:
    """Refuse weights that are not there, or that cannot be computed with.

    Raises:
        LanguageModelError: for the first such tensor.
    """
    for key, parameter in model.named_parameters():
        if parameter.is_meta:
            raise LanguageModelError(f"model.name={name}: {key} is not in memory")
    if (place := _not_finite(model)) is not None:
        raise LanguageModelError(f"model.name: the weights in {name} are not all finite numbers: {place}")


def untrained_twin(model: LanguageModel, seed: int) -> LanguageModel:
    """Return a model of the same shape with random weights: the control of Deutch et al. 2024."""
    kind, config = type(model.model), model.model.config
    twin = with_random_weights(lambda: fresh_model(kind, config), seed).to(model.dtype)
    if (momentum := momentum_config(config)) is not None:
        add_momentum(twin, momentum)
    if model.is_placed:
        place_like(model.model, twin)
    return wrap(f"untrained {model.name}", twin, model.is_placed)


def wrap(name: str, model: PreTrainedModel, is_placed: bool = False) -> LanguageModel:
    """Return a copy that shares the model's weights, in evaluation mode, without gradients, with its attention found.

    The model itself stays as it is, whatever is done with the copy.

    Args:
        name: for messages.
        model: with a language modelling head.
        is_placed: whether it has to stay where it is; so do models whose parts are on several devices.

    Raises:
        LanguageModelError: if it has no attention that we know to change, or more than attention, or cannot be copied.

    Example:
        >>> import transformers
        >>> config = transformers.GPT2Config(vocab_size=8, n_positions=8, n_embd=4, n_layer=1, n_head=2)
        >>> model = transformers.GPT2LMHeadModel(config).train()
        >>> wrapped = wrap("mine", model)
        >>> wrapped.num_layers, wrapped.model.training, model.training
        (1, False, True)
    """
    try:
        model = sharing_weights(model).eval()
    except Exception as error:  # a user's hooks and attributes can be anything
        raise LanguageModelError(
            f"model.name={name}: {type(model).__name__} cannot be copied ({first_sentence(error)})"
        ) from None
    num_heads = number_of_heads(model)
    if not num_heads:
        raise LanguageModelError(f"model.name={name}: {type(model).__name__} has no attention heads in its config")
    if has_recurrent_state(model):
        raise LanguageModelError(
            f"model.name={name}: {type(model).__name__} has layers with a recurrent state; a context is handed to "
            "queries as keys and values alone"
        )
    is_placed = is_placed or is_dispatched(model)
    wrapped = LanguageModel(name, model, num_heads, longest_sequence_of(model.config), is_placed)
    for part in (part for layer in wrapped.layers for part in layer.projections):
        if not part.parameter.is_floating_point():
            raise LanguageModelError(f"model.name={name}: weights of {part.parameter.dtype} cannot be finetuned")
    for layer in wrapped.layers:
        keep_single_precision(layer)
    return wrapped


def longest_sequence_of(config: PreTrainedConfig) -> int | None:
    """Return the longest sequence whose tokens do not depend on what else is in the batch; ``None``: no limit known.

    Args:
        config: of a model.
    """
    of_text = config.get_text_config(decoder=True)
    rotary = getattr(of_text, "rope_parameters", None) or {}
    max_length: int | None = getattr(of_text, "max_position_embeddings", None)
    if rotary.get("rope_type") in LENGTH_DEPENDENT:
        return rotary.get("original_max_position_embeddings") or max_length
    return max_length


def _attention_layers(model: LanguageModel) -> list[AttentionLayer]:
    layers = find_attention_layers(model.model, model.num_heads)
    if len(layers) != (num_layers := number_of_layers(model.model)):
        raise LanguageModelError(
            f"model.name={model.name}: {type(model.model).__name__} has {len(layers)} attention layers whose key and "
            f"value projections are known, not the {num_layers} of its config"
        )
    return layers


def with_random_weights(make: Callable[[], PreTrainedModel], seed: int) -> PreTrainedModel:
    """Return what a call makes with PyTorch's global generator at a seed, and leave that as it was."""
    with torch.random.fork_rng(devices=[]):  # which transformers initialises from
        torch.manual_seed(seed)
        return make()


def _not_finite(model: PreTrainedModel) -> str | None:
    """Return the first tensor with a number that is not finite: one is enough to make all answers wrong."""
    for name, parameter in model.named_parameters():
        # Not finite, or very large in sum: adding up is several times as fast as looking at each number.
        if not parameter.sum().isfinite() and not parameter.isfinite().all():
            return f"{name} ({int((~parameter.isfinite()).sum())} of {parameter.numel()})"
    for name, buffer in model.named_buffers():
        if buffer.is_floating_point() and buffer.isnan().any():  # masks may hold infinity
            return f"{name} ({int(buffer.isnan().sum())} of {buffer.numel()})"
    return None
