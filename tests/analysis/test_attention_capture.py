"""The captured numbers are those of a forward pass that nobody watches."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    DiffLlamaConfig,
    DiffLlamaForCausalLM,
    DynamicCache,
    FalconH1Config,
    FalconH1ForCausalLM,
    GptOssConfig,
    GptOssForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    OpenAIGPTConfig,
    OpenAIGPTLMHeadModel,
    PreTrainedModel,
    RwkvConfig,
    RwkvForCausalLM,
)

from iclgd.analysis import attention
from iclgd.analysis.attention_capture import HIDDEN_SCORE, Captured, capture, capture_queries, check_capture
from iclgd.data.text_datamodule import QueryBatch
from iclgd.models.language import LanguageModel, LanguageModelError, wrap
from tests.language_models import (
    ARCHITECTURES,
    HEAD_SIZE,
    HEADS,
    HIDDEN,
    ONE_IMPLEMENTATION,
    SINGLE,
    WINDOW,
    has_window,
    query_batch,
    query_tokens,
    random_model,
    random_tokens,
    shown_attention,
    tiny,
    tiny_double,
    with_caps_and_biases,
)

LENGTHS = [9, 5, 7]
SIZES = {"vocab_size": 50, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}
GPT_OSS = GptOssConfig(
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=8,
    intermediate_size=16,
    num_local_experts=2,
    num_experts_per_tok=1,
    **SIZES,
)
MODERN = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, **SIZES}
FALCON_H1 = FalconH1Config(
    **MODERN, intermediate_size=32, mamba_d_ssm=32, mamba_n_heads=4, mamba_d_head=8, mamba_n_groups=1, mamba_d_state=8
)
ALONE = "a context is handed to queries as keys and values alone"
STATES = {"hidden_size": 32, "num_hidden_layers": 2}
NOT_REGISTERED = "cannot be watched: its attention does not go through transformers' registry of attention functions"
OLD = {"n_embd": 32, "n_layer": 2, "n_head": 4, **SIZES}
REFUSED: list[tuple[type[PreTrainedModel], Any, str]] = [
    (OpenAIGPTLMHeadModel, OpenAIGPTConfig(n_positions=64, **OLD), NOT_REGISTERED),
    (
        DiffLlamaForCausalLM,
        DiffLlamaConfig(**MODERN, intermediate_size=32),
        "DiffLlamaForCausalLM cannot be watched: its 2 attention layers call transformers' attention functions 4 times",
    ),
    (GptOssForCausalLM, GPT_OSS, "attention with s_aux cannot be captured"),
]


@torch.no_grad()
def captured_forward(model: LanguageModel, tokens: Tensor, last: Tensor, **keys: Any) -> tuple[Tensor, Captured]:
    with capture(model, last, **keys) as captured:
        logits = model.model(input_ids=tokens, use_cache=False).logits
    return logits, captured


@torch.no_grad()
def plain_forward(model: LanguageModel, tokens: Tensor, **keys: Any) -> Any:
    return model.model(input_ids=tokens, use_cache=False, **keys)


def fail_within_capture(model: LanguageModel, batch: QueryBatch) -> None:
    with capture(model, batch.lengths - 1):
        plain_forward(model, batch.tokens)
        raise RuntimeError("within the block")


def hooks(model: nn.Module) -> list[Any]:
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return [hook for module in model.modules() for kind in kinds for hook in getattr(module, kind).values()]


def assert_nothing_is_left(model: LanguageModel, implementation: str) -> None:
    assert hooks(model.model) == []
    assert model.model.config._attn_implementation == implementation
    assert attention.OBSERVER.get() is None


def largest_difference(actual: list[Tensor], expected: list[Tensor]) -> float:
    """Relative to the largest of each layer."""
    pairs = list(zip(actual, expected, strict=True))
    assert pairs
    assert all(one.shape == other.shape for one, other in pairs)
    return max(((one - other).abs().max() / other.abs().max()).item() for one, other in pairs)


PRECISIONS = [
    (name, dtype)
    for name in ARCHITECTURES
    for dtype in (torch.float32, torch.float64, torch.bfloat16)
    if (name, dtype) != ("xglm", torch.float64)  # transformers' XGLM has no double precision
]


@pytest.mark.parametrize(("name", "dtype"), PRECISIONS, ids=str)
def test_a_captured_forward_pass_is_the_plain_one_bit_for_bit(name: str, dtype: torch.dtype) -> None:
    model, batch = tiny(name, dtype=dtype), query_batch(LENGTHS)
    before = plain_forward(model, batch.tokens).logits
    logits, captured = captured_forward(model, batch.tokens, batch.lengths - 1)
    assert torch.equal(logits, before)
    assert torch.equal(plain_forward(model, batch.tokens).logits, before)
    for layers in (captured.outputs, captured.queries, captured.scores):
        assert len(layers) == model.num_layers
        assert all(layer.isfinite().all() for layer in layers)
        assert not any(layer.requires_grad for layer in layers)
    assert {layer.dtype for layer in captured.outputs} == {dtype}
    assert {layer.dtype for layer in captured.scores} == {torch.float64 if dtype == torch.float64 else torch.float32}
    assert captured.context_scores == captured.context_updates == captured.weight_updates == []


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_softmax_of_scores_is_the_attention_that_transformers_shows(name: str) -> None:
    model, batch = tiny_double(name), query_batch(LENGTHS)
    _, captured = captured_forward(model, batch.tokens, batch.lengths - 1)
    shown = shown_attention(model.model, batch.tokens)
    distances = []
    for scores, weights in zip(captured.scores, shown, strict=True):
        assert scores.shape == (3, HEADS, 9)
        for row, length in enumerate(LENGTHS):
            expected = weights[row, :, length - 1, :length]
            # transformers' own softmax is in single precision
            assert torch.allclose(scores[row, :, :length].softmax(-1), expected, rtol=0, atol=1e-6)
            distances.append((expected - 1 / length).abs().max())
    assert max(distances) > 0.2  # attention to everything alike would prove nothing


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_scores_are_scaled_queries_times_keys(name: str) -> None:
    model, batch = tiny_double(name), query_batch(LENGTHS)
    _, captured = captured_forward(model, batch.tokens, batch.lengths - 1)
    with capture_queries(model) as everywhere:
        plain_forward(model, batch.tokens)
    cache = DynamicCache()
    with torch.no_grad():
        model.model(input_ids=batch.tokens, past_key_values=cache, use_cache=True)
    for index in range(model.num_layers):
        keys = cache.layers[index].keys
        keys = keys.repeat_interleave(HEADS // keys.shape[1], dim=1)
        queries = captured.queries[index]
        assert queries.shape == (3, HEADS * HEAD_SIZE)
        scores = torch.einsum("bhe,bhte->bht", queries.view(3, HEADS, HEAD_SIZE), keys)
        for row, length in enumerate(LENGTHS):
            own = captured.scores[index][row, :, :length]
            expected = with_caps_and_biases(name, scores[row, None, :, :length])[0]
            assert largest_difference([own], [expected]) < (1e-6 if name in SINGLE else 1e-12)
        assert everywhere[index].shape == (3, 9, HEADS * HEAD_SIZE)
        assert torch.equal(everywhere[index][torch.arange(3), batch.lengths - 1], queries)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_outputs_are_those_of_the_attention_modules(name: str) -> None:
    model, batch = tiny(name), query_batch(LENGTHS)
    seen: list[Tensor] = []
    handles = [
        (layer.module.dense if name == "bloom" else layer.module).register_forward_hook(  # before the residual
            lambda _module, _inputs, output: seen.append(output if isinstance(output, Tensor) else output[0])
        )
        for layer in model.layers
    ]
    plain_forward(model, batch.tokens)
    for handle in handles:
        handle.remove()
    _, captured = captured_forward(model, batch.tokens, batch.lengths - 1)
    for outputs, hidden in zip(captured.outputs, seen, strict=True):
        assert outputs.shape == (3, HIDDEN)
        assert torch.equal(outputs, hidden[torch.arange(3), batch.lengths - 1])


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_padding_changes_nothing(name: str) -> None:
    model, batch = tiny(name), query_batch(LENGTHS)
    logits, together = captured_forward(model, batch.tokens, batch.lengths - 1)
    for row, query in enumerate(query_tokens(batch)):
        size = len(query)
        alone_logits, alone = captured_forward(model, torch.tensor([query]), torch.tensor([size - 1]))
        assert largest_difference([logits[row, size - 1]], [alone_logits[0, -1]]) < 1e-6
        assert largest_difference([layer[row] for layer in together.outputs], [x[0] for x in alone.outputs]) < 2e-6
        assert largest_difference([layer[row] for layer in together.queries], [x[0] for x in alone.queries]) < 2e-6
        scores = [layer[row, :, :size] for layer in together.scores]
        assert largest_difference(scores, [layer[0] for layer in alone.scores]) < 2e-6


@pytest.mark.parametrize("name", ["mistral", "gpt_neo", "gemma2", "gemma3", "gemma3_images"])
def test_scores_outside_a_sliding_window_are_no_scores(name: str) -> None:
    model, tokens = tiny_double(name), random_tokens(2, 2 * WINDOW)
    last = torch.tensor([2 * WINDOW - 1, WINDOW + 3])
    logits, captured = captured_forward(model, tokens, last)
    assert torch.equal(logits, plain_forward(model, tokens).logits)
    shown = shown_attention(model.model, tokens)
    for index, weights in enumerate(shown):
        is_local = has_window(name, index)
        for row, end in enumerate((last + 1).tolist()):
            start = end - WINDOW if is_local else 0
            scores = captured.scores[index][row, :, :end]
            assert (scores[:, :start] == HIDDEN_SCORE).all()
            assert captured.visible[index][row].tolist() == [start <= place < end for place in range(2 * WINDOW)]
            expected = weights[row, :, end - 1]
            assert torch.allclose(scores.softmax(-1), expected[:, :end], rtol=0, atol=1e-6)
            assert not expected[:, :start].any()


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_half_precision_shows_nearly_the_same(name: str) -> None:
    batch = query_batch(LENGTHS)
    _, single = captured_forward(tiny(name), batch.tokens, batch.lengths - 1)
    _, half = captured_forward(tiny(name, dtype=torch.bfloat16), batch.tokens, batch.lengths - 1)
    for kind in ("outputs", "queries", "scores"):
        for one, other in zip(getattr(half, kind), getattr(single, kind), strict=True):
            assert torch.cosine_similarity(one.float().flatten(), other.flatten(), dim=0) > 0.99


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_nothing_is_left_after_the_block(name: str, implementation: str) -> None:
    model, batch = tiny(name), query_batch(LENGTHS)
    if name not in ONE_IMPLEMENTATION:
        model.model.set_attn_implementation(implementation)
    implementation = model.model.config._attn_implementation
    captured_forward(model, batch.tokens, batch.lengths - 1)
    assert_nothing_is_left(model, implementation)
    with pytest.raises(RuntimeError, match="within"):
        fail_within_capture(model, batch)
    assert_nothing_is_left(model, implementation)
    with pytest.raises(IndexError):  # within the forward pass
        captured_forward(model, batch.tokens, torch.tensor([100, 0, 0]))
    assert_nothing_is_left(model, implementation)


@pytest.mark.parametrize("name", ["gpt2", "llama", "xglm"])
def test_captures_within_captures_see_each_its_own_model(name: str) -> None:
    model, other, batch = tiny(name), tiny(name, seed=1), query_batch(LENGTHS)
    last = batch.lengths - 1
    implementation = model.model.config._attn_implementation
    _, expected = captured_forward(model, batch.tokens, last)
    _, expected_other = captured_forward(other, batch.tokens, last)
    with capture(model, last) as outer:
        _, inner = captured_forward(other, batch.tokens, last)
        assert hooks(other.model) == []
        plain_forward(model, batch.tokens)
    for kind in ("outputs", "queries", "scores"):
        assert largest_difference(getattr(inner, kind), getattr(expected_other, kind)) == 0
        assert largest_difference(getattr(outer, kind), getattr(expected, kind)) == 0
    with capture(model, last):  # of the same model
        with pytest.raises(RuntimeError), capture(model, last):
            raise RuntimeError
        plain_forward(model, batch.tokens)
    assert_nothing_is_left(model, implementation)
    assert_nothing_is_left(other, implementation)


def test_a_block_without_a_forward_pass_is_an_error() -> None:
    model = tiny("gpt2")
    with pytest.raises(LanguageModelError, match="its attention does not go through"), capture(model, torch.ones(1)):
        pass
    assert_nothing_is_left(model, "sdpa")


def test_a_model_without_attention_is_refused() -> None:
    for kind, config, expected in (
        (
            MambaForCausalLM,
            MambaConfig(hidden_size=32, num_hidden_layers=2, **SIZES),
            "no attention heads in its config",
        ),
        (RwkvForCausalLM, RwkvConfig(hidden_size=32, num_hidden_layers=2, **SIZES), "no attention heads in its config"),
        (
            FalconH1ForCausalLM,
            FALCON_H1,
            "layers with a recurrent state; a context is handed to queries as keys and values alone",
        ),
    ):
        with pytest.raises(LanguageModelError) as error:
            wrap("name", random_model(kind, config))
        assert str(error.value) == f"model.name=name: {kind.__name__} has {expected}"


@pytest.mark.parametrize(("kind", "config", "expected"), REFUSED, ids=[kind.__name__ for kind, _, _ in REFUSED])
def test_attention_that_cannot_be_seen_is_refused(kind: type[PreTrainedModel], config: Any, expected: str) -> None:
    model = wrap("some/model", random_model(kind, config))
    implementation = model.model.config._attn_implementation
    with pytest.raises(LanguageModelError) as error:
        check_capture(model)
    message = str(error.value)
    assert message.startswith("model.name=some/model: ")
    assert message.endswith(expected)
    assert "\n" not in message
    assert_nothing_is_left(model, implementation)
    tokens = torch.ones(1, 3, dtype=torch.long)
    plain_forward(model, tokens)  # still works


def test_eager_linear_biases_of_falcon_are_refused() -> None:
    model = tiny("falcon_alibi")
    model.model.config._attn_implementation = "eager"  # as it is chosen when a model is made
    with pytest.raises(LanguageModelError, match="eager attention that adds its linear biases twice cannot be capt"):
        check_capture(model)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_models_that_can_be_seen_pass_the_check(name: str) -> None:
    check_capture(tiny(name))
