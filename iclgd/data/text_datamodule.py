"""Demonstrations to finetune on, one at a time, and queries in batches of like length."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor

from iclgd.data.datamodules import Batches
from iclgd.data.prompts import Prompts


class Demonstration(NamedTuple):
    """One training example of one comparison.

    Args:
        comparison: its index.
        tokens: the beginning-of-sequence token included.
    """

    comparison: int
    tokens: tuple[int, ...]


class Choices(NamedTuple):
    """The answers that each query of a batch chooses from.

    Args:
        tokens: of at most C answers of at most M tokens, padded with any, shape ``(B, C, M)``.
        lengths: number of tokens of each answer, 0 where a query has fewer than C, shape ``(B, C)``.
        sizes: C, the largest lengths.
    """

    tokens: Tensor
    lengths: Tensor
    sizes: tuple[int, ...]


def padded_choices(answers: Sequence[Sequence[tuple[int, ...]]], most: int = 0) -> Choices:
    """Return the answers to each query as one tensor.

    Args:
        answers: of B queries.
        most: C, if it is more than these have.

    Example:
        >>> padded_choices([[(5, 6), (7,)], [(8,)]])
        Choices(tokens=tensor([[[5, 6],
                 [7, 7]],
        <BLANKLINE>
                [[8, 8],
                 [8, 8]]]), lengths=tensor([[2, 1],
                [1, 0]]), sizes=(2, 1))
    """
    most = max(most, *map(len, answers))
    longest = max(len(answer) for of_query in answers for answer in of_query)
    # A query's answer that it does not have is its last one, which no number sees.
    filled = [[*of_query, *[of_query[-1]] * (most - len(of_query))] for of_query in answers]
    padded = [[answer + answer[-1:] * (longest - len(answer)) for answer in of_query] for of_query in filled]
    lengths = [[len(answer) for answer in of_query] + [0] * (most - len(of_query)) for of_query in answers]
    return Choices(torch.tensor(padded), torch.tensor(lengths), tuple(map(max, zip(*lengths, strict=True))))


class QueryBatch(NamedTuple):
    """Queries, padded at the end: under a causal mask what follows a token changes nothing about it.

    Args:
        indices: of the queries in the task, shape ``(B,)``.
        tokens: without a beginning-of-sequence token, padded with any token, shape ``(B, T)``.
        lengths: number of tokens of each, shape ``(B,)``.
        labels: index of the right answer, shape ``(B,)``.
        choices: each query's own answers; ``None`` if all have the same.
    """

    indices: Tensor
    tokens: Tensor
    lengths: Tensor
    labels: Tensor
    choices: Choices | None = None

    @property
    def mask(self) -> Tensor:
        """Return which tokens are the queries' own, shape ``(B, T)``."""
        return torch.arange(self.tokens.shape[1], device=self.tokens.device) < self.lengths[:, None]


class TextDataModule(LightningDataModule):
    """All processes get all demonstrations, in order, and each its part of the queries.

    Args:
        prompts: of each comparison; their queries are the same.
        batch_size: queries at once.
    """

    def __init__(self, prompts: Sequence[Prompts], batch_size: int) -> None:
        super().__init__()
        self.prompts = list(prompts)
        self.batch_size = batch_size

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
        queries = self.prompts[0].queries
        rank, num_ranks = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        order = sorted(range(len(queries)), key=lambda index: len(queries[index]))[rank::num_ranks]
        chunks = [order[start : start + self.batch_size] for start in range(0, len(order), self.batch_size)]
        return Batches([_batch(chunk, self.prompts[0]) for chunk in chunks])


def _batch(indices: list[int], prompts: Prompts) -> QueryBatch:
    queries = [prompts.queries[index] for index in indices]
    length = max(len(query) for query in queries)
    # Padding with a query's own last token, as models may treat their padding token in a way of its own.
    padded = [query + query[-1:] * (length - len(query)) for query in queries]
    return QueryBatch(
        torch.tensor(indices),
        torch.tensor(padded),
        torch.tensor([len(query) for query in queries]),
        torch.tensor([prompts.labels[index] for index in indices]),
        # As many answers in all batches, whose scores are put together.
        padded_choices([prompts.choices[index] for index in indices], max(map(len, prompts.choices)))
        if prompts.choices
        else None,
    )
