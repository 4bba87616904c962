"""Demonstrations to finetune on, one at a time, and queries in batches of like length."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor

from iclgd.data.datamodules import Batches
from iclgd.data.prompt_tokens import PromptError, Tokens
from iclgd.data.prompts import Prompts

# On a processor another batch takes as long as so many multiplications of a token with a parameter, in each setting:
# about a tenth of a second.
BATCH_COST = 1_500_000_000

PLACES = {
    "prompt": "the prompt's last token, which predicts the answer",
    "first_answer": "as published: the last token of the task's first answer, whichever is right, after the prompt",
}


def answer_at(place: str, prompts: Prompts) -> Tokens:
    """Return the tokens of an answer that stand after each query, up to where is looked; none if that is before them.

    Args:
        place: one of ``PLACES``.
        prompts: whose answers they are.

    Raises:
        PromptError: if there is no such place, as each query has its own answers.
    """
    if place != "first_answer":
        return ()
    if not prompts.answers:
        raise PromptError("evaluation.place=first_answer needs answers that all queries share; here each has its own")
    return prompts.answers[0]


class Demonstration(NamedTuple):
    """One training example of one comparison.

    Args:
        comparison: its index.
        tokens: the beginning-of-sequence token included.
    """

    comparison: int
    tokens: tuple[int, ...]


class QueryBatch(NamedTuple):
    """Queries, padded at the end: under a causal mask what follows a token changes nothing about it.

    Args:
        indices: of the queries in the task, shape ``(B,)``.
        tokens: without a beginning-of-sequence token, padded with any token, shape ``(B, T)``.
        lengths: number of tokens of each, at the last of which is looked, shape ``(B,)``.
        labels: index of the right answer, shape ``(B,)``.
        answer: the tokens of an answer with which each of them ends, as is looked there, shape ``(B, A)``. What stands
            before it predicts the answers. Without any rows: A = 0.
        choices: the tokens of each query's own answers, padded with any, shape ``(B, C, M)``; C = 0 if it has none.
        choice_lengths: how many tokens each of these has, 0 where a query has fewer than C, shape ``(B, C)``.
    """

    indices: Tensor
    tokens: Tensor
    lengths: Tensor
    labels: Tensor
    answer: Tensor = torch.zeros(0, 0, dtype=torch.long)
    choices: Tensor = torch.zeros(0, 0, 0, dtype=torch.long)
    choice_lengths: Tensor = torch.zeros(0, 0, dtype=torch.long)

    @property
    def mask(self) -> Tensor:
        """Return which tokens are the queries' own, shape ``(B, T)``."""
        return torch.arange(self.tokens.shape[1], device=self.tokens.device) < self.lengths[:, None]


class TextDataModule(LightningDataModule):
    """All processes get all demonstrations, in order, and each its part of the queries.

    Args:
        prompts: of each comparison; their queries are the same.
        batch_size: queries at once, at the most.
        place: where is looked, one of ``PLACES``.
    """

    def __init__(self, prompts: Sequence[Prompts], batch_size: int, place: str = "prompt") -> None:
        super().__init__()
        self.prompts = list(prompts)
        self.batch_size = batch_size
        self.answer = answer_at(place, self.prompts[0])

    def train_dataloader(self) -> Batches[Demonstration]:
        """Return the demonstrations of one comparison after the other."""
        return Batches(
            [
                Demonstration(index, tokens)
                for index, prompts in enumerate(self.prompts)
                for tokens in prompts.finetuning_examples
            ]
        )

    def test_dataloader(self) -> Batches[QueryBatch]:
        """Return this process's queries, the shortest first: little is padded."""
        rank, num_ranks = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        most_padding = self._most_padding()
        return Batches(query_batches(self.prompts[0], self.batch_size, rank, num_ranks, self.answer, most_padding))

    def _most_padding(self) -> int | None:
        """Return how many tokens take a processor as long as another batch does; a GPU has time for all."""
        if self.trainer is None or self.trainer.strategy.root_device.type != "cpu":
            return None
        num_parameters = sum(parameter.numel() for parameter in self.trainer.lightning_module.parameters())
        return BATCH_COST // max(1, num_parameters)


def batches_of_like_length(lengths: Sequence[int], batch_size: int, most_padding: int | None) -> list[range]:
    """Divide queries into batches: of a full one the next begins, and where more would be padded than allowed.

    Args:
        lengths: in ascending order.
        batch_size: queries of a batch, at the most.
        most_padding: tokens of a batch, at the most; ``None``: any number.

    Returns:
        the places of each batch's queries.

    Example:
        >>> batches_of_like_length([3, 3, 4, 9, 9], batch_size=4, most_padding=2)
        [range(0, 3), range(3, 5)]
    """
    batches, start, padding = [], 0, 0
    for place, length in enumerate(lengths):
        padding += (place - start) * (length - lengths[max(start, place - 1)])
        if place - start == batch_size or (most_padding is not None and padding > most_padding):
            batches.append(range(start, place))
            start, padding = place, 0
    return [*batches, range(start, len(lengths))] if start < len(lengths) else batches


def query_batches(
    prompts: Prompts,
    batch_size: int,
    rank: int = 0,
    num_ranks: int = 1,
    answer: Tokens = (),
    most_padding: int | None = None,
) -> list[QueryBatch]:
    """Return the queries of a process in batches, the shortest first.

    Args:
        prompts: with all queries.
        batch_size: queries at once.
        rank: of the process.
        num_ranks: number of processes.
        answer: what stands after each query, see :func:`answer_at`.
        most_padding: tokens that are padded in a batch, at the most; ``None``: any number.
    """
    queries = prompts.queries
    order = sorted(range(len(queries)), key=lambda index: len(queries[index]))[rank::num_ranks]
    chunks = batches_of_like_length([len(queries[index]) for index in order], batch_size, most_padding)
    return [_batch([order[place] for place in chunk], prompts, answer) for chunk in chunks]


def _batch(indices: list[int], prompts: Prompts, answer: Tokens) -> QueryBatch:
    queries = [prompts.queries[index] + answer for index in indices]
    length = max(len(query) for query in queries)
    # Padding with a query's own last token, as models may treat their padding token in a way of its own.
    padded = [query + query[-1:] * (length - len(query)) for query in queries]
    return QueryBatch(
        torch.tensor(indices),
        torch.tensor(padded),
        torch.tensor([len(query) for query in queries]),
        torch.tensor([prompts.labels[index] for index in indices]),
        torch.tensor(answer, dtype=torch.long).expand(len(indices), -1),
        *_own_choices(indices, prompts),
    )


def _own_choices(indices: list[int], prompts: Prompts) -> tuple[Tensor, Tensor]:
    """Return the tokens and lengths of the queries' own answers: in all batches as many, as scores are put together."""
    if not prompts.choices:
        size = len(indices)
        return torch.zeros(size, 0, 0, dtype=torch.long), torch.zeros(size, 0, dtype=torch.long)
    return padded_answers([prompts.choices[index] for index in indices], max(map(len, prompts.choices)))


def padded_answers(answers: Sequence[Sequence[Tokens]], most: int) -> tuple[Tensor, Tensor]:
    """Return answers to B queries as one tensor ``(B, C, M)``, and their lengths ``(B, C)``.

    Args:
        answers: of each query.
        most: C, no fewer than any of them has.

    Example:
        >>> tokens, lengths = padded_answers([[(5, 6), (7,)], [(8,)]], most=2)
        >>> tokens.tolist(), lengths.tolist()
        ([[[5, 6], [7, 7]], [[8, 8], [8, 8]]], [[2, 1], [1, 0]])
    """
    longest = max(len(answer) for of_query in answers for answer in of_query)
    # An answer that a query does not have is its last one, which no number sees.
    filled = [[*of_query, *[of_query[-1]] * (most - len(of_query))] for of_query in answers]
    padded = [[answer + answer[-1:] * (longest - len(answer)) for answer in of_query] for of_query in filled]
    lengths = [[len(answer) for answer in of_query] + [0] * (most - len(of_query)) for of_query in answers]
    return torch.tensor(padded), torch.tensor(lengths)
