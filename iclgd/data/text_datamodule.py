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


class QueryBatch(NamedTuple):
    """Queries, padded at the end: under a causal mask what follows a token changes nothing about it.

    Args:
        indices: of the queries in the task, shape ``(B,)``.
        tokens: without a beginning-of-sequence token, padded with any token, shape ``(B, T)``.
        lengths: number of tokens of each, shape ``(B,)``.
        labels: index of the right answer, shape ``(B,)``.
    """

    indices: Tensor
    tokens: Tensor
    lengths: Tensor
    labels: Tensor

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
        rank, num_ranks = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        return Batches(query_batches(self.prompts[0], self.batch_size, rank, num_ranks))


def query_batches(prompts: Prompts, batch_size: int, rank: int = 0, num_ranks: int = 1) -> list[QueryBatch]:
    """Return the queries of a process in batches, the shortest first.

    Args:
        prompts: with all queries.
        batch_size: queries at once.
        rank: of the process.
        num_ranks: number of processes.
    """
    queries, labels = prompts.queries, prompts.labels
    order = sorted(range(len(queries)), key=lambda index: len(queries[index]))[rank::num_ranks]
    chunks = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    return [_batch(chunk, [queries[index] for index in chunk], labels) for chunk in chunks]


def _batch(indices: list[int], queries: list[tuple[int, ...]], labels: Sequence[int]) -> QueryBatch:
    length = max(len(query) for query in queries)
    # Padding with a query's own last token, as models may treat their padding token in a way of its own.
    padded = [query + query[-1:] * (length - len(query)) for query in queries]
    return QueryBatch(
        torch.tensor(indices),
        torch.tensor(padded),
        torch.tensor([len(query) for query in queries]),
        torch.tensor([labels[index] for index in indices]),
    )
