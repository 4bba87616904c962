"""Load a language model and its tokenizer, as a config names them, through transformers."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
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
from iclgd.models.language import (
    LanguageModel,
    LanguageModelError,
    check_weights,
    longest_sequence_of,
    with_random_weights,
    wrap,
)
from iclgd.models.model_files import EMBEDDED, locate, not_loaded, silence
from iclgd.models.momentum import (
    ATTENTIONS,
    DEFAULT_MOMENTUM,
    MomentumConfig,
    add_momentum,
    momentum_config,
    remove_momentum,
)
from iclgd.vendors.transformers import WithParts

TOKENIZER_FILES = {
    *("tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt", "vocab.txt"),
    *("tokenizer.model", "spiece.model", "sentencepiece.bpe.model"),
}
DTYPES: dict[str, torch.dtype | str] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "auto": "auto",  # as transformers calls it: that of the files
}


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
    dtype: str = "float32"
    """Numbers of the weights; key and value projections, which finetuning changes, have at least float32."""
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
        checks.one_of(DTYPES, "model", self, "dtype")
        checks.one_of(ATTENTIONS, "model", self, "attention", optional=True)
        if self.momentum is not None:
            if self.attention != "momentum":
                raise ValueError(f"model.momentum={self.momentum} needs model.attention=momentum")
            MomentumConfig(self.momentum)


def load_language_model(config: LanguageModelConfig, seed: int) -> LanguageModel:
    """Load a model.

    Args:
        config: which one.
        seed: of the weights, if they are to be random.

    Raises:
        LanguageModelError: if it cannot be found or read, or has no attention that we know to change.
    """
    shape = _shape(config)
    files = locate(config.name)
    where = files.arguments() | {"revision": config.revision}
    try:
        own = momentum_config(shape)
        missing: list[str] = []
        if config.untrained:
            model = with_random_weights(lambda: _loader(shape).from_config(shape, dtype=torch.float32), seed)
            model.to(shape.dtype or torch.float32 if config.dtype == "auto" else DTYPES[config.dtype])
        else:
            kind = _loader(shape) if own is None else WithParts(_loader(shape), shape, lambda it: add_momentum(it, own))
            dtype = DTYPES[config.dtype]
            model, found = kind.from_pretrained(files.folder, dtype=dtype, output_loading_info=True, **where)
            missing = sorted(found["missing_keys"])
    except Exception as error:  # as for its config
        raise LanguageModelError(not_loaded("model", config.name, error, "model.name")) from None
    _set_attention(model, config, own)
    if missing:  # transformers would make up random weights
        raise LanguageModelError(f"model.name: the weights in {config.name} lack {missing[0]} ({len(missing)} in all)")
    check_weights(config.name, model)
    return wrap(config.name, model)


def longest_sequence(config: LanguageModelConfig) -> int | None:
    """Return the longest sequence that a model takes, whose weights are not loaded; ``None``: no limit is known.

    Raises:
        LanguageModelError: if its config cannot be found or read.
    """
    return longest_sequence_of(_shape(config))


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


def load_tokenizer(config: LanguageModelConfig) -> Tokenizer:
    """Load the model's tokenizer, or the one that the config names.

    Raises:
        LanguageModelError: if it cannot be found or read.
    """
    revision = None if config.tokenizer else config.revision
    return load_named_tokenizer(config.tokenizer or config.name, "model.tokenizer (or model.name)", revision)


def load_named_tokenizer(name: str, key: str, revision: str | None = None) -> Tokenizer:
    """Load a tokenizer by its own name.

    Args:
        name: a folder, or a name on the hub.
        key: of the config that says it, for messages.
        revision: on the hub.

    Raises:
        LanguageModelError: if it cannot be found or read.
    """
    silence()
    files = locate(name)
    names = {path.name for path in Path(files.folder).glob("*")}
    if names and not names & TOKENIZER_FILES:  # transformers may make up an empty one
        raise LanguageModelError(f"{key}: {name} has no tokenizer")
    try:
        if {"vocab.json", "merges.txt"} == names & TOKENIZER_FILES:  # as GPT-2's is often passed on
            return GPT2TokenizerFast.from_pretrained(files.folder)
        return AutoTokenizer.from_pretrained(files.folder, revision=revision, **files.arguments())
    except Exception as error:  # as above
        raise LanguageModelError(not_loaded("tokenizer", name, error, key)) from None


def _shape(config: LanguageModelConfig) -> Any:
    """Return the model's own config."""
    silence()
    files = locate(config.name)
    try:
        return AutoConfig.from_pretrained(files.folder, revision=config.revision, **files.arguments())
    except Exception as error:  # files of any origin can fail in any way
        raise LanguageModelError(not_loaded("model", config.name, error, "model.name")) from None


def _loader(config: Any) -> Any:
    """Return what loads models of a config: some that read images too are no language models by transformers' lists."""
    kind = type(config)
    is_listed = kind in MODEL_FOR_CAUSAL_LM_MAPPING or kind not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING
    return AutoModelForCausalLM if is_listed else AutoModelForImageTextToText
