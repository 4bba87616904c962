"""Language models that are small, random and saved as Hugging Face saves them, and a text task for them."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from tokenizers import Tokenizer, decoders, pre_tokenizers, processors, trainers
from tokenizers import models as token_models
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    FalconConfig,
    FalconForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3Config,
    Gemma3ForCausalLM,
    Gemma3ForConditionalGeneration,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    GPTJConfig,
    GPTJForCausalLM,
    GPTNeoConfig,
    GPTNeoForCausalLM,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    SiglipVisionConfig,
    XGLMConfig,
    XGLMForCausalLM,
)

from iclgd.data.text_datamodule import QueryBatch
from iclgd.models.language import LanguageModel, wrap
from tests.momentum import FIXED, LEARNED, give_momentum, set_eager

VOCABULARY = 320
HIDDEN, HEADS, HEAD_SIZE, LAYERS = 32, 4, 8, 3
WINDOW = 16  # of the models that have one: shorter than the contexts here, longer than the queries

_SPECIAL = {"vocab_size": VOCABULARY, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}
_MODERN = {
    "hidden_size": HIDDEN,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "intermediate_size": 64,
    "max_position_embeddings": 512,
    **_SPECIAL,
}
_GROUPED = {**_MODERN, "num_key_value_heads": 2}
_GPT2 = {"n_embd": HIDDEN, "n_layer": LAYERS, "n_head": HEADS, "n_positions": 512, **_SPECIAL}
_GPT_NEO = {
    "hidden_size": HIDDEN,
    "num_layers": 4,
    "num_heads": HEADS,
    "intermediate_size": 64,
    "max_position_embeddings": 512,
    "attention_types": [[["global", "local"], 2]],
    "window_size": WINDOW,
    **_SPECIAL,
}
_OPT = {**_MODERN, "ffn_dim": 64, "word_embed_proj_dim": 16}  # embeddings smaller than the layers, as OPT 350M has
_XGLM = {"d_model": HIDDEN, "num_layers": LAYERS, "attention_heads": HEADS, "ffn_dim": 64, **_SPECIAL}
_GEMMA3 = {
    **_GROUPED,
    "head_dim": HEAD_SIZE,
    "query_pre_attn_scalar": 1,  # queries and keys are of length 1, but for their weights
    "sliding_window": WINDOW,
    "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
}
_GEMMA2 = {
    **_GEMMA3,
    "query_pre_attn_scalar": HEAD_SIZE // 2,
    "attn_logit_softcapping": 5.0,
    "final_logit_softcapping": 9.0,
}
_TOWER = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 16, "num_hidden_layers": 1}
_WITH_IMAGES = {
    "text_config": Gemma3TextConfig(**_GEMMA3).to_dict(),
    "vision_config": SiglipVisionConfig(**_TOWER, image_size=28, patch_size=14).to_dict(),
    "mm_tokens_per_image": 4,
}
_BLOOM = {"hidden_size": HIDDEN, "n_layer": LAYERS, "n_head": HEADS, **_SPECIAL}
_FALCON = {**_MODERN, "ffn_hidden_size": 64}

_ARCHITECTURES: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "gpt2": (GPT2LMHeadModel, GPT2Config, _GPT2),
    "opt": (OPTForCausalLM, OPTConfig, _OPT),
    "llama": (LlamaForCausalLM, LlamaConfig, _GROUPED),
    "qwen2": (Qwen2ForCausalLM, Qwen2Config, _GROUPED),
    "mistral": (MistralForCausalLM, MistralConfig, {**_GROUPED, "sliding_window": WINDOW}),
    "phi3": (Phi3ForCausalLM, Phi3Config, _GROUPED),
    "gpt_neox": (GPTNeoXForCausalLM, GPTNeoXConfig, _MODERN),
    "xglm": (XGLMForCausalLM, XGLMConfig, {**_XGLM, "max_position_embeddings": 512}),
    "gpt_neo": (GPTNeoForCausalLM, GPTNeoConfig, _GPT_NEO),
    "gptj": (GPTJForCausalLM, GPTJConfig, {**_GPT2, "rotary_dim": 4}),
    "gemma2": (Gemma2ForCausalLM, Gemma2Config, _GEMMA2),
    "gemma3": (Gemma3ForCausalLM, Gemma3TextConfig, _GEMMA3),
    "gemma3_images": (Gemma3ForConditionalGeneration, Gemma3Config, _WITH_IMAGES),
    "bloom": (BloomForCausalLM, BloomConfig, _BLOOM),
    "falcon": (FalconForCausalLM, FalconConfig, {**_FALCON, "new_decoder_architecture": True, "num_kv_heads": 2}),
    "falcon_alibi": (FalconForCausalLM, FalconConfig, {**_FALCON, "alibi": True, "multi_query": False, "bias": True}),
}
# With momentum attention: the same of all heads, and each head's own beside values that heads share.
_WITH_MOMENTUM = {"gpt2_momentum": ("gpt2", FIXED), "llama_momentum": ("llama", LEARNED)}
ARCHITECTURES = [*_ARCHITECTURES, *_WITH_MOMENTUM]
# Which compute in single precision, in part, whatever they are told.
SINGLE = ("xglm", "gpt_neo", "gptj", "gemma2", "bloom")
LINEAR_BIASES = ("bloom", "falcon_alibi")
# Whose attention is not chosen by name, or has one name alone.
ONE_IMPLEMENTATION = ("gpt_neo", "xglm", "gptj", "gemma2", "bloom", "falcon", "falcon_alibi")

TEXTS = ["rain all day", "the sun", "a cold wind", "warm", "the rain and the sun", "wind"]
ANSWERS = ["bad", "good"]
LONG_ANSWERS = ["quite bad", "good", "neither of them"]  # of 3 lengths in tokens
TEMPLATE = "Day: {text} It is"


def random_model(model_type: Any, config: Any, seed: int = 0) -> PreTrainedModel:
    """Return a model with random weights that are not small.

    Freshly initialised models attend to all tokens almost equally, and all their logits are almost 0: whatever is
    mixed up within them gives the same numbers. Matrices eight times as large, and biases and norms that are not all
    the same, tell right from wrong.
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        model: PreTrainedModel = model_type(config)
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.randn_like(parameter), alpha=0.1)
            else:
                parameter.mul_(8)
    return model.eval().requires_grad_(False)


def architecture(name: str) -> str:
    """Return which architecture one of ``ARCHITECTURES`` has, momentum or not."""
    return _WITH_MOMENTUM[name][0] if name in _WITH_MOMENTUM else name


def tiny_model(name: str, seed: int = 0, **changes: Any) -> PreTrainedModel:
    """Return a random model of one of ``ARCHITECTURES``; ``changes`` are to its config."""
    if name in _WITH_MOMENTUM:
        name, momentum = _WITH_MOMENTUM[name]
        return give_momentum(tiny_model(name, seed, **changes), momentum)
    model_type, config_type, keys = _ARCHITECTURES[name]
    return random_model(model_type, config_type(**{**keys, **changes}), seed)


def tiny(name: str, seed: int = 0, dtype: torch.dtype = torch.float32, **changes: Any) -> LanguageModel:
    """Return the same, wrapped."""
    return wrap(name, tiny_model(name, seed, **changes).to(dtype))


def has_window(name: str, layer: int) -> bool:
    """Say whether a layer of a model has a sliding window, of ``WINDOW`` tokens."""
    if name.startswith("gemma"):
        return layer != 1
    return name == "mistral" or (name == "gpt_neo" and layer % 2 == 1)


def shown_attention(model: PreTrainedModel, tokens: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Return what transformers' eager attention shows of each layer, ``(B, H, T, T)``.

    Falcon's is no reference as it is: it adds its linear biases twice, of which one is in the mask, and adds a mask of
    booleans as numbers.
    """

    def plain_mask(_module: Any, inputs: Any, keywords: dict[str, Any]) -> Any:
        mask = keywords["attention_mask"]
        allowed = mask if mask.dtype == torch.bool else mask > torch.finfo(mask.dtype).min
        smallest = torch.finfo(torch.float32).min
        keywords["attention_mask"] = torch.zeros_like(allowed, dtype=torch.float32).masked_fill(~allowed, smallest)
        return inputs, keywords

    kind = model.config.model_type
    if kind not in ("gpt_neo", "gptj", "bloom"):
        set_eager(model)
    handles = []
    if kind == "falcon":
        layers = [layer.self_attention for layer in model.transformer.h]
        handles = [layer.register_forward_pre_hook(plain_mask, with_kwargs=True) for layer in layers]
    with torch.no_grad():
        shown: tuple[torch.Tensor, ...] = model(input_ids=tokens, use_cache=False, output_attentions=True).attentions
    for handle in handles:
        handle.remove()
    return shown


def with_caps_and_biases(name: str, products: torch.Tensor) -> torch.Tensor:
    """Return the scores of the last position ``(B, H, S)`` that scaled inner products make in one of ``ARCHITECTURES``.

    Caps as in Gemma 2's report (arXiv 2408.00118), biases as in Press et al. 2022 (arXiv 2108.12409); Falcon scales
    those too.
    """
    if name == "gemma2":
        return 5.0 * (products / 5.0).tanh()
    if name in LINEAR_BIASES:
        slopes = torch.tensor([2.0**-2, 2.0**-4, 2.0**-6, 2.0**-8], dtype=products.dtype)
        slopes = slopes / (HEAD_SIZE**0.5 if name == "falcon_alibi" else 1)
        return products - slopes[:, None] * torch.arange(products.shape[-1] - 1, -1, -1)
    return products


def tiny_double(name: str, seed: int = 0) -> LanguageModel:
    """Return it in double precision; transformers' XGLM cannot have that: its mask's numbers are too large."""
    return tiny(name, seed, torch.float32 if name == "xglm" else torch.float64)


def random_tokens(*shape: int, seed: int = 1) -> torch.Tensor:
    """Return token ids that are none of the special ones."""
    return torch.randint(3, VOCABULARY, shape, generator=torch.Generator().manual_seed(seed))


def random_context(length: int = 40, seed: int = 2) -> tuple[int, ...]:
    """Return a context as token ids."""
    return tuple(random_tokens(length, seed=seed).tolist())


def query_batch(lengths: Sequence[int], seed: int = 3) -> QueryBatch:
    """Return random queries of these lengths, padded with their last tokens."""
    length = max(lengths)
    rows = [random_tokens(size, seed=seed + index).tolist() for index, size in enumerate(lengths)]
    padded = [row + row[-1:] * (length - len(row)) for row in rows]
    indices = torch.arange(len(rows))
    return QueryBatch(indices, torch.tensor(padded), torch.tensor(lengths), torch.zeros_like(indices))


def query_tokens(batch: QueryBatch) -> list[list[int]]:
    """Return the queries of a batch without their padding."""
    return [row[:size] for row, size in zip(batch.tokens.tolist(), batch.lengths.tolist(), strict=True)]


def tiny_tokenizer(beginning: bool = True) -> PreTrainedTokenizerFast:
    """Return a byte-level tokenizer; words of the task are one token each, and longer answers several.

    Args:
        beginning: whether there is a beginning-of-sequence token, which it then puts before a text.
    """
    tokenizer = Tokenizer(token_models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<s>", "</s>", "<pad>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([TEMPLATE.format(text=f"{word} {word}") for word in ANSWERS], trainer)
    if beginning:
        tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    special = {"bos_token": "<s>"} if beginning else {}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>", pad_token="<pad>", **special)


def save(folder: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast | None = None) -> Path:
    """Save a model and, unless it is ``None``, its tokenizer."""
    model.save_pretrained(folder)
    if tokenizer is not None:
        tokenizer.save_pretrained(folder)
    return folder


def task_rows(num: int, num_answers: int = 2, text: Callable[[int], str] | None = None) -> list[dict[str, Any]]:
    """Return rows with texts of several lengths and with all labels."""
    text = text or (lambda index: f"{TEXTS[index % len(TEXTS)]} {index}")
    return [{"text": text(index), "label": index % num_answers} for index in range(num)]


def write_task(
    folder: Path,
    name: str = "weather",
    train: list[dict[str, Any]] | None = None,
    validation: list[dict[str, Any]] | None = None,
    **changes: Any,
) -> Path:
    """Write a task and its rows; return the task's file. ``changes`` are to its keys."""
    answers = changes.get("answers", ANSWERS)
    data = folder / f"{name}-data"
    data.mkdir(parents=True, exist_ok=True)
    rows = {"train": train, "validation": validation}
    for split, num in (("train", 30), ("validation", 23)):
        lines = rows[split] if rows[split] is not None else task_rows(num, len(answers))
        (data / f"{split}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in lines))
    keys = {
        "version": 1,
        "description": "is it good",
        "template": TEMPLATE,
        "answers": answers,
        "source": {"data_dir": data.name},
        **changes,
    }
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(keys))
    return path


def assert_close_weights(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor], tolerance: float) -> None:
    """Compare the weights of two trained GPT-2.

    Keys' biases change no attention: their gradient is 0 but for rounding, which Adam makes steps of, so these are left
    out where there is any tolerance.
    """
    assert one.keys() == other.keys()
    for name in one:
        pair = [one[name], other[name]]
        if tolerance and name.endswith("c_attn.bias"):
            queries, _, values = zip(*(each.chunk(3) for each in pair), strict=True)
            pair = [torch.cat(each) for each in zip(queries, values, strict=True)]
        torch.testing.assert_close({name: pair[0]}, {name: pair[1]}, rtol=0, atol=tolerance)  # says the name
