"""Trials by their settings: those that differ in seeds alone are repetitions of one, which is judged by its mean.

The best setting is the one with the best mean among those that are **complete**: all their seeds are done, each with a
finite metric, and no setting has more than twice as many. While there is none, it is the best of the settings that have
most seeds, and called provisional. A setting with a value that is not finite has no mean, and is never the best.
"""

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from iclgd.report.settings import SEEDS, Spread, by_setting, spread
from iclgd.sweeps.file.parameter import to_text

State = Literal["done", "ended early", "failed", "running", "interrupted", "waiting"]
MOST_TIMES_THE_SEEDS = 2  # that another setting may have, for two means to be held against each other


@dataclass(frozen=True)
class Row:
    """A trial.

    Args:
        number: of the trial.
        values: of the sweep's keys, seeds too; of a trial that a search has yet to choose, none.
        metric: of a trial that is done: NaN if it is not finite; ``None`` of others, and without a metric.
        state: of the trial.
        run_directory: if it has one.
        failure: why it has no result, of one that failed or was interrupted.
        seconds: that it took, where that is known.
    """

    number: int
    values: Mapping[str, Any]
    metric: float | None
    state: State
    run_directory: Path | None = None
    failure: str | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class Setting:
    """Trials that differ in seeds alone.

    Args:
        values: of the sweep's keys, without seeds.
        rows: the trials.
        by_seed: the metric of each seed that is done; of several trials with one seed the first counts.
        planned: the number of seeds, done or not.
        spread: of the metric over seeds; ``None`` if none is done.
    """

    values: Mapping[str, Any]
    rows: tuple[Row, ...]
    by_seed: Mapping[Hashable, float] = field(repr=False)
    planned: int
    spread: Spread | None

    @property
    def done(self) -> int:
        """Return how many seeds are done."""
        return len(self.by_seed)

    @property
    def is_finite(self) -> bool:
        """Say whether it has a mean."""
        return self.spread is not None and not self.spread.not_finite

    def text(self, keys: Iterable[str]) -> str:
        """Return the values of keys as ``key=value``.

        Example:
            >>> settings_of([Row(0, {"rate": 0.1, "seed": 0}, 1.0, "done")])[0].text(["rate"])
            'rate=0.1'
        """
        return " ".join(f"{key}={to_text(self.values[key])}" for key in keys if key in self.values)

    def why_not_best(self, most: int) -> str:
        """Return why it cannot be the best; nothing if it can.

        Args:
            most: the number of seeds that are done in the setting with most of them.
        """
        if self.spread is None:
            return f"none of {_seeds(self.planned)} done"
        if self.spread.not_finite:
            return f"not finite in {self.spread.not_finite} of {_seeds(self.done)}"
        if self.done < self.planned:
            return f"{self.done} of {_seeds(self.planned)} done"
        return f"{_seeds(self.done)}, others have {most}" if most > MOST_TIMES_THE_SEEDS * self.done else ""


def settings_of(rows: Iterable[Row], over: Sequence[str] = SEEDS) -> list[Setting]:
    """Put trials together that differ in seeds alone; settings keep the order of trials.

    Args:
        rows: trials; those without values are left out.
        over: keys that are seeds.

    Example:
        >>> trials = [Row(i, {"rate": 0.1, "seed": i}, float(i), "done") for i in range(3)]
        >>> (setting,) = settings_of(trials)
        >>> setting.values, setting.spread.mean, setting.done
        ({'rate': 0.1}, 1.0, 3)
    """
    keyed = [({key: hashable(value) for key, value in row.values.items()}, row) for row in rows if row.values]
    return [_setting(repetitions, over) for _, repetitions in by_setting(keyed, over)]


def _setting(rows: Sequence[Row], over: Sequence[str]) -> Setting:
    seeds = [tuple(hashable(row.values[key]) for key in over if key in row.values) for row in rows]
    by_seed: dict[Hashable, float] = {}
    for seed, row in zip(seeds, rows, strict=True):
        if row.state == "done" and row.metric is not None:
            by_seed.setdefault(seed, row.metric)
    values = {key: value for key, value in rows[0].values.items() if key not in over}
    found = spread([*by_seed.values()]) if by_seed else None
    return Setting(values, tuple(rows), by_seed, len(set(seeds)), found)


def ranked(settings: Sequence[Setting], goal: str) -> list[Setting]:
    """Return settings, the best first: complete ones by their means, then by how much of them is done."""
    most = most_seeds(settings)
    return sorted(settings, key=lambda setting: _place(setting, most, goal))


def most_seeds(settings: Iterable[Setting]) -> int:
    """Return the number of seeds that are done in the setting with most of them."""
    return max((setting.done for setting in settings), default=0)


def best_setting(settings: Sequence[Setting], goal: str) -> Setting | None:
    """Return the best setting, complete or provisional; ``None`` if none has a finite mean."""
    first = ranked(settings, goal)[:1]
    return first[0] if first and first[0].is_finite else None


def best_row(rows: Iterable[Row], goal: str) -> Row | None:
    """Return the best single trial, the first of several; ``None`` if the metric is finite in none."""
    sign = -1 if goal == "maximize" else 1
    finite = [(sign * row.metric, row.number, row) for row in rows if is_finite(row)]  # type: ignore[operator]
    return min(finite, default=(0, 0, None))[2]


def is_finite(row: Row) -> bool:
    """Say whether a trial is done with a finite metric."""
    return row.state == "done" and row.metric is not None and math.isfinite(row.metric)


def difference(first: Setting, second: Setting) -> Spread | None:
    """Return the mean difference over the seeds that two settings share; ``None`` if there are less than two.

    Example:
        >>> trials = [Row(i, {"rate": rate, "seed": i}, rate + i, "done") for i in range(3) for rate in (1.0, 3.0)]
        >>> difference(*settings_of(trials))
        Spread(mean=-2.0, low=-2.0, high=-2.0, deviation=0.0, number=3, not_finite=0)
    """
    shared = [seed for seed in first.by_seed if seed in second.by_seed]
    return spread([first.by_seed[seed] - second.by_seed[seed] for seed in shared]) if len(shared) > 1 else None


def overlap(first: Spread, second: Spread) -> bool | None:
    """Say whether two intervals overlap; ``None`` if one of them is not known."""
    ends = (first.low, first.high, second.low, second.high)
    return first.low <= second.high and second.low <= first.high if all(map(math.isfinite, ends)) else None


def _place(setting: Setting, most: int, goal: str) -> tuple[bool, bool, int, float]:
    """Return what settings are sorted by."""
    why = setting.why_not_best(most)
    mean = setting.spread.mean if setting.spread is not None and setting.is_finite else 0.0
    return not setting.is_finite, bool(why), -setting.done if why else 0, -mean if goal == "maximize" else mean


def hashable(value: Any) -> Hashable:
    """Return a value of a config in a form that can be compared and hashed.

    Example:
        >>> hashable([1, 2]) == hashable((1.0, 2)), hashable(True) == hashable(1)
        (True, False)
    """
    match value:
        case bool():
            return ("bool", value)
        case Mapping():
            return ("map", *((key, hashable(item)) for key, item in value.items()))
        case list() | tuple():
            return ("list", *map(hashable, value))
        case _:
            return value  # type: ignore[no-any-return]


def _seeds(number: int) -> str:
    return f"{number} seed{'' if number == 1 else 's'}"
