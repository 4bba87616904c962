"""What text runs answered, query by query, and the numbers that rest on it: two runs on the queries that both saw."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from iclgd.report.by_demonstrations import number_in
from iclgd.report.comparisons import REC2FTP, SETTINGS
from iclgd.runs.difference_intervals import Array, Interval, all_finite, crossed_means, paired_means, paired_shares

Query = tuple[str, str, int]  # text, label, and how many of the same came before it in the run
ZERO_SHOT, IN_CONTEXT, FINETUNED = "zero_shot", "in_context", "finetuned"
PUT_RIGHT = "put_right"
CALIBRATED = "calibrated/"  # begins a setting whose answers are those of calibrated scores
RESTS_ON = {  # the settings of which a number needs to know what is right
    **{name: (name.partition("/")[2],) for name in SETTINGS},
    **{
        f"accuracy_{CALIBRATED}{name.partition('/')[2]}": (f"{CALIBRATED}{name.partition('/')[2]}",)
        for name in SETTINGS
    },
    PUT_RIGHT: (ZERO_SHOT, FINETUNED),
    REC2FTP: (ZERO_SHOT, IN_CONTEXT, FINETUNED),
}
TOLERANCE = 1e-9  # between a number of the summary and the same from the answers
TOLERANCE_OF_LIKENESS = 1e-6  # which are written with 7 digits
Column = Mapping[Query, float]
Place = tuple[str, int, str]  # control (empty: the comparison itself), seed of the draw, setting or measure


def rests_on(measure: str) -> tuple[str, ...]:
    """Return the settings of which a number needs to know what is right; none of a number that rests on no answers.

    Example:
        >>> rests_on("put_right"), rests_on("accuracy/4_demonstrations"), rests_on("accuracy/0_demonstrations")
        (('zero_shot', 'finetuned'), ('4_demonstrations',), ('zero_shot',))
    """
    if (number := number_in(measure)) is not None:
        return (measure.partition("/")[2],) if number else (ZERO_SHOT,)
    return RESTS_ON.get(measure, ())


class Answered(NamedTuple):
    """Which queries a run answered rightly, and how alike the two ways to learn were on each.

    Attributes:
        right: of each setting, and of each with calibrated scores: 1, 0, or NaN where there was no answer.
        alike: of each measure of likeness: its mean over layers, or NaN.
    """

    right: Mapping[Place, Column]
    alike: Mapping[Place, Column]

    @classmethod
    def read(cls, rows: Iterable[Mapping[str, Any]], first_seed: int = 0) -> "Answered":
        """Read a run's predictions; rows that lack something are left out, and then no number is what it was.

        Args:
            rows: of ``predictions.jsonl``; those of older versions are of one draw.
            first_seed: of the first draw.
        """
        right: dict[Place, dict[Query, float]] = {}
        alike: dict[Place, dict[Query, float]] = {}
        seen: Counter[tuple[Place, str, str]] = Counter()
        for row in rows:
            control, draw, setting = row.get("control") or "", row.get("draw") or 0, row.get("setting")
            text, label, choice = row.get("text"), row.get("label"), row.get("choice")
            if not all(isinstance(each, str) for each in (control, setting, text, label)) or type(draw) is not int:
                continue
            place = (str(control), first_seed + draw, str(setting))
            query = str(text), str(label), seen[place, str(text), str(label)]
            seen[place, str(text), str(label)] += 1
            right.setdefault(place, {})[query] = math.nan if choice is None else float(choice == label)
            if "calibrated_choice" in row:
                calibrated = (*place[:2], f"{CALIBRATED}{setting}")
                best = row["calibrated_choice"]
                right.setdefault(calibrated, {})[query] = math.nan if best is None else float(best == label)
            likeness = row.get("likeness")
            for name, value in likeness.items() if isinstance(likeness, Mapping) else ():
                number = float(value) if isinstance(value, int | float) else math.nan
                alike.setdefault((*place[:2], str(name)), {})[query] = number
        return cls(right, alike)

    def columns(self, name: str, seed: int) -> list[Column]:
        """Return what a number of the summary rests on in one draw; nothing for one that rests on no queries.

        Args:
            name: of the number, which may be a control's.
            seed: of the draw.
        """
        control, measure = _split(name, {control for control, _, _ in self.right})
        found = [self.right.get((control, seed, setting)) for setting in rests_on(measure)]
        found = found or [self.alike.get((control, seed, measure))]
        return [column for column in found if column] if all(found) else []

    def measure(self, name: str) -> str:
        """Return what a number is called in the comparison itself."""
        return _split(name, {control for control, _, _ in self.right})[1]

    @property
    def seeds(self) -> list[int]:
        """Return the seeds of the draws, in their order."""
        return list(dict.fromkeys(seed for _, seed, _ in self.right))

    def queries(self, name: str) -> list[Query]:
        """Return the queries on which a number rests."""
        columns = [column for seed in self.seeds[:1] for column in self.columns(name, seed)]
        return list(columns[0]) if columns else []

    def values(
        self, name: str, queries: Sequence[Query] | None = None, seeds: Sequence[int] | None = None
    ) -> Array | None:
        r"""Return what the draws and queries contribute to a number: values whose mean it is.

        Of Rec2FTP, a ratio of sums of a and n, they are :math:`100\,(r + (a - r n) / \bar n)`, which vary as it does.

        Args:
            name: of the number.
            queries: which ones; ``None`` for all.
            seeds: of which draws; ``None`` for all.

        Returns:
            ``(K, Q)``; ``None`` if it is no such number, or a query is not there.
        """
        queries = self.queries(name) if queries is None else queries
        draws = [self.columns(name, seed) for seed in (self.seeds if seeds is None else seeds)]
        if not queries or not draws or not all(draws):
            return None
        if not all(query in column for columns in draws for column in columns for query in queries):
            return None
        # Of each column (K, Q).
        parts = [np.array([[column[query] for query in queries] for column in of]) for of in zip(*draws, strict=True)]
        if len(parts) == 1:
            return parts[0]
        right: Array = (1 - parts[0]) * parts[-1]
        if len(parts) == 2 or not right.mean() > 0:
            return right if len(parts) == 2 else np.full_like(right, math.nan)
        recalled = right * parts[1]
        share = recalled.mean() / right.mean()
        found: Array = 100 * (share + (recalled - share * right) / right.mean())
        return found


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
    """Compare a number of two runs on the queries, and the draws of demonstrations, that both saw.

    Runs of one draw each are compared on their queries, whichever draws these are.

    Args:
        name: of the number.
        first: the first run's answers.
        second: the second's.
        summaries: of both; what the answers do not give is not believed.

    Returns:
        The comparison, or why there is none; an empty text for a number that does not rest on queries.
    """
    measure = first.measure(name)
    is_share = bool(rests_on(measure))
    if measure == REC2FTP and len(first.seeds) == len(second.seeds) == 1:
        return ""  # few queries count: of one draw each run's own interval is the better one
    for answered, summary in zip((first, second), summaries, strict=True):
        if (each := answered.values(name)) is None:
            return ""
        tolerance = TOLERANCE if is_share else TOLERANCE_OF_LIKENESS
        if math.isfinite(summary[name]) and not abs(float(each.mean()) - summary[name]) <= tolerance:
            return "predictions.jsonl does not give the summary's number"
    queries = [answered.queries(name) for answered in (first, second)]
    both = _shared(*queries)
    draws = [first.seeds, second.seeds]
    shared = [_shared(*draws)] * 2 if max(map(len, draws)) > 1 else draws
    if not both or not shared[0]:
        return "no query was seen by both" if not both else "no draw of demonstrations is the same"
    one, other = first.values(name, both, shared[0]), second.values(name, both, shared[1])
    if one is None or other is None:
        return "no query was seen by both"
    how = f"paired: {len(both):,} queries"
    if not len(both) == len(queries[0]) == len(queries[1]):
        how = f"paired: the {len(both):,} queries that both saw, of {len(queries[0]):,} and {len(queries[1]):,}"
    if max(map(len, draws)) > 1:
        how += f", {len(shared[0])} draw{'s' * (len(shared[0]) > 1)} of demonstrations"
    means = float(one.mean()), float(other.mean())
    if not all_finite(one, other):
        return OnQueries(*means, None, "no interval: a query has no answer")
    if len(one) > 1:
        return OnQueries(*means, crossed_means(one, other), how)
    if is_share and measure != REC2FTP:
        return OnQueries(*means, paired_shares(one[0], other[0]), how)
    if len(both) < 2:
        return OnQueries(*means, None, "no interval: one query")
    return OnQueries(*means, paired_means(one[0], other[0]), how)


def _shared(first: Sequence[Any], second: Sequence[Any]) -> list[Any]:
    known = set(second)
    return [each for each in first if each in known]


def _split(name: str, controls: set[str]) -> tuple[str, str]:
    """Return the control and the measure of a name."""
    control, _, measure = name.partition("/")
    return (control, measure) if control in controls else ("", name)
