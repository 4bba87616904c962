r"""The two updates of the dual form, dW_ICL q and dW_FT q, restated: whole prompts, sums of outer products."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import Cache, DynamicCache

from iclgd.analysis.attention_capture import Captured, capture
from iclgd.analysis.finetune import Finetuned, make_loss
from iclgd.analysis.kv_context import run_context
from iclgd.analysis.watching import is_registered
from iclgd.data.text_datamodule import QueryBatch
from iclgd.models.language import LanguageModel, wrap
from tests.language_models import (
    ARCHITECTURES,
    HEAD_SIZE,
    HEADS,
    HIDDEN,
    SINGLE,
    WINDOW,
    has_window,
    query_batch,
    query_tokens,
    random_context,
    random_tokens,
    tiny,
    tiny_double,
    tiny_model,
)

LENGTHS = [9, 5, 7]
CONTEXT = random_context(40)
DEMONSTRATION_TOKENS = torch.tensor([*range(1, 12), *range(13, 39)])  # without start and separators


def finetuned_parameters(model: LanguageModel, rate: float = 0.5) -> list[dict[str, Tensor]]:
    finetuned = Finetuned(model)
    loss = make_loss(model, "gradient_descent")
    for index in range(3):
        finetuned.step(tuple(random_tokens(8, seed=80 + index).tolist()), rate, loss)
    return finetuned.parameters


@torch.no_grad()
def captured_updates(
    model: LanguageModel, batch: QueryBatch, finetuned: list[dict[str, Tensor]], demonstration_tokens: Tensor | None
) -> Captured:
    context = run_context(model, CONTEXT)
    last = batch.lengths - 1
    with capture(model, last, context, finetuned=finetuned, demonstration_tokens=demonstration_tokens) as captured:
        cache = context.cache(is_joined=not is_registered(model))
        model.model(input_ids=batch.tokens, past_key_values=cache, use_cache=True)
    return captured


def applied(keys: Tensor, values: Tensor, query: Tensor) -> Tensor:
    """Return the matrix that is the sum of v k^T over tokens, applied to the query; of one head."""
    matrix = torch.zeros(values.shape[-1], keys.shape[-1], dtype=keys.dtype)
    for key, value in zip(keys, values, strict=True):
        matrix += torch.outer(value, key)
    return matrix @ query


def assert_close(actual: Tensor, expected: Tensor, tolerance: float = 1e-10) -> None:
    assert expected.abs().max() > 1e-3
    assert (actual - expected).abs().max() <= tolerance * expected.abs().max()


@pytest.mark.parametrize("demonstration_tokens", [None, DEMONSTRATION_TOKENS], ids=["all", "without_separators"])
def test_gpt2s_updates_from_its_weights(demonstration_tokens: Tensor | None) -> None:
    model, batch = tiny_double("gpt2"), query_batch(LENGTHS)
    finetuned = finetuned_parameters(model)
    captured = captured_updates(model, batch, finetuned, demonstration_tokens)
    shown = range(len(CONTEXT)) if demonstration_tokens is None else demonstration_tokens.tolist()
    for row, query in enumerate(query_tokens(batch)):
        inputs: list[Tensor] = []  # after the layer's first normalisation
        blocks = model.model.transformer.h
        handles = [
            block.ln_1.register_forward_hook(lambda _module, _inputs, output: inputs.append(output[0]))  # noqa: B023
            for block in blocks
        ]
        with torch.no_grad():
            model.model(input_ids=torch.tensor([[*CONTEXT, *query]]), use_cache=False)
        for handle in handles:
            handle.remove()
        for index, block in enumerate(blocks):
            weight, bias = block.attn.c_attn.weight, block.attn.c_attn.bias
            new_weight, new_bias = (finetuned[index][f"c_attn.{kind}"] for kind in ("weight", "bias"))
            query_part, key_part, value_part = (slice(start, start + HIDDEN) for start in (0, HIDDEN, 2 * HIDDEN))
            last = (inputs[index][-1] @ weight[:, query_part] + bias[query_part]) / HEAD_SIZE**0.5
            keys, values = (inputs[index] @ weight[:, part] + bias[part] for part in (key_part, value_part))
            own = inputs[index][len(CONTEXT) :]
            new_keys, new_values = (own @ new_weight[:, part] + new_bias[part] for part in (key_part, value_part))
            for head in range(HEADS):
                part = slice(head * HEAD_SIZE, (head + 1) * HEAD_SIZE)
                by_context = applied(keys[shown][:, part], values[shown][:, part], last[part])
                assert_close(captured.context_updates[index][row, head], by_context)
                by_weights = applied(new_keys[:, part], new_values[:, part], last[part])
                by_weights -= applied(keys[len(CONTEXT) :, part], values[len(CONTEXT) :, part], last[part])
                assert_close(captured.weight_updates[index][row, head], by_weights)


@torch.no_grad()
def keys_and_values(module: nn.Module, index: int, call: tuple[tuple[Any, ...], dict[str, Any]]) -> list[Tensor]:
    """Return what a layer's attention makes of the inputs of a call, for each query head, shape ``(H, T, E)`` each."""
    arguments, keywords = call
    cache = DynamicCache()
    keywords = {name: cache if isinstance(value, Cache) else value for name, value in keywords.items()}
    module(*arguments, **keywords)
    layer = cache.layers[index]
    return [part[0].repeat_interleave(HEADS // part.shape[1], dim=0) for part in (layer.keys, layer.values)]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_updates_from_attention_modules_with_other_weights(name: str) -> None:
    model, batch = tiny_double(name), query_batch(LENGTHS)
    tolerance = 1e-4 if name in SINGLE else 1e-10  # which use single precision
    finetuned = finetuned_parameters(model)
    captured = captured_updates(model, batch, finetuned, DEMONSTRATION_TOKENS)
    changed = [copy.deepcopy(layer.module) for layer in model.layers]
    for module, parameters in zip(changed, finetuned, strict=True):
        module.load_state_dict({**module.state_dict(), **parameters})
    num = len(CONTEXT)
    for row, query in enumerate(query_tokens(batch)):
        tokens, calls = torch.tensor([[*CONTEXT, *query]]), []
        handles = [
            layer.module.register_forward_pre_hook(
                lambda _module, *call: calls.append(call),  # noqa: B023
                with_kwargs=True,
            )
            for layer in model.layers
        ]
        with torch.no_grad():
            model.model(input_ids=tokens, past_key_values=DynamicCache(), use_cache=True)
        for handle in handles:
            handle.remove()
        with torch.no_grad(), capture(model, torch.tensor([tokens.shape[1] - 1])) as plain:
            model.model(input_ids=tokens, use_cache=False)
        for index, layer in enumerate(model.layers):
            queries = plain.queries[index][0].view(HEADS, HEAD_SIZE)
            keys, values = keys_and_values(layer.module, index, calls[index])
            new_keys, new_values = keys_and_values(changed[index], index, calls[index])
            expected_context, expected_weights = (torch.zeros(HEADS, HEAD_SIZE, dtype=keys.dtype) for _ in range(2))
            first = tokens.shape[1] - WINDOW if has_window(name, index) else 0
            places = DEMONSTRATION_TOKENS[first <= DEMONSTRATION_TOKENS]
            for head in range(HEADS):
                shown = keys[head, places], values[head, places]
                expected_context[head] = applied(*shown, queries[head])
                expected_weights[head] = applied(new_keys[head, num:], new_values[head, num:], queries[head])
                expected_weights[head] -= applied(keys[head, num:], values[head, num:], queries[head])
            assert_close(captured.context_updates[index][row], expected_context, tolerance)
            assert_close(captured.weight_updates[index][row], expected_weights, tolerance)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_unchanged_weights_make_no_update(name: str) -> None:
    model = tiny_double(name)
    captured = captured_updates(model, query_batch(LENGTHS), Finetuned(model).parameters, None)
    assert len(captured.weight_updates) == len(captured.context_updates) == model.num_layers
    for update in captured.weight_updates:
        assert update.shape == (len(LENGTHS), HEADS, HEAD_SIZE)
        assert not update.any()


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_asking_for_updates_changes_nothing_else(name: str) -> None:
    model, batch = tiny_double(name), query_batch(LENGTHS)
    context, last = run_context(model, CONTEXT), batch.lengths - 1
    finetuned = finetuned_parameters(model)
    weights = {key: weight.clone() for key, weight in model.model.state_dict().items()}
    seen = []
    for keys in ({}, {"finetuned": finetuned}):
        with torch.no_grad(), capture(model, last, context, **keys) as captured:
            cache = context.cache(is_joined=not is_registered(model))
            logits = model.model(input_ids=batch.tokens, past_key_values=cache, use_cache=True).logits
        seen.append([logits, *captured.outputs, *captured.queries, *captured.scores, *captured.context_scores])
    assert all(torch.equal(one, other) for one, other in zip(*seen, strict=True))
    assert all(torch.equal(weight, weights[key]) for key, weight in model.model.state_dict().items())


@pytest.mark.parametrize("name", ["gpt2", "llama", "xglm", "falcon"])
def test_small_updates_in_half_precision_are_no_rounding(name: str) -> None:
    batch = query_batch(LENGTHS)
    half = tiny(name, dtype=torch.bfloat16)
    single = wrap(name, tiny_model(name).to(torch.bfloat16).float())  # the same rounded weights
    found, expected = (
        torch.stack(captured_updates(model, batch, finetuned_parameters(model, 1e-3), None).weight_updates)
        for model in (half, single)
    )
    assert found.dtype == torch.float32
    assert torch.cosine_similarity(found, expected, dim=-1).mean() > 0.99  # 0.3 to 0.6 of rounded keys and values
