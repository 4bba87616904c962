"""Tiny Llamas in llama.cpp's file format, written by the format's own package."""

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from transformers import PreTrainedModel, PreTrainedTokenizerFast

BLOCK = 32  # numbers of Q8_0 that share a scale


def write_gguf(path: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, kind: str = "F32") -> Path:
    """Write a Llama and its byte-level tokenizer; matrices in the format's type of that name, vectors in single."""
    config = model.config
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_vocab_size(config.vocab_size)
    _add_tokenizer(writer, tokenizer, config.vocab_size)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    for name, parameter in model.named_parameters():
        values = parameter.float().numpy()
        for part, heads in (("q_proj", config.num_attention_heads), ("k_proj", config.num_key_value_heads)):
            if part in name:
                values = _interleaved(values, heads)
        own_name = names.get_name(name, try_suffixes=(".weight",))
        assert own_name is not None
        _add_tensor(writer, own_name, values, kind if values.ndim > 1 else "F32")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def in_blocks(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return numbers as Q8_0 keeps them: 32 whole numbers from -127 to 127, times a scale in half precision."""
    blocks = values.reshape(-1, BLOCK)
    scales = np.abs(blocks).max(1, keepdims=True) / 127
    whole = np.round(blocks / np.where(scales > 0, scales, 1))
    return (whole * scales.astype(np.float16).astype(np.float32)).reshape(values.shape).astype(np.float32)


def _interleaved(values: np.ndarray[Any, Any], num_heads: int) -> np.ndarray[Any, Any]:
    """Put the two numbers that a rotary embedding turns together side by side, as llama.cpp has them."""
    halves = values.reshape(num_heads, 2, -1, *values.shape[1:])
    return halves.swapaxes(1, 2).reshape(values.shape)


def _add_tensor(writer: gguf.GGUFWriter, name: str, values: np.ndarray[Any, Any], kind: str) -> None:
    type_ = gguf.GGMLQuantizationType[kind]
    writer.add_tensor(name, gguf.quants.quantize(np.ascontiguousarray(values), type_), raw_dtype=type_)


def _add_tokenizer(writer: gguf.GGUFWriter, tokenizer: PreTrainedTokenizerFast, size: int) -> None:
    parts = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    tokens = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    tokens += [f"<unused {index}>" for index in range(len(tokens), size)]
    special = set(tokenizer.all_special_tokens)
    types = [gguf.TokenType.CONTROL if token in special else gguf.TokenType.NORMAL for token in tokens]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges([" ".join(merge) for merge in parts["merges"]])
    writer.add_bos_token_id(tokenizer.bos_token_id)
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_pad_token_id(tokenizer.pad_token_id)
    writer.add_add_bos_token(True)
