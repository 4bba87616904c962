"""How often a text run's answers are right by chance, as its predictions say."""

from collections import Counter
from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Any, NamedTuple

Rows = Iterable[Mapping[str, Any]]  # of ``predictions.jsonl``; those of another shape are passed over


class AtRandom(NamedTuple):
    """Any answer, one as likely as another.

    Attributes:
        share: of right ones, the mean over queries.
        fewest: answers that a query has to choose from.
        most: likewise.
    """

    share: float
    fewest: int
    most: int


def at_random(rows: Rows) -> AtRandom | None:
    """Return how often an answer at random is right; ``None`` if no row says between how many is chosen.

    Example:
        >>> at_random([{"scores": {"yes": -1.0, "no": -2.0}}, {"scores": {"a": 0.0, "b": 0.0, "c": 0.0, "d": 0.0}}])
        AtRandom(share=0.375, fewest=2, most=4)
    """
    numbers = Counter(len(answers) for answers in map(_answers, rows) if answers)
    if not numbers:
        return None
    share = sum(Fraction(count, number) for number, count in numbers.items()) / numbers.total()
    return AtRandom(float(share), min(numbers), max(numbers))


def most_frequent(rows: Rows) -> float | None:
    """Return the share of the most frequent right answer; ``None`` if none is known, or queries have their own answers.

    Example:
        >>> scores = {"good": -1.0, "bad": -2.0}
        >>> most_frequent({"label": label, "scores": scores} for label in ("good", "bad", "good", "good"))
        0.75
    """
    rows = list(rows)
    if len({answers for row in rows if (answers := _answers(row))}) > 1:
        return None
    labels = Counter(str(row["label"]) for row in rows if "label" in row)
    return labels.most_common(1)[0][1] / labels.total() if labels else None


def _answers(row: Mapping[str, Any]) -> tuple[str, ...]:
    scores = row.get("scores")
    return tuple(scores) if isinstance(scores, Mapping) else ()
