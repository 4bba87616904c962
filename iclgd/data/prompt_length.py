"""What fits into the longest sequence of a model: which demonstrations, and which queries, have to go."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from iclgd.data.prompt_tokens import PromptError
from iclgd.data.text_task import TextExample

Built = TypeVar("Built")


class OverlongQueryError(PromptError):
    """Queries that do not fit.

    Args:
        message: one line.
        indices: of these queries.
    """

    def __init__(self, message: str, indices: Sequence[int]) -> None:
        super().__init__(message)
        self.indices = tuple(indices)


def num_that_fit(
    name: str,
    ends: Sequence[int],
    queries: Sequence[int],
    texts: Sequence[str],
    beside: int,
    max_length: int,
    drop: bool,
) -> tuple[int, str | None]:
    """Return how many demonstrations fit beside every query, the first ones, and a note if these are not all.

    Args:
        name: of the task, for messages.
        ends: how many tokens the first 1, 2, ... demonstrations have with their separators.
        queries: how many tokens each query has.
        texts: of the queries.
        beside: tokens of the start and of the longest answer.
        max_length: of the model.
        drop: whether demonstrations may be left out, all but the first.

    Raises:
        OverlongQueryError: if some queries do not fit.
    """
    longest = max(range(len(queries)), key=queries.__getitem__)
    room = max_length - beside
    limit = f"the longest query has {queries[longest]} tokens, the model's limit is {max_length}"
    num_kept = sum(end + queries[longest] <= room for end in ends)
    lengths = f"{len(ends)} demonstrations have {ends[-1]} tokens, {limit}"
    if queries[longest] > room:
        problem = (
            f"too long even without demonstrations: {limit}, start and answer included; set task.overlong=drop, which "
            f"leaves out the query {texts[longest][:60]!r}, or take a model with a longer context"
        )
    elif num_kept == 0:
        problem = (
            f"too long even with one demonstration: it has {ends[0]} tokens, {limit}; "
            "take another demonstrations.seed, task.overlong=drop or a model with a longer context"
        )
    else:
        problem = (
            f"too long: {lengths}; set demonstrations.num={num_kept} or less, demonstrations.overflow=drop, or "
            "task.overlong=drop"
        )
    if overlong := [index for index, size in enumerate(queries) if size + (ends[0] if drop else ends[-1]) > room]:
        raise OverlongQueryError(f"{name}: {problem}", overlong)
    if num_kept == len(ends):
        return num_kept, None
    return num_kept, f"demonstrations.num={num_kept}, not {len(ends)}: the last ones are dropped: {lengths}"


def fitting_prompts(
    queries: Sequence[TextExample], draws: Sequence[Callable[[Sequence[TextExample]], Built]], drop: bool
) -> tuple[list[TextExample], list[Built]]:
    """Return the queries that fit into the prompts of every draw of demonstrations, and these prompts.

    Args:
        queries: all of them.
        draws: each builds its prompts for some queries.
        drop: whether queries may be left out.

    Raises:
        OverlongQueryError: if one does not fit, and may not be left out; or if none would be left.
        PromptError: if prompts cannot be built.
    """
    kept = list(queries)
    while True:
        found: list[Built] = []
        overlong: set[int] = set()
        for build in draws:
            try:
                found.append(build(kept))
            except OverlongQueryError as error:
                overlong.update(error.indices)
                if not drop or len(overlong) == len(kept):
                    raise
        if not overlong:
            return kept, found
        kept = [query for index, query in enumerate(kept) if index not in overlong]
