"""Windows and chunks: what a layer's mask hides from the last token is in no measure."""

from typing import Any

import pytest
import torch
from torch import Tensor
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

from iclgd import metrics
from iclgd.analysis.finetune import Finetuned
from iclgd.analysis.kv_context import run_context
from iclgd.analysis.observe import Observation, observe
from iclgd.data.prompts import Prompts
from iclgd.data.text_datamodule import QueryBatch
from iclgd.metrics import Resampling
from iclgd.models.language import LanguageModel, wrap
from iclgd.modules.similarities import FinetuningAttention, Similarities
from tests.language_models import query_batch, query_tokens, random_model, random_tokens
from tests.modules.test_dual_form import RATE, run
from tests.modules.test_dual_form import Comparison as Compared
from tests.momentum import LEARNED, give_momentum
from tests.whole_prompts import look, measures

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
    "mistral_momentum": (MistralForCausalLM, MistralConfig(**GROUPED)),
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


def model_of(name: str, **changes: Any) -> LanguageModel:
    kind, config = (WINDOWED | MORE)[name]
    model: PreTrainedModel = random_model(kind, type(config)(**{**config.to_dict(), **changes})).double()
    with torch.no_grad():
        for parameter in model.parameters():  # nearer to what trained models have
            parameter.div_(3 if parameter.ndim > 1 else 1)
    if name == "mistral_momentum":
        give_momentum(model, LEARNED)
    return wrap(name, model)


def prompts(lengths: list[int] = LENGTHS) -> Prompts:
    queries = query_tokens(query_batch(lengths))
    return Prompts(
        start=(0,),
        answers=((11,), (12,), (200,)),
        demonstrations=tuple(tuple(random_tokens(6 + k, seed=k + 70).tolist()) for k in range(4)),
        demonstration_labels=(0, 1, 2, 1),
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


def case() -> LanguageModel:
    """Return one layer of Mistral, whose last token sees three of 40 context tokens and its query's five."""
    config = MistralConfig(**{**SIZES, "hidden_size": 64, "num_hidden_layers": 1, "sliding_window": WINDOW})
    model = MistralForCausalLM(config).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 4 * 0.02)
    return wrap("case", model)


def changed(finetuned: Finetuned) -> list[dict[str, Tensor]]:
    return [{name: whole * 1.5 for name, whole in of_layer.items()} for of_layer in finetuned.parameters]


def observed(model: LanguageModel, batch: QueryBatch, context: list[int], shown: Tensor) -> Observation:
    finetuned = changed(Finetuned(model))
    return observe(model, batch, ((11,), (12, 13)), (), run_context(model, tuple(context)), finetuned, shown)


def test_hidden_tokens_have_no_share_of_attention() -> None:
    model, batch = case(), query_batch([5])
    context = random_tokens(40).tolist()
    seen = observed(model, batch, context, torch.arange(40))
    assert seen.context_visible is not None
    assert seen.context_scores is not None
    assert seen.context_visible[0, 0].tolist() == [False] * 37 + [True] * 3
    attention = metrics.demonstration_attention(seen.context_scores.double().sum(2), seen.context_visible)
    assert not attention[..., :37].any()
    assert attention[..., 37:].sum() == pytest.approx(1)
    assert torch.equal(attention, metrics.demonstration_attention(seen.context_scores.double().sum(2)))
    model.model.set_attn_implementation("eager")
    _, (expected,) = look(model.model, [*context, *query_tokens(batch)[0]])
    assert torch.equal(expected.visible, torch.tensor([False] * 37 + [True] * 8))
    scores = torch.cat([seen.context_scores, seen.scores], dim=-1)[0, 0]
    assert torch.allclose(scores[:, 37:], expected.scores[:, 37:], rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["case", *WINDOWED])
def test_contexts_that_differ_in_hidden_tokens_give_equal_numbers(name: str) -> None:
    kind = {"layer_types": [CHUNKED[0] if name == "llama4" else MIXED[0]]}
    neo = {"num_layers": 1, "attention_types": [[["local"], 1]], "attention_layers": ["local"]}
    one = {"num_hidden_layers": 1, "no_rope_layers": [1]} | kind if name != "mistral" else {"num_hidden_layers": 1}
    model = case() if name == "case" else model_of(name, **(neo if name == "gpt_neo" else one))
    model.model.config.attn_temperature_tuning = False
    batch = query_batch([5, 1, 3])
    first, second = random_tokens(2, 40).tolist()
    num_same = 8  # more than any of the queries sees: of chunks of eight the last begins with the query
    second[-num_same:] = first[-num_same:]
    shown = torch.tensor([*range(1, 20), *range(21, 40)])
    queries = torch.randn(1, len(shown), seen_size(model), generator=torch.Generator().manual_seed(0))
    attention = FinetuningAttention(queries, shown, [19, 10, 9])
    results = []
    seen = [observed(model, batch, context, shown) for context in (first, second)]
    alone = observe(model, batch, ((11,), (12, 13)), (0,))
    assert all(not each.context_visible[..., :-num_same].any() for each in seen if each.context_visible is not None)
    for each in seen:
        similarities = Similarities(1, Resampling(5, seed=0), "gaussian")
        similarities.update(batch, alone, each, alone, attention, [], {})
        results.append(similarities.results())
    for part, value in vars(seen[0]).items():
        other = getattr(seen[1], part)
        assert (other is None) if value is None else torch.equal(value, other), part
    assert seen[0].context_updates is not None
    assert seen[0].context_updates.any() == (name != "llama4")
    assert results[0] == pytest.approx(results[1], rel=0, abs=0, nan_ok=True)


def seen_size(model: LanguageModel) -> int:
    config = model.model.config
    return int(config.num_attention_heads * (getattr(config, "head_dim", None) or config.hidden_size // 4))


def test_where_no_demonstration_is_seen_the_measures_are_zero() -> None:
    shown = prompts([9, 12, 20])  # longer than the window: they see but themselves
    results = run([Compared("", model_of("mistral", num_hidden_layers=1), shown)]).results
    names = ("kendall", "kendall_examples", "kendall_examples_length", "top_tokens", "top_examples")
    baselines = ("kendall_random", "kendall_examples_random", "top_tokens_random", "top_examples_random")
    attention = [f"attention_{of}{kind}" for of in ("demonstrations", "right_label") for kind in ("", "_even")]
    for name in (*names, *baselines, *attention, "update_similarity", "sim_aou", "sim_aou_random"):
        assert results[name] == 0, name
    assert results["attention_query"] == pytest.approx(1)
    assert results["sim_am"] > 0.1


def test_the_masks_of_the_model_decide_and_not_its_config() -> None:
    model = model_of("gpt_neo")
    model.model.config.window_size = 3  # too late: the layers have made their masks
    expected = measures(model.model, prompts([2, 6]), RATE, seed=0)
    results = run([Compared("", model, prompts([2, 6]))]).results
    assert {key: results[key] for key in expected} == pytest.approx(expected, abs=1e-5)


def test_windows_longer_than_everything_change_nothing() -> None:
    wide = run([Compared("", model_of("mistral", sliding_window=100), prompts())]).results
    none = run([Compared("", model_of("mistral", sliding_window=None), prompts())]).results
    assert wide == pytest.approx(none, abs=1e-9, nan_ok=True)
