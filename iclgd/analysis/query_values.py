"""What single queries contribute to the means of a summary, collected over batches and processes."""

from collections.abc import Hashable, Mapping, Sequence
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

Key = TypeVar("Key", bound=Hashable)
Columns = tuple[Tensor, ...]  # the first: indices of queries


class QueryValues(NamedTuple):
    """The terms of M means over queries.

    Args:
        indices: of the queries, (Q,).
        terms: what each query adds to a sum, in measures by layer the mean of its layers, (Q, M), float64.
        counts: how often it counts, 1 or 0, (Q, M), float64: a mean is the sum of terms over that of counts.
    """

    indices: Tensor
    terms: Tensor
    counts: Tensor


def gather_queries(parts: Mapping[Key, Sequence[Columns]], num_processes: int) -> dict[Key, Columns]:
    """Return the columns of all batches of all processes, which call this together.

    Args:
        parts: of this process, in batches.
        num_processes: that have a part of the queries.

    Returns:
        Each query once, in order, on the CPU.
    """
    mine = {key: _joined(of_key) for key, of_key in parts.items()}
    everyone = [mine] * num_processes
    if num_processes > 1:
        torch.distributed.all_gather_object(everyone, mine)
    return {key: _sorted(_joined([of[key] for of in everyone])) for key in mine}


def _joined(parts: Sequence[Columns]) -> Columns:
    return tuple(torch.cat(column).cpu() for column in zip(*parts, strict=True))


def _sorted(columns: Columns) -> Columns:
    order = columns[0].argsort()
    return tuple(column[order] for column in columns)
