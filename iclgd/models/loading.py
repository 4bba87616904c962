"""Load a language model and its tokenizer, as a config names them, through transformers."""

import logging
from dataclasses import dataclass
from importlib.util import find_spec
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
    BitsAndBytesConfig,
    GgufConfig,
    GPT2TokenizerFast,
    PreTrainedConfig,
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
from iclgd.models.language_mesa import add_mesa, mesa_config
from iclgd.models.model_files import EMBEDDED, GGUF, ModelFiles, locate, not_loaded, silence
from iclgd.models.momentum import (
    ATTENTIONS,
    DEFAULT_MOMENTUM,
    MomentumConfig,
    add_momentum,
    momentum_config,
    remove_momentum,
)
from iclgd.vendors.transformers import WithParts, without_progress_of_gguf

TOKENIZER_FILES = {
    *("tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt", "vocab.txt"),
    *("tokenizer.model", "spiece.model", "sentencepiece.bpe.model"),
}
GGUF_PACKAGES = ("gguf", "accelerate")  # without which transformers reads not all such files, or none
DEVICE_MAPS = {
    "auto": "over all GPUs of a node, by accelerate: for a model that is larger than one; the CPU where there is none",
    "cpu": "the CPU, whatever else there is",
}
QUANTIZATIONS = {"int8": "8 bits each, by bitsandbytes: a fourth of float32's memory, on GPUs alone"}
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
    """The embedded model, a folder with a Hugging Face model, a GGUF file, or a model's name on the hub."""
    tokenizer: str | None = None
    """A tokenizer's folder, GGUF file or name, if not the model's own."""
    revision: str | None = None
    """Revision of the model on the hub."""
    dtype: str = "float32"
    """Numbers of the weights; key and value projections, which finetuning changes, have at least float32."""
    quantization: str | None = None
    """Numbers of the weights within matrix products, of finetuned parts excepted; default: model.dtype."""
    device_map: str | None = None
    """Where the parts of the model are; default: all on the device of each process."""
    untrained: bool = False
    """Random weights, from the seed, in the model's shape."""
    attention: str | None = None
    """What layers attend with: softmax, or momentum, which adds a decayed sum; default: what the model has."""
    momentum: float | None = None
    """With attention=momentum: eta, from 0 to below 1; default: the model's own, or 0.9."""

    @property
    def placement(self) -> str | None:
        """Return who brings the model to which devices: ``None``: the trainer; bitsandbytes does as accelerate."""
        return "auto" if self.quantization is not None else self.device_map

    def __post_init__(self) -> None:
        for key in ("name", "tokenizer", "revision"):
            if getattr(self, key) == "":
                raise ValueError(f"model.{key} must not be empty")
        checks.one_of(DTYPES, "model", self, "dtype")
        checks.one_of(QUANTIZATIONS, "model", self, "quantization", optional=True)
        checks.one_of(DEVICE_MAPS, "model", self, "device_map", optional=True)
        for key in ("quantization", "device_map"):
            if getattr(self, key) is not None and self.untrained:
                raise ValueError(f"model.{key} goes with trained weights: model.untrained=true has none")
        if self.quantization is not None and self.device_map == "cpu":
            raise ValueError(f"model.quantization={self.quantization} contradicts model.device_map=cpu")
        if self.quantization is not None and self.name.endswith(GGUF):
            raise ValueError(f"model.quantization={self.quantization} does not go with a GGUF file, which has its own")
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
    _check_surroundings(config)
    shape = _shape(config)
    files = locate(config.name)
    where = files.arguments() | {"revision": config.revision}
    if type(shape) not in MODEL_FOR_CAUSAL_LM_MAPPING and type(shape) not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
        raise LanguageModelError(f"model.name: {config.name} is no causal language model, but {shape.model_type}")
    try:
        own, mesa = momentum_config(shape), mesa_config(shape)
        missing: list[str] = []
        if config.untrained:
            model = with_random_weights(lambda: _loader(shape).from_config(shape, dtype=torch.float32), seed)
            model.to(shape.dtype or torch.float32 if config.dtype == "auto" else DTYPES[config.dtype])
            if mesa is not None:
                add_mesa(model, mesa)
        else:
            kind = _loader(shape)
            if mesa is not None:
                kind = WithParts(kind, shape, lambda it: add_mesa(it, mesa))
            elif own is not None:
                kind = WithParts(kind, shape, lambda it: add_momentum(it, own))
            if config.placement is not None:
                where["device_map"] = config.placement
            if config.quantization is not None:
                logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it tells of every product's precision
                kept = unquantized_modules(config.name, shape)
                where["quantization_config"] = BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=kept)
            if files.gguf:
                where["quantization_config"] = GgufConfig(dequantize=True)
            where |= {"config": shape, "output_loading_info": True}
            with without_progress_of_gguf():
                model, found = kind.from_pretrained(files.folder, dtype=DTYPES[config.dtype], **where)
            missing = sorted(found["missing_keys"])
    except Exception as error:  # as for its config
        raise LanguageModelError(not_loaded("model", config.name, error, "model.name")) from None
    if mesa is not None and config.attention is not None:
        raise LanguageModelError(
            f"model.attention must be null with model.name={config.name}, whose layers are mesa layers; "
            f"got {config.attention!r}"
        )
    _set_attention(model, config, own)
    if missing:  # transformers would make up random weights
        raise LanguageModelError(f"model.name: the weights in {config.name} lack {missing[0]} ({len(missing)} in all)")
    if config.placement is not None:
        _check_room(config, model)
    check_weights(config.name, model)
    return wrap(config.name, model, is_placed=config.placement is not None)


def unquantized_modules(name: str, shape: PreTrainedConfig) -> list[str]:
    """Return which modules keep numbers as they are: key and value projections, which are finetuned, and the head.

    Args:
        name: of the model, for messages.
        shape: its config.

    Raises:
        LanguageModelError: if its attention is not known.
    """
    with torch.device("meta"):
        model = wrap(name, _loader(shape).from_config(shape))
    head = model.model.get_output_embeddings()
    heads = [its_name for its_name, module in model.model.named_modules() if module is head]
    parts = [f"{layer.name}.{part.name.rpartition('.')[0]}" for layer in model.layers for part in layer.projections]
    return heads + list(dict.fromkeys(parts))


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
    files = _files(name, key)
    names = {path.name for path in Path(files.folder).glob("*")}
    if names and files.gguf is None and not names & TOKENIZER_FILES:  # transformers may make up an empty one
        raise LanguageModelError(f"{key}: {name} has no tokenizer")
    try:
        if (
            files.gguf is None and {"vocab.json", "merges.txt"} == names & TOKENIZER_FILES
        ):  # as GPT-2's is often passed on
            return GPT2TokenizerFast.from_pretrained(files.folder)
        return AutoTokenizer.from_pretrained(files.folder, revision=revision, **files.arguments())
    except Exception as error:  # as above
        raise LanguageModelError(not_loaded("tokenizer", name, error, key)) from None


def _shape(config: LanguageModelConfig) -> Any:
    """Return the model's own config."""
    silence()
    files = _files(config.name, "model.name")
    try:
        return AutoConfig.from_pretrained(files.folder, revision=config.revision, **files.arguments())
    except Exception as error:  # files of any origin can fail in any way
        raise LanguageModelError(not_loaded("model", config.name, error, "model.name")) from None


def _check_surroundings(config: LanguageModelConfig) -> None:
    """Refuse what this machine cannot do, before anything is read."""
    needs = {"quantization": ("bitsandbytes", "accelerate"), "device_map": ("accelerate",)}
    for key, packages in needs.items():
        value, missing = getattr(config, key), [package for package in packages if find_spec(package) is None]
        if value is None:
            continue
        if key == "quantization" and not torch.cuda.is_available():
            raise LanguageModelError(f"model.quantization={value} needs a GPU, and PyTorch sees none")
        if missing:
            raise LanguageModelError(
                f"model.{key}={value} needs the package {missing[0]}; install iclgd[{packages[0]}]"
            )


def _check_room(config: LanguageModelConfig, model: PreTrainedModel) -> None:
    """Refuse a model of which a part found no room on the GPUs: it could not be finetuned there."""
    outside = [key for key, parameter in model.named_parameters() if parameter.is_meta]
    if outside:
        raise LanguageModelError(
            f"model.name={config.name}: the GPUs here have no room for {outside[0]} "
            f"({len(outside)} tensors in all); try model.dtype=bfloat16, or a machine with more"
        )


def _files(name: str, key: str) -> ModelFiles:
    """Return where a model's files are.

    Raises:
        LanguageModelError: if their format needs packages that are not installed.
    """
    files = locate(name)
    missing = [package for package in GGUF_PACKAGES if files.gguf and find_spec(package) is None]
    if missing:
        raise LanguageModelError(f"{key}: {name} needs the package {missing[0]}; install iclgd[gguf]")
    return files


def _loader(config: Any) -> Any:
    """Return what loads models of a config: some that read images too are no language models by transformers' lists."""
    kind = type(config)
    is_listed = kind in MODEL_FOR_CAUSAL_LM_MAPPING or kind not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING
    return AutoModelForCausalLM if is_listed else AutoModelForImageTextToText
