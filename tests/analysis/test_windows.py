"""Windows and chunks: what a layer's mask hides from the last token is in no measure."""

from typing import Any

import pytest
import torch
from transformers import (
    Cohere2Config,
    Cohere2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPTNeoConfig,
    GPTNeoForCausalLM,
    Llama4ForCausalLM,
    Llama4TextConfig,
    MistralConfig,
    MistralForCausalLM,
    ModernBertDecoderConfig,
    ModernBertDecoderForCausalLM,
    Olmo3Config,
    Olmo3ForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    Starcoder2Config,
    Starcoder2ForCausalLM,
)

from iclgd.data.prompts import Prompts
from iclgd.models.language import LanguageModel, wrap
from tests.language_models import query_batch, query_tokens, random_model, random_tokens
from tests.modules.test_dual_form import RATE, run
from tests.modules.test_dual_form import Comparison as Compared
from tests.whole_prompts import measures

WINDOW = 8  # shorter than the context, than a demonstration and than some queries
SIZES = {
    "vocab_size": 320,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 256,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 2,
}
GROUPED = {**SIZES, "head_dim": 8, "sliding_window": WINDOW}
MIXED = ["sliding_attention", "full_attention", "sliding_attention"]
CHUNKED = ["chunked_attention", "full_attention", "chunked_attention"]
LLAMA4 = {
    **SIZES,
    "head_dim": 8,
    "intermediate_size_mlp": 32,
    "num_local_experts": 2,
    "attention_chunk_size": WINDOW,
    "floor_scale": 8,  # scales queries by their positions from here on, where nothing rotates them
    "layer_types": CHUNKED,
    "no_rope_layers": [1, 0, 1],
}
NEO = {"num_layers": 4, "attention_types": [[["global", "local"], 2]], "window_size": WINDOW}
WINDOWED: dict[str, tuple[Any, Any]] = {
    "mistral": (MistralForCausalLM, MistralConfig(**GROUPED)),
    "qwen2": (
        Qwen2ForCausalLM,
        Qwen2Config(**SIZES, use_sliding_window=True, sliding_window=WINDOW, layer_types=MIXED),
    ),
    "qwen3": (Qwen3ForCausalLM, Qwen3Config(**GROUPED, use_sliding_window=True, layer_types=MIXED)),
    "gpt_neo": (
        GPTNeoForCausalLM,
        GPTNeoConfig(
            vocab_size=320, hidden_size=32, num_heads=4, max_position_embeddings=256, intermediate_size=64, **NEO
        ),
    ),
    "gemma3": (Gemma3ForCausalLM, Gemma3TextConfig(**GROUPED, layer_types=MIXED)),
    "llama4": (Llama4ForCausalLM, Llama4TextConfig(**LLAMA4)),
}
MORE: dict[str, tuple[Any, Any]] = {
    "cohere2": (Cohere2ForCausalLM, Cohere2Config(**GROUPED, layer_types=MIXED)),
    "olmo3": (Olmo3ForCausalLM, Olmo3Config(**SIZES, sliding_window=WINDOW, layer_types=MIXED)),
    "starcoder2": (Starcoder2ForCausalLM, Starcoder2Config(**SIZES, sliding_window=WINDOW)),
    "modernbert": (
        ModernBertDecoderForCausalLM,
        ModernBertDecoderConfig(**SIZES, local_attention=WINDOW, global_attn_every_n_layers=2),
    ),
}
LENGTHS = [1, 2, 5, 9, 12, 3]
PARTS = ("outputs", "queries", "scores", "visible", "context_scores", "context_visible", "context_updates")


def model_of(name: str, **changes: Any) -> LanguageModel:
    kind, config = (WINDOWED | MORE)[name]
    model: PreTrainedModel = random_model(kind, type(config)(**{**config.to_dict(), **changes})).double()
    with torch.no_grad():
        for parameter in model.parameters():  # nearer to what trained models have
            parameter.div_(3 if parameter.ndim > 1 else 1)
    return wrap(name, model)


def prompts(lengths: list[int] = LENGTHS) -> Prompts:
    queries = query_tokens(query_batch(lengths))
    return Prompts(
        start=(0,),
        answers=((11,), (12,), (200,)),
        demonstrations=tuple(tuple(random_tokens(6 + k, seed=k + 70).tolist()) for k in range(4)),
        demonstration_labels=(0,) * 4,
        separator=(5,),
        queries=tuple(tuple(query) for query in queries),
        labels=tuple(index % 3 for index in range(len(queries))),
    )


def check_measures(name: str) -> None:
    model, shown = model_of(name), prompts()
    expected = measures(model.model, shown, RATE, seed=0)
    results = run([Compared("", model, shown)], batch_size=4).results
    assert {key: results[key] for key in expected} == pytest.approx(expected, abs=1e-5)
    layers = {key for key in results if "/layer_" in key}
    assert layers - expected.keys() == {key for key in layers if key.startswith("sim_aou_random")}
    assert all(map(torch.isfinite, map(torch.tensor, (results[key] for key in layers))))


@pytest.mark.parametrize("name", WINDOWED)
def test_measures_are_those_of_an_eager_model_with_whole_prompts(name: str) -> None:
    check_measures(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", MORE)
def test_measures_of_other_windowed_models(name: str) -> None:
    check_measures(name)
