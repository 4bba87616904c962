"""One batch of queries in one setting: zero-shot, after the demonstrations, or with finetuned weights."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from iclgd.analysis.attention_capture import Captured, capture
from iclgd.analysis.kv_context import Context
from iclgd.analysis.precision import at_least_single
from iclgd.analysis.readout import logits_at
from iclgd.analysis.watching import is_registered
from iclgd.data.text_datamodule import QueryBatch, padded_answers
from iclgd.models.language import LanguageModel

NO_ANSWER = -1  # the index of an answer that is not there


def best_answers(scores: Tensor, absent: Tensor | None = None) -> Tensor:
    """Return the index of each query's best answer, ``NO_ANSWER`` if a score is not finite, shape ``(...)``.

    Args:
        scores: shape ``(..., number of answers)``.
        absent: which answers a query does not have, whose scores are -infinity; likewise.

    Example:
        >>> best_answers(torch.tensor([[-1.0, -0.5], [-0.5, math.nan]]))
        tensor([ 1, -1])
    """
    is_known = scores.isfinite() if absent is None else scores.isfinite() | absent
    return scores.argmax(-1).masked_fill(~is_known.all(-1), NO_ANSWER)


@dataclass(frozen=True)
class Observation:
    """What one setting showed of a batch of queries, at the last token of each: see ``PLACES`` of the data module.

    B queries of at most T tokens, L layers, hidden size C, H heads of size E, a context of N tokens.

    Args:
        answer_scores: mean log-probability of each answer's tokens, shape ``(B, number of answers)``; -infinity for
            an answer that a query does not have.
        outputs: the attention blocks' outputs, shape ``(B, L, C)``.
        queries: scaled query vectors, heads one after the other, shape ``(B, L, H * E)``.
        scores: with the query's own tokens, before the softmax, shape ``(B, L, H, T)``; where the layer's mask hides a
            token, such as one outside a sliding window, ``HIDDEN_SCORE`` of :mod:`iclgd.analysis.attention_capture`.
        visible: which of the query's own tokens the mask lets the last one see, shape ``(B, L, T)``.
        start_scores: with the S tokens of the start, mostly 0 or 1, shape ``(B, L, H, S)``; they belong to a context.
        context_scores: with the context's tokens, shape ``(B, L, H, N)``; ``None`` without a context.
        context_visible: which of the context's tokens the mask lets the last one see, shape ``(B, L, N)``; likewise.
        context_updates: dW_ICL q of each head, shape ``(B, L, H, E)``; ``None`` unless asked for.
        weight_updates: dW_FT q of each head, likewise.
        next_token: log-probabilities of the whole vocabulary, shape ``(B, V)``; too large to be kept over batches.
        absent: which answers a query does not have, shape ``(B, number of answers)``; ``None``: all have all.
    """

    answer_scores: Tensor
    outputs: Tensor
    queries: Tensor
    scores: Tensor
    visible: Tensor
    start_scores: Tensor
    context_scores: Tensor | None
    context_visible: Tensor | None
    context_updates: Tensor | None
    weight_updates: Tensor | None
    next_token: Tensor
    absent: Tensor | None = None

    @property
    def predictions(self) -> Tensor:
        """Return the index of each query's best answer, shape ``(B,)``; ``NO_ANSWER`` if a score is not finite."""
        return best_answers(self.answer_scores, self.absent)

    def correct(self, labels: Tensor) -> Tensor:
        """Return whether each query's answer is right: 1, 0, or NaN if there is none; shape ``(B,)``, float64.

        Args:
            labels: the right answers, shape ``(B,)``.
        """
        predictions = self.predictions
        return (predictions == labels).double().masked_fill(predictions == NO_ANSWER, math.nan)

    @property
    def is_finite(self) -> Tensor:
        """Return whether all numbers of each layer, and last the scores, are finite, shape ``(L + 1,)``."""
        layers = self.outputs.isfinite().all(-1).all(0) & self.queries.isfinite().all(-1).all(0)
        return torch.cat([layers, (self.predictions != NO_ANSWER).all().view(1)])


@torch.no_grad()
def observe(
    model: LanguageModel,
    batch: QueryBatch,
    answers: tuple[tuple[int, ...], ...],
    start: tuple[int, ...] = (),
    context: Context | None = None,
    finetuned: list[dict[str, Tensor]] | None = None,
    demonstration_tokens: Tensor | None = None,
) -> Observation:
    """Run a batch of queries in one setting; what it shows is where the batch is, wherever the model's parts are.

    Args:
        model: with the weights of the setting.
        batch: the queries.
        answers: the tokens of each possible answer, if the queries have none of their own.
        start: the beginning-of-sequence token, where there is no context (which has it).
        context: the demonstrations, already run.
        finetuned: for the two updates of the dual form, see :func:`iclgd.analysis.attention_capture.capture`.
        demonstration_tokens: likewise.
    """
    prefix = torch.tensor(start, dtype=torch.long, device=batch.tokens.device).expand(len(batch.tokens), -1)
    home = batch.tokens.device
    choices, lengths, sizes = _choices(answers, batch)
    tokens = torch.cat([prefix, batch.tokens], dim=1).to(model.device)
    last = (len(start) + batch.lengths - 1).to(model.device)  # where is looked
    asked = last - batch.answer.shape[1]  # what predicts the answer
    # One token of an answer needs no more than the prompt; longer answers are appended, one after the other.
    longer = [index for index, size in enumerate(sizes) if size > 1]
    scores: list[Tensor] = []
    captured = None
    if batch.answer.shape[1]:  # the first answer stands there already
        longer = [0, *(index for index in longer if index)]
    for index in longer or [0]:
        answer = choices[:, index, : sizes[index]]
        extended, positions = _append(tokens, asked, answer[:, :-1].to(model.device))
        updated = finetuned if captured is None else None  # one look is enough
        with capture(model, last, context, updated, demonstration_tokens) as seen:
            log_probabilities = _log_probabilities(model, extended, positions, context).to(home)
        if captured is None:
            captured, next_token = seen, log_probabilities[:, 0].contiguous()
            scores = list(next_token.gather(-1, choices[..., 0]).unbind(1))
        if sizes[index] > 1:
            of_tokens = log_probabilities.gather(-1, answer[..., None])[..., 0]
            scores[index] = _mean(of_tokens, lengths[:, index])
    assert captured is not None
    absent = lengths == 0
    answer_scores = torch.stack(scores, dim=1).masked_fill(absent, -math.inf)
    return _observation(captured, answer_scores, next_token, absent, len(start), batch.tokens.shape[1])


def _choices(answers: tuple[tuple[int, ...], ...], batch: QueryBatch) -> tuple[Tensor, Tensor, list[int]]:
    """Return each query's answers ``(B, C, M)``, their lengths ``(B, C)``, and the largest length of each of the C."""
    if batch.choices.shape[1]:
        _, num_choices, longest = batch.choices.shape
        return batch.choices, batch.choice_lengths, [longest] * num_choices
    tokens, lengths = (part.to(batch.tokens.device) for part in padded_answers([answers], len(answers)))
    size = len(batch.tokens)
    return tokens.expand(size, -1, -1), lengths.expand(size, -1), list(map(len, answers))


def _mean(values: Tensor, lengths: Tensor) -> Tensor:
    """Return the mean of the first values of each row, ``(B, m)``; of none it is 0."""
    is_in = torch.arange(values.shape[1], device=values.device) < lengths[:, None]
    return values.masked_fill(~is_in, 0.0).sum(-1) / lengths.clamp(min=1)


def _append(tokens: Tensor, last: Tensor, answer: Tensor) -> tuple[Tensor, Tensor]:
    """Put an answer's tokens ``(B, m)`` after each prompt; return tokens and the positions ``(B, m + 1)`` before them.

    The last of these positions is the last answer token's.
    """
    size = answer.shape[1]
    positions = last[:, None] + torch.arange(size + 1, device=tokens.device)
    return (F.pad(tokens, (0, size)).scatter(1, positions[:, 1:], answer) if size else tokens), positions


def _log_probabilities(model: LanguageModel, tokens: Tensor, positions: Tensor, context: Context | None) -> Tensor:
    """Return log-probabilities at some positions of each prompt, shape ``(B, m, V)``; no logits are made elsewhere."""
    rows = torch.arange(len(tokens), device=tokens.device)[:, None]
    past = None if context is None else context.cache(is_joined=not is_registered(model))

    def keep_positions(hidden: Tensor) -> Tensor:
        return hidden[rows.to(hidden.device), positions.to(hidden.device)]

    with logits_at(model, keep_positions):  # most models do not use a past without use_cache
        logits: Tensor = model.model(input_ids=tokens, past_key_values=past, use_cache=past is not None).logits
    return at_least_single(logits).log_softmax(-1)


def _observation(
    captured: Captured,
    answer_scores: Tensor,
    next_token: Tensor,
    absent: Tensor,
    num_start: int,
    num_tokens: int,
) -> Observation:
    def stacked(layers: list[Tensor]) -> Tensor:
        return torch.stack([each.to(answer_scores.device) for each in layers], dim=1)

    def if_any(layers: list[Tensor]) -> Tensor | None:
        return stacked(layers) if layers else None

    scores, own = stacked(captured.scores), slice(num_start, num_start + num_tokens)
    return Observation(
        answer_scores,
        stacked(captured.outputs),
        stacked(captured.queries),
        scores[..., own],
        stacked(captured.visible)[..., own],
        scores[..., :num_start],
        if_any(captured.context_scores),
        if_any(captured.context_visible),
        if_any(captured.context_updates),
        if_any(captured.weight_updates),
        next_token,
        absent,
    )
