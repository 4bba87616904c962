"""Any Hugging Face causal language model, as it is: loaded, and its attention found."""

import contextlib
import difflib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoTokenizer,
    GPT2TokenizerFast,
    PreTrainedModel,
)
from transformers import PreTrainedTokenizerBase as Tokenizer

from iclgd import checks
from iclgd.checks import InputError
from iclgd.hub import connection_problem
from iclgd.messages import all_lines
from iclgd.models.attention_layers import (
    AttentionLayer,
    find_attention_layers,
    number_of_heads,
    number_of_layers,
    text_decoder,
)
from iclgd.models.momentum import (
    ATTENTIONS,
    DEFAULT_MOMENTUM,
    MomentumConfig,
    add_momentum,
    momentum_config,
    remove_momentum,
)
from iclgd.models.weight_sharing import sharing_weights
from iclgd.vendors.transformers import WithParts, fresh_model, has_recurrent_state

EMBEDDED = "embedded"  # the name of the model that ships with the package
EMBEDDED_FOLDER = Path(__file__).parents[1] / "assets" / "embedded"
TOKENIZER_FILES = {
    *("tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt", "vocab.txt"),
    *("tokenizer.model", "spiece.model", "sentencepiece.bpe.model"),
}
# Rotary embeddings whose angles depend on the longest position of a pass once it exceeds the length of the training.
LENGTH_DEPENDENT = ("longrope", "dynamic")


class LanguageModelError(InputError):
    """A language model that cannot be used."""


@dataclass(frozen=True)
class LanguageModelConfig:
    """Which language model to look at.

    Raises:
        ValueError: if a value is empty.
    """

    name: str = EMBEDDED
    """The embedded model, a folder with a Hugging Face model, or a model's name on the hub."""
    tokenizer: str | None = None
    """A tokenizer's folder or name, if not the model's own."""
    revision: str | None = None
    """Revision of the model on the hub."""
    untrained: bool = False
    """Random weights, from the seed, in the model's shape."""
    attention: str | None = None
    """What layers attend with: softmax, or momentum, which adds a decayed sum; default: what the model has."""
    momentum: float | None = None
    """With attention=momentum: eta, from 0 to below 1; default: the model's own, or 0.9."""

    def __post_init__(self) -> None:
        for key in ("name", "tokenizer", "revision"):
            if getattr(self, key) == "":
                raise ValueError(f"model.{key} must not be empty")
        checks.one_of(ATTENTIONS, "model", self, "attention", optional=True)
        if self.momentum is not None:
            if self.attention != "momentum":
                raise ValueError(f"model.momentum={self.momentum} needs model.attention=momentum")
            MomentumConfig(self.momentum)


@dataclass(frozen=True)
class LanguageModel:
    """A Hugging Face model and where its attention is.

    Args:
        name: for messages.
        model: with a language modelling head, in evaluation mode; ours to change, see :func:`wrap`.
        num_heads: attention heads of a layer.
        max_length: the longest sequence that the model takes; ``None``: no limit is known.

    Example:
        >>> model = load_language_model(LanguageModelConfig("embedded"), seed=0)
        >>> model.num_layers, model.num_heads, model.layers[0].name
        (4, 4, 'transformer.h.0.attn')
    """

    name: str
    model: PreTrainedModel
    num_heads: int
    max_length: int | None
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
        """Return where the weights are."""
        parameter: nn.Parameter = next(self.model.parameters())
        return parameter.device


def load_language_model(config: LanguageModelConfig, seed: int) -> LanguageModel:
    """Load a model in single precision.

    Args:
        config: which one.
        seed: of the weights, if they are to be random.

    Raises:
        LanguageModelError: if it cannot be found or read, or has no attention that we know to change.
    """
    _silence()
    folder = _place(config.name)
    where = _where(folder) | {"revision": config.revision}
    try:
        shape = AutoConfig.from_pretrained(folder, **where)
        own = momentum_config(shape)
        missing: list[str] = []
        if config.untrained:
            model = _with_random_weights(lambda: _loader(shape).from_config(shape, dtype=torch.float32), seed)
        else:
            kind = _loader(shape) if own is None else WithParts(_loader(shape), shape, lambda it: add_momentum(it, own))
            model, found = kind.from_pretrained(folder, dtype=torch.float32, output_loading_info=True, **where)
            missing = sorted(found["missing_keys"])
    except Exception as error:  # files of any origin can fail in any way
        raise LanguageModelError(_not_loaded("model", config.name, error)) from None
    _set_attention(model, config, own)
    if missing:  # transformers would make up random weights
        raise LanguageModelError(f"model.name: the weights in {config.name} lack {missing[0]} ({len(missing)} in all)")
    check_weights(config.name, model)
    return wrap(config.name, model)


def _set_attention(model: PreTrainedModel, config: LanguageModelConfig, own: MomentumConfig | None) -> None:
    """Give a model the attention that is asked for, where that is not its own."""
    if config.attention == "softmax":
        remove_momentum(model)
    elif config.momentum is not None:
        add_momentum(model, MomentumConfig(config.momentum))
    elif own is None and config.attention == "momentum":
        add_momentum(model, MomentumConfig(DEFAULT_MOMENTUM))
    elif own is not None and config.untrained:
        add_momentum(model, own)


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


def load_tokenizer(config: LanguageModelConfig) -> Tokenizer:
    """Load the model's tokenizer, or the one that the config names.

    Raises:
        LanguageModelError: if it cannot be found or read.
    """
    _silence()
    name = config.tokenizer or config.name
    folder = _place(name)
    revision = None if config.tokenizer else config.revision
    files = {path.name for path in Path(folder).glob("*")}
    if files and not files & TOKENIZER_FILES:  # transformers may make up an empty one
        raise LanguageModelError(f"model.name: {name} has no tokenizer; give model.tokenizer=FOLDER")
    try:
        if {"vocab.json", "merges.txt"} == files & TOKENIZER_FILES:  # as GPT-2's is often passed on
            return GPT2TokenizerFast.from_pretrained(folder)
        return AutoTokenizer.from_pretrained(folder, revision=revision, **_where(folder))
    except Exception as error:  # as above
        raise LanguageModelError(_not_loaded("tokenizer", name, error)) from None


def untrained_twin(model: LanguageModel, seed: int) -> LanguageModel:
    """Return a model of the same shape with random weights: the control of Deutch et al. 2024."""
    kind, config = type(model.model), model.model.config
    twin = _with_random_weights(lambda: fresh_model(kind, config), seed)
    if (momentum := momentum_config(config)) is not None:
        add_momentum(twin, momentum)
    return wrap(f"untrained {model.name}", twin)


def wrap(name: str, model: PreTrainedModel) -> LanguageModel:
    """Return a copy that shares the model's weights, in evaluation mode, without gradients, with its attention found.

    The model itself stays as it is, whatever is done with the copy.

    Args:
        name: for messages.
        model: with a language modelling head.

    Raises:
        LanguageModelError: if it has no attention that we know to change, or more than attention, or cannot be copied.

    Example:
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
            f"model.name={name}: {type(model).__name__} cannot be copied ({_first_sentence(error)})"
        ) from None
    num_heads = number_of_heads(model)
    if not num_heads:
        raise LanguageModelError(f"model.name={name}: {type(model).__name__} has no attention heads in its config")
    if has_recurrent_state(model):
        raise LanguageModelError(
            f"model.name={name}: {type(model).__name__} has layers with a recurrent state; a context is handed to "
            "queries as keys and values alone"
        )
    wrapped = LanguageModel(name, model, num_heads, _max_length(model.config.get_text_config(decoder=True)))
    for part in (part for layer in wrapped.layers for part in layer.projections):
        if not part.parameter.is_floating_point():
            raise LanguageModelError(f"model.name={name}: weights of {part.parameter.dtype} cannot be finetuned")
    return wrapped


def _max_length(config: Any) -> int | None:
    """Return the longest sequence whose tokens do not depend on what else is in the batch; ``None``: no limit known."""
    rotary = getattr(config, "rope_parameters", None) or {}
    max_length: int | None = getattr(config, "max_position_embeddings", None)
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


def _with_random_weights(make: Callable[[], PreTrainedModel], seed: int) -> PreTrainedModel:
    with torch.random.fork_rng(devices=[]):  # transformers initialises from PyTorch's global generator
        torch.manual_seed(seed)
        return make()


def _loader(config: Any) -> Any:
    """Return what loads models of a config: some that read images too are no language models by transformers' lists."""
    kind = type(config)
    is_listed = kind in MODEL_FOR_CAUSAL_LM_MAPPING or kind not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING
    return AutoModelForCausalLM if is_listed else AutoModelForImageTextToText


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


def _where(folder: str) -> dict[str, Any]:
    """Return the arguments of all loaders: nobody's code is run, and without a connection only the cache is asked."""
    is_local = Path(folder).is_dir() or connection_problem() is not None
    return {"trust_remote_code": False, "local_files_only": is_local}


def _place(name: str) -> str:
    return str(EMBEDDED_FOLDER) if name == EMBEDDED else name


def _not_loaded(kind: str, name: str, error: Exception) -> str:
    """Return one line of a loader's message."""
    key = "model.name" if kind == "model" else "model.tokenizer (or model.name)"
    folder = Path(name)
    if folder.is_dir():
        return f"{key}: the {kind} in {name} cannot be loaded ({_first_sentence(error)})"
    near = {str(path): path.name for path in folder.parent.glob("*/")} | {EMBEDDED: EMBEDDED}
    close = difflib.get_close_matches(folder.name, near.values(), n=1)
    hints = [f"; did you mean {path}?" for path, its_name in near.items() if its_name in close][:1]
    reason = connection_problem() or _first_sentence(error)
    return f"{key}: {name} is no folder, and no {kind} of that name could be fetched{''.join(hints)} ({reason})"


def _first_sentence(error: Exception) -> str:
    return all_lines(error).partition(". ")[0][:200]


@contextlib.contextmanager
def silenced() -> Iterator[None]:
    """Keep the library silent within the block, as it is once something has been loaded, and give its voice back."""
    logging = transformers.utils.logging
    verbosity, has_bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    _silence()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if has_bars:
            logging.enable_progress_bar()


def _silence() -> None:
    """Keep the library's progress bars and advice from between our lines."""
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
