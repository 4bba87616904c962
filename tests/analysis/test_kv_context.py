"""Demonstrations that are run once are as good as a prompt that begins with them."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from iclgd.analysis.attention_capture import Captured, capture
from iclgd.analysis.kv_context import Context, run_context
from iclgd.analysis.watching import is_registered
from iclgd.data.text_datamodule import QueryBatch
from iclgd.models.language import LanguageModel
from tests.language_models import (
    ARCHITECTURES,
    HEADS,
    SINGLE,
    VOCABULARY,
    WINDOW,
    has_window,
    query_batch,
    query_tokens,
    random_context,
    tiny,
    tiny_double,
)

LENGTHS = [9, 5, 7, 1, 20]  # one token alone; and more than a window
CONTEXT = random_context(40)
assert len(CONTEXT) > WINDOW


@torch.no_grad()
def after_context(model: LanguageModel, context: Context, batch: QueryBatch) -> tuple[Tensor, Captured]:
    """Return the logits at the queries' last tokens, and what was captured there."""
    last = batch.lengths - 1
    with capture(model, last, context) as captured:
        cache = context.cache(is_joined=not is_registered(model))
        logits = model.model(input_ids=batch.tokens, past_key_values=cache, use_cache=True).logits
    return logits[torch.arange(len(last)), last], captured


@torch.no_grad()
def in_one_prompt(model: LanguageModel, context: tuple[int, ...], query: list[int]) -> tuple[Tensor, Captured]:
    tokens = torch.tensor([[*context, *query]])
    with capture(model, torch.tensor([tokens.shape[1] - 1])) as captured:
        logits = model.model(input_ids=tokens, use_cache=False).logits
    return logits[0, -1], captured


def assert_same(actual: Tensor, expected: Tensor, tolerance: float) -> None:
    assert actual.shape == expected.shape
    assert (actual - expected).abs().max() <= tolerance * expected.abs().max()


@pytest.mark.parametrize(("make", "tolerance"), [(tiny, 1e-5), (tiny_double, 1e-12)], ids=["single", "double"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_context_is_the_beginning_of_the_prompt(
    name: str, make: Callable[[str], LanguageModel], tolerance: float
) -> None:
    model, batch = make(name), query_batch(LENGTHS)
    tolerance = max(tolerance, 1e-5) if name in SINGLE else tolerance  # which use single precision
    context = run_context(model, CONTEXT)
    assert context.length == len(CONTEXT)
    logits, captured = after_context(model, context, batch)
    for row, query in enumerate(query_tokens(batch)):
        expected_logits, expected = in_one_prompt(model, CONTEXT, query)
        assert_same(logits[row], expected_logits, tolerance)
        for index in range(model.num_layers):
            assert captured.context_scores[index].shape == (len(LENGTHS), HEADS, len(CONTEXT))
            own = captured.scores[index][row, :, : len(query)]
            scores = torch.cat([captured.context_scores[index][row], own], dim=-1)
            assert_same(scores, expected.scores[index][0], tolerance)
            assert_same(captured.outputs[index][row], expected.outputs[index][0], tolerance)
            assert_same(captured.queries[index][row], expected.queries[index][0], tolerance)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_demonstration_matters(name: str) -> None:
    model, batch = tiny(name), query_batch(LENGTHS)
    logits, captured = after_context(model, run_context(model, CONTEXT), batch)
    first = 25 if name == "mistral" else 0  # through the windows of three layers the longest query sees this much
    for position in (first, 30, 39):
        other = list(CONTEXT)
        other[position] = (other[position] + 1) % VOCABULARY
        changed, changed_captured = after_context(model, run_context(model, tuple(other)), batch)
        assert ((changed - logits).abs().amax(-1) > 1e-3).all()
        changes = changed_captured.context_scores[0] != captured.context_scores[0]
        is_visible = captured.context_visible[0][:, position, None]
        assert (changes[..., position] == is_visible).all()
        assert is_visible.all() or has_window(name, 0)
        assert not changes[..., :position].any()
        assert not changes[..., position + 1 :].any()


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_context_is_not_changed_by_use(name: str) -> None:
    model = tiny(name)
    context = run_context(model, CONTEXT)
    keys, values = ([part.clone() for part in parts] for parts in (context.keys, context.values))
    first = after_context(model, context, query_batch(LENGTHS))
    after_context(model, context, query_batch([3, 11, 8], seed=50))
    again = after_context(model, context, query_batch(LENGTHS))
    assert torch.equal(first[0], again[0])
    for one, other in zip(first[1].outputs, again[1].outputs, strict=True):
        assert torch.equal(one, other)
    for before, after in zip(keys + values, context.keys + context.values, strict=True):
        assert torch.equal(before, after)
    assert context.length == len(CONTEXT)


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("size", [1, 2])
def test_one_context_for_batches_of_any_size(name: str, size: int) -> None:
    model, batch = tiny(name), query_batch(LENGTHS)
    context = run_context(model, CONTEXT)
    logits, captured = after_context(model, context, batch)
    for start in range(0, len(LENGTHS), size):
        rows = slice(start, start + size)
        part = QueryBatch(*(tensor[rows] for tensor in batch[:4]))
        part_logits, part_captured = after_context(model, context, part)
        assert_same(part_logits, logits[rows], 1e-5)
        for index in range(model.num_layers):
            assert_same(part_captured.outputs[index], captured.outputs[index][rows], 1e-5)
            assert_same(part_captured.context_scores[index], captured.context_scores[index][rows], 1e-5)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_half_precision_is_near(name: str) -> None:
    batch = query_batch(LENGTHS)
    single, half = tiny(name), tiny(name, dtype=torch.bfloat16)
    expected, _ = after_context(single, run_context(single, CONTEXT), batch)
    logits, captured = after_context(half, run_context(half, CONTEXT), batch)
    assert logits.dtype == captured.outputs[0].dtype == torch.bfloat16
    in_prompt = torch.stack([in_one_prompt(half, CONTEXT, query)[0] for query in query_tokens(batch)])
    rounding = (in_prompt.float() - expected).norm() / expected.norm()
    assert (logits.float() - expected).norm() / expected.norm() < 1.5 * rounding


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_wide_scores_do_not_overflow(name: str) -> None:
    """The softmax over context and own tokens is one, whatever the scores' size, and wherever the largest is."""
    model, batch = tiny_double(name), query_batch(LENGTHS)
    with torch.no_grad():
        for layer in model.layers:
            for part in layer.projections:
                part.parameter.mul_(1000)
    logits, captured = after_context(model, run_context(model, CONTEXT), batch)
    assert max(scores.abs().max() for scores in captured.context_scores) > 800  # whose exponential is infinite
    for row, query in enumerate(query_tokens(batch)):
        assert_same(logits[row], in_one_prompt(model, CONTEXT, query)[0], 1e-12)
