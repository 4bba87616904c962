"""How good learning rates of finetuning are, judged on rows that are no demonstrations and no queries."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from iclgd.analysis.finetune import Finetuned
from iclgd.analysis.observe import observe
from iclgd.checks import InputError
from iclgd.data.prompts import Prompts
from iclgd.data.text_datamodule import QueryBatch
from iclgd.models.faster_modules import Faster
from iclgd.models.language import LanguageModel


class LearningRateError(InputError):
    """Learning rates of which none can be used."""


class Judged(NamedTuple):
    """How finetuning with one learning rate does; both are NaN where it or the scores are not finite.

    Args:
        accuracy: share of right answers.
        log_probability: of the right answer, the mean over its tokens, and then over rows.
    """

    accuracy: float
    log_probability: float


DIVERGED = Judged(math.nan, math.nan)


def judge(
    model: LanguageModel,
    examples: Sequence[tuple[int, ...]],
    learning_rate: float,
    loss: Callable[[Tensor], Tensor],
    held_out: Prompts,
    batches: Sequence[QueryBatch],
) -> Judged:
    """Finetune on some examples, one step on each, and ask the rows that are held out.

    Args:
        model: the base model, which stays as it is.
        examples: the tokens of each, the beginning-of-sequence token included.
        learning_rate: of the steps.
        loss: see :func:`iclgd.analysis.finetune.make_loss`.
        held_out: start and answers.
        batches: all of its queries.
    """
    finetuned = Finetuned(model)
    correct, of_right = [], []
    with Faster(model.model).applied():
        for tokens in examples:
            finetuned.step(tokens, learning_rate, loss)
            if not finetuned.losses[-1].isfinite():
                return DIVERGED
        with finetuned.applied():
            for batch in batches:
                moved = QueryBatch(*(column.to(model.device) for column in batch))
                seen = observe(model, moved, held_out.answers, held_out.start)
                correct.append(seen.correct(moved.labels))
                of_right.append(seen.answer_scores.gather(1, moved.labels[:, None])[:, 0].double())
    found = Judged(torch.cat(correct).mean().item(), torch.cat(of_right).mean().item())
    return found if all(map(math.isfinite, found)) else DIVERGED


def best_of(rates: Sequence[float], judged: Sequence[Sequence[Judged]]) -> int:
    """Return the index of the best learning rate: by accuracy, then by log-probability, means over draws.

    One that has diverged in any draw is out. Of equals the first is taken.

    Args:
        rates: R, in any order.
        judged: R, of each rate D draws.

    Raises:
        LearningRateError: if all have diverged.

    Example:
        >>> best_of([0.1, 0.2, 0.3], [[Judged(0.5, -1.0)], [Judged(0.5, -0.9)], [DIVERGED]])
        1
    """
    means = [mean(of_rate) for of_rate in judged]
    finite = [index for index, of_rate in enumerate(means) if math.isfinite(of_rate.accuracy)]
    if not finite:
        tried = ", ".join(f"{rate:g}" for rate in rates)
        raise LearningRateError(
            f"finetune.search.learning_rates: finetuning is not finite with any of them ({tried}); try smaller ones"
        )
    return max(finite, key=lambda index: means[index])


def mean(draws: Sequence[Judged]) -> Judged:
    """Return the means over draws, NaN if one has diverged.

    Example:
        >>> mean([Judged(0.5, -1.0), Judged(1.0, -2.0)])
        Judged(accuracy=0.75, log_probability=-1.5)
    """
    return Judged(*(math.fsum(column) / len(draws) for column in zip(*draws, strict=True)))
