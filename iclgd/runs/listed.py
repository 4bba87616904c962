"""A run in a list: its values by the keys that filters, orders and columns name."""

import math
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from iclgd.checks import InputError, did_you_mean
from iclgd.runs.records import RunRecord, Value

# Keys that every run has, beside its config's and its summary's; ages and times are numbers of seconds.
OWN_KEYS = ("name", "state", "config", "experiment", "age", "version", "commit", "device")
SECONDS = {"s": 1, "min": 60, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
UNITS = (("d", 86_400), ("h", 3600), ("min", 60))
AN_AGE = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]+)")
NO_KEY = object()  # as None is a value


class Listed(NamedTuple):
    """A run in a list.

    Attributes:
        record: what its files say.
        name: its path below the folder that is listed.
        age: seconds since it was begun; ``None`` if nobody knows.
    """

    record: RunRecord
    name: str
    age: float | None

    def value(self, key: str) -> Value | object:
        """Return a value by its key; ``NO_KEY`` if the run has none."""
        record = self.record
        if key in OWN_KEYS:
            match key:
                case "name":
                    return self.name
                case "state":
                    return record.state
                case "config":
                    return record.config_name
                case "experiment":
                    return record.experiment
                case "age":
                    return NO_KEY if self.age is None else self.age
                case "version":
                    return record.version
                case _:
                    value = record.environment.get(key)
                    return value if isinstance(value, str) else NO_KEY
        if key in record.summary:
            return record.summary[key]
        return record.config.get(key, NO_KEY)


def listed(records: Iterable[RunRecord], folders: Sequence[Path]) -> list[Listed]:
    """Return runs with their names: below the folder, or of several folders their paths."""
    now = datetime.now(UTC)
    only = folders[0].absolute() if len(folders) == 1 else None
    return [
        Listed(record, _name(record.path, only), None if record.when is None else (now - record.when).total_seconds())
        for record in records
    ]


def check_keys(keys: Iterable[str], runs: Sequence[Listed], further: Sequence[str] = ()) -> None:
    """Refuse a key that no run has.

    Args:
        keys: to be looked at.
        runs: all of them; of none nothing is known, and nothing is refused.
        further: other keys that are allowed.

    Raises:
        InputError: for the first such key.
    """
    wanted = [key for key in keys if key not in OWN_KEYS and key not in further]
    if not wanted or not runs:
        return
    known = {key: None for run in runs for key in (*run.record.config, *run.record.summary)}
    for key in wanted:
        if key not in known:
            last = [each for each in known if each.rpartition(".")[2] == key]
            hint = f"; did you mean {last[0]}?" if last else did_you_mean(key, [*OWN_KEYS, *further, *known])
            raise InputError(
                f"{key!r}: no run has such a key; a key of the config (seed, task.name), a name of the summary "
                f"(loss/gd), or one of: {', '.join((*OWN_KEYS, *further))}{hint}"
            )


def ordered(runs: Sequence[Listed], key: str, is_reversed: bool = False) -> list[Listed]:
    """Return runs by a key: numbers as numbers, then texts, then those where it is NaN, last those that have none.

    Args:
        runs: in any order, which those that are equal keep.
        key: of :meth:`Listed.value`.
        is_reversed: numbers and texts from the largest to the smallest; the others stay last.
    """
    numbers: list[tuple[float, Listed]] = []
    texts: list[tuple[str, Listed]] = []
    undefined: list[Listed] = []
    missing: list[Listed] = []
    for run in runs:
        value = run.value(key)
        if value is NO_KEY:
            missing.append(run)
        elif isinstance(value, int | float):
            if math.isnan(value):
                undefined.append(run)
            else:
                numbers.append((value, run))
        else:
            texts.append((value_text(value), run))
    numbers.sort(key=lambda each: each[0], reverse=is_reversed)
    texts.sort(key=lambda each: each[0], reverse=is_reversed)
    return [*(run for _, run in numbers), *(run for _, run in texts), *undefined, *missing]


def value_text(value: object) -> str:
    """Write a value as it is typed after ``key=``.

    Example:
        >>> value_text(None), value_text(True), value_text(0.5), value_text((1, "a"))
        ('null', 'true', '0.5', '[1,a]')
    """
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, tuple | list):
        return f"[{','.join(map(value_text, value))}]"
    return str(value)


def age_text(seconds: float | None) -> str:
    """Write an age in the largest unit that it has one of.

    Example:
        >>> age_text(59.0), age_text(3599.0), age_text(90_000.0), age_text(None)
        ('59 s', '59 min', '1 d', '')
    """
    if seconds is None:
        return ""
    for unit, length in UNITS:
        if seconds >= length:
            return f"{seconds // length:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


def age_of(text: str) -> float:
    """Return the seconds of an age such as ``2d``.

    Raises:
        InputError: if it is none.

    Example:
        >>> age_of("1.5h")
        5400.0
    """
    match = AN_AGE.fullmatch(text.strip())
    if match is None or match[2] not in SECONDS:
        raise InputError(f"an age must be a number with one of {', '.join(SECONDS)}, such as 2d; got {text!r}")
    return float(match[1]) * SECONDS[match[2]]


def _name(path: Path, folder: Path | None) -> str:
    if folder is not None and path != folder and path.is_relative_to(folder):
        return str(path.relative_to(folder))
    return str(path.relative_to(here)) if path.is_relative_to(here := Path.cwd()) else str(path)
