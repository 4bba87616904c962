"""What text runs answered, query by query, and the numbers that rest on it: two runs on the queries that both saw."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from iclgd.report.comparisons import SETTINGS
from iclgd.runs.difference_intervals import Array, Interval, all_finite, paired_shares

Query = tuple[str, str, int]  # text, label, and how many of the same came before it in the run
ZERO_SHOT, FINETUNED = "zero_shot", "finetuned"
PUT_RIGHT = "put_right"
TOLERANCE = 1e-9  # between a number of the summary and the same from the predictions


class Answered(NamedTuple):
    """Which queries a run answered rightly.

    Attributes:
        right: by control (empty: the comparison itself) and setting: 1, 0, or NaN where there was no answer.
    """

    right: Mapping[tuple[str, str], Mapping[Query, float]]

    @classmethod
    def read(cls, rows: Iterable[Mapping[str, Any]]) -> "Answered":
        """Read a run's predictions; rows that lack something are left out, and then no number is what it was."""
        right: dict[tuple[str, str], dict[Query, float]] = {}
        seen: Counter[tuple[str, str, str, str]] = Counter()
        for row in rows:
            control, setting = row.get("control") or "", row.get("setting")
            text, label, choice = row.get("text"), row.get("label"), row.get("choice")
            if not all(isinstance(each, str) for each in (control, setting, text, label)):
                continue
            place = (str(control), str(setting))
            before = seen[*place, str(text), str(label)]
            seen[*place, str(text), str(label)] += 1
            value = math.nan if choice is None else float(choice == label)
            right.setdefault(place, {})[str(text), str(label), before] = value
        return cls(right)

    def values(self, name: str, queries: Iterable[Query] | None = None) -> Array | None:
        """Return a number of the summary that is a share of all queries as 1, 0 or NaN of each.

        Args:
            name: of the number, which may be a control's.
            queries: which ones; ``None`` for all.

        Returns:
            ``(N,)``; ``None`` if it is no such number, or a query is not there.
        """
        control, measure = _split(name, {control for control, _ in self.right})
        wanted = {**{name: (name.partition("/")[2],) for name in SETTINGS}, PUT_RIGHT: (ZERO_SHOT, FINETUNED)}
        columns = [self.right.get((control, setting)) for setting in wanted.get(measure, ())]
        if not columns or not all(columns):
            return None
        queries = list(columns[0] or () if queries is None else queries)
        if not queries or not all(column is not None and query in column for column in columns for query in queries):
            return None
        right = [np.array([column[query] for query in queries]) for column in columns if column is not None]
        found: Array = right[0] if measure in SETTINGS else (1 - right[0]) * right[1]
        return found

    def queries(self, name: str) -> list[Query]:
        """Return the queries on which a number rests."""
        control, measure = _split(name, {control for control, _ in self.right})
        setting = measure.partition("/")[2] if measure in SETTINGS else ZERO_SHOT
        return list(self.right.get((control, setting), {}))


class OnQueries(NamedTuple):
    """A number of two runs on the queries that both saw.

    Attributes:
        first: of the first run, on these queries.
        second: of the second.
        interval: of the difference; ``None`` if it has none.
        how: on which queries.
    """

    first: float
    second: float
    interval: Interval | None
    how: str


def on_queries(
    name: str, first: Answered, second: Answered, summaries: tuple[Mapping[str, float], Mapping[str, float]]
) -> OnQueries | str:
    """Compare a number of two runs on the queries that both saw.

    Args:
        name: of the number.
        first: the first run's answers.
        second: the second's.
        summaries: of both; what the answers do not give is not believed.

    Returns:
        The comparison, or why there is none; an empty text for a number that does not rest on answers.
    """
    for answered, summary in zip((first, second), summaries, strict=True):
        if (each := answered.values(name)) is None:
            return ""
        if math.isfinite(summary[name]) and not abs(float(each.mean()) - summary[name]) <= TOLERANCE:
            return "predictions.jsonl does not give the summary's number"
    queries = [answered.queries(name) for answered in (first, second)]
    known = set(queries[1])
    both = [query for query in queries[0] if query in known]
    one, other = first.values(name, both), second.values(name, both)
    if one is None or other is None:
        return "no query was seen by both"
    how = f"paired: {len(both):,} queries"
    if not len(both) == len(queries[0]) == len(queries[1]):
        how = f"paired: the {len(both):,} queries that both saw, of {len(queries[0]):,} and {len(queries[1]):,}"
    shares = float(one.mean()), float(other.mean())
    if not all_finite(one, other):
        return OnQueries(*shares, None, "no interval: a query has no answer")
    return OnQueries(*shares, paired_shares(one, other), how)


def _split(name: str, controls: set[str]) -> tuple[str, str]:
    """Return the control and the measure of a name."""
    control, _, measure = name.partition("/")
    return (control, measure) if control in controls else ("", name)
