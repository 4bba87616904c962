"""Filters of lists of runs: ``key=value``, ``!=``, ``<``, ``>``, ``<=``, ``>=``, or a text in the name."""

import math
import operator
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from iclgd.checks import InputError
from iclgd.runs.listed import NO_KEY, Listed, age_of, check_keys, value_text
from iclgd.runs.records import STATES

A_FILTER = re.compile(r"(?P<key>[A-Za-z_][^=!<>]*?)(?P<sign>!=|<=|>=|=|<|>)(?P<value>.*)", re.DOTALL)
ORDERS: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
}


class Filter(NamedTuple):
    """One condition.

    Attributes:
        key: of :meth:`iclgd.runs.listed.Listed.value`; ``None`` for a text in the name.
        sign: how values are compared.
        value: as it was typed.
    """

    key: str | None
    sign: str
    value: str

    @classmethod
    def parse(cls, text: str) -> "Filter":
        """Read a filter.

        Raises:
            InputError: if it cannot be one.

        Example:
            >>> Filter.parse("task.name!=linear")
            Filter(key='task.name', sign='!=', value='linear')
            >>> Filter.parse("one_layer")
            Filter(key=None, sign='', value='one_layer')
        """
        match = A_FILTER.fullmatch(text)
        if match is None:
            return cls(None, "", text)
        read = cls(*(part.strip() for part in match.group("key", "sign", "value")))
        key, sign, value = read
        if key == "age":
            age_of(value)
            if sign not in ORDERS:
                raise InputError(f"{text!r}: an age can be compared by {', '.join(ORDERS)} alone, such as 'age<2d'")
        elif key == "state" and value not in STATES:
            raise InputError(f"{text!r}: state must be one of: {', '.join(STATES)}")
        elif sign in ORDERS and (_number(value) is None or math.isnan(float(value))):
            raise InputError(f"{text!r}: {sign} compares numbers, and {value!r} is none")
        return read

    def holds(self, run: Listed) -> bool:
        """Say whether a run is one of those; none is that has no such key."""
        if self.key is None:
            return self.value.lower() in run.name.lower()
        value = run.value(self.key)
        if value is NO_KEY:
            return False
        if self.sign in ORDERS:
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            wanted = age_of(self.value) if self.key == "age" else float(self.value)
            return is_number and ORDERS[self.sign](float(value), wanted)  # type: ignore[arg-type]
        return _is_written(value, self.value) == (self.sign == "=")


def filtered(runs: Sequence[Listed], texts: Sequence[str]) -> list[Listed]:
    """Return the runs for which all filters hold.

    Raises:
        InputError: for a filter that cannot be read, or a key that no run has.
    """
    filters = [Filter.parse(text) for text in texts]
    check_keys([each.key for each in filters if each.key is not None], runs)
    return [run for run in runs if all(each.holds(run) for each in filters)]


def _is_written(value: object, text: str) -> bool:
    """Say whether a text is how a value may be typed: ``1e-3`` is 0.001, and ``[a, b]`` a list."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        number = _number(text)
        return number is not None and (number == value or (math.isnan(number) and math.isnan(value)))
    if isinstance(value, tuple):
        return value_text(value) == re.sub(r"\s*([,\[\]])\s*", r"\1", text)
    return value_text(value) == text


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
