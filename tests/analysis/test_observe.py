"""Answers' scores from whole sequences, one at a time."""

import pytest
import torch
from torch import Tensor

from iclgd.analysis.attention_capture import capture
from iclgd.analysis.finetune import Finetuned, make_loss
from iclgd.analysis.kv_context import run_context
from iclgd.analysis.observe import observe
from iclgd.data.text_datamodule import QueryBatch
from iclgd.models.language import LanguageModel
from tests.language_models import (
    ARCHITECTURES,
    HEAD_SIZE,
    HEADS,
    HIDDEN,
    query_batch,
    query_tokens,
    random_context,
    shown_attention,
    tiny,
    tiny_model,
)

LENGTHS = [9, 5, 7, 1, 18]
SINGLE = ((11,), (12,), (200,))
MIXED = ((11, 12), (13,), (11, 14, 15, 16), (201,))
LATE = ((11,), (12, 13), (201,))  # the first is not the first of several tokens
START = (0,)
CONTEXT = START + random_context(39)


@torch.no_grad()
def score(model: LanguageModel, prompt: list[int], answer: tuple[int, ...]) -> float:
    """Return the mean of the log-probabilities that a plain forward pass of everything gives to the answer's tokens."""
    logits = model.model(input_ids=torch.tensor([[*prompt, *answer]]), use_cache=False).logits[0]
    log_probabilities = logits.float().log_softmax(-1)
    found = [log_probabilities[len(prompt) - 1 + index, token].item() for index, token in enumerate(answer)]
    return sum(found) / len(found)


@pytest.mark.parametrize("answers", [SINGLE, MIXED], ids=["single", "mixed"])
@pytest.mark.parametrize("before", [(), START, CONTEXT], ids=["nothing", "start", "context"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_answer_scores(name: str, before: tuple[int, ...], answers: tuple[tuple[int, ...], ...]) -> None:
    model, batch = tiny(name), query_batch(LENGTHS)
    context = run_context(model, before) if before == CONTEXT else None
    seen = observe(model, batch, answers, () if context else before, context)
    expected = [[score(model, [*before, *query], answer) for answer in answers] for query in query_tokens(batch)]
    assert torch.allclose(seen.answer_scores, torch.tensor(expected), rtol=1e-5, atol=1e-5)
    assert torch.equal(seen.predictions, torch.tensor(expected).argmax(-1))


@torch.no_grad()
def test_single_tokens_are_scored_by_the_logits_at_the_last_position() -> None:
    model, batch = tiny("gpt2"), query_batch(LENGTHS)
    logits = model.model(input_ids=batch.tokens, use_cache=False).logits
    at_last = logits[torch.arange(len(LENGTHS)), batch.lengths - 1].log_softmax(-1)
    seen = observe(model, batch, SINGLE)
    assert torch.allclose(seen.answer_scores, at_last[:, [11, 12, 200]], rtol=1e-6, atol=1e-6)


def test_an_answers_score_does_not_depend_on_the_others() -> None:
    model, batch = tiny("llama"), query_batch(LENGTHS)
    together = observe(model, batch, MIXED, START).answer_scores
    for index, answer in enumerate(MIXED):
        alone = observe(model, batch, (answer,), START).answer_scores
        assert torch.allclose(alone[:, 0], together[:, index], rtol=1e-5)
    assert torch.equal(observe(model, batch, MIXED[::-1], START).answer_scores, together.flip(1))


@pytest.mark.parametrize("answers", [SINGLE, MIXED], ids=["single", "mixed"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_attention_is_that_of_the_prompts_last_token(name: str, answers: tuple[tuple[int, ...], ...]) -> None:
    model, batch = tiny(name), query_batch(LENGTHS)
    seen = observe(model, batch, answers, START)
    size, layers, longest = len(LENGTHS), model.num_layers, max(LENGTHS)
    assert seen.outputs.shape == (size, layers, HIDDEN)
    assert seen.queries.shape == (size, layers, HEADS * HEAD_SIZE)
    assert seen.scores.shape == (size, layers, HEADS, longest)  # of the query alone, without start and answer
    assert seen.context_scores is seen.context_updates is seen.weight_updates is None
    for row, query in enumerate(query_tokens(batch)):
        with torch.no_grad(), capture(model, torch.tensor([len(query)])) as captured:
            model.model(input_ids=torch.tensor([[*START, *query]]), use_cache=False)
        for index in range(layers):
            assert_close(seen.outputs[row, index], captured.outputs[index][0])
            assert_close(seen.queries[row, index], captured.queries[index][0])
            assert_close(seen.scores[row, index, :, : len(query)], captured.scores[index][0, :, 1:])


def assert_close(actual: Tensor, expected: Tensor) -> None:
    assert (actual - expected).abs().max() <= 1e-5 * expected.abs().max()


@pytest.mark.parametrize("answers", [SINGLE, MIXED], ids=["single", "mixed"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_in_context_there_are_scores_and_updates(name: str, answers: tuple[tuple[int, ...], ...]) -> None:
    model, batch = tiny(name), query_batch(LENGTHS)
    finetuned = Finetuned(model)
    finetuned.step(CONTEXT[:9], 0.1, make_loss(model, "gradient_descent"))
    shown = torch.arange(1, 40)
    context = run_context(model, CONTEXT)
    seen = observe(model, batch, answers, (), context, finetuned.parameters, shown)
    size, layers = len(LENGTHS), model.num_layers
    assert seen.scores.shape == (size, layers, HEADS, max(LENGTHS))
    assert seen.context_scores is not None
    assert seen.context_scores.shape == (size, layers, HEADS, len(CONTEXT))
    for updates in (seen.context_updates, seen.weight_updates):
        assert updates is not None
        assert updates.shape == (size, layers, HEADS, HEAD_SIZE)
        assert updates.any()
    others = SINGLE if answers == MIXED else MIXED
    other = observe(model, batch, others, (), context, finetuned.parameters, shown)
    for kind in ("outputs", "queries", "context_scores", "context_updates", "weight_updates"):
        assert_close(getattr(seen, kind), getattr(other, kind))
    of_prompts = batch.mask[:, None, None]  # behind them there may be an answer's tokens
    assert_close(seen.scores * of_prompts, other.scores * of_prompts)


@pytest.mark.parametrize("answers", [MIXED, LATE], ids=["mixed", "late"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_at_the_first_answer_is_seen_what_a_prompt_with_it_shows(
    name: str, answers: tuple[tuple[int, ...], ...]
) -> None:
    model, batch = tiny(name), query_batch(LENGTHS)
    finetuned = Finetuned(model)
    finetuned.step(CONTEXT[:9], 0.1, make_loss(model, "gradient_descent"))
    after = with_answer(batch, answers[0])
    for context in (None, run_context(model, CONTEXT)):
        before = () if context else START
        changed = finetuned.parameters if context else None
        seen = observe(model, after, answers, before, context, changed)
        plain = observe(model, after._replace(answer=batch.answer), ((11,),), before, context, changed)
        assert_close(seen.answer_scores, observe(model, batch, answers, before, context).answer_scores)
        for kind in ("outputs", "queries", "scores", "context_scores", "context_updates", "weight_updates"):
            if (expected := getattr(plain, kind)) is not None:
                assert_close(getattr(seen, kind), expected)
        assert torch.equal(seen.visible, plain.visible)
        assert seen.scores.shape[-1] == max(LENGTHS) + len(answers[0])


def test_attention_at_the_first_answer_is_what_transformers_shows_there() -> None:
    model, batch = tiny("gpt2"), query_batch(LENGTHS)
    seen = observe(model, with_answer(batch, LATE[0]), LATE, (), run_context(model, CONTEXT))
    assert seen.context_scores is not None
    for row, query in enumerate(query_tokens(batch)):
        whole = torch.tensor([[*CONTEXT, *query, *LATE[0]]])
        own = seen.scores[row, ..., : len(query) + len(LATE[0])]
        shares = torch.cat([seen.context_scores[row], own], -1).softmax(-1)  # (L, H, N + T)
        assert_close(shares, torch.stack(shown_attention(tiny_model("gpt2"), whole))[:, 0, :, -1])


def with_answer(batch: QueryBatch, answer: tuple[int, ...]) -> QueryBatch:
    rows = [query + list(answer) for query in query_tokens(batch)]
    padded = [row + row[-1:] * (max(map(len, rows)) - len(row)) for row in rows]
    repeated = torch.tensor([answer] * len(rows))
    return batch._replace(tokens=torch.tensor(padded), lengths=batch.lengths + len(answer), answer=repeated)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
def test_log_probabilities_are_in_single_precision_at_least(dtype: torch.dtype) -> None:
    model, batch = tiny("llama", dtype=dtype), query_batch(LENGTHS)
    seen = observe(model, batch, MIXED, (), run_context(model, CONTEXT))
    assert seen.answer_scores.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    expected = observe(tiny("llama"), batch, MIXED, (), run_context(tiny("llama"), CONTEXT))
    assert torch.allclose(seen.answer_scores.float(), expected.answer_scores, rtol=0.05, atol=0.1)
