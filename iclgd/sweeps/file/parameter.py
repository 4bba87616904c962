"""A key of the search space: what samplers draw for it, and what a trial gets.

A sampler draws a *raw* value from :attr:`Parameter.distribution`; :meth:`Parameter.value` turns it into what a trial
gets. Choices are drawn as texts, as Optuna takes ``1``, ``1.0`` and ``true`` for one choice and refuses lists.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml

from iclgd.sweeps.file.errors import SweepError

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

IN_GRIDS = ("constant", "categorical", "int_uniform", "q_uniform")  # of W&B's distributions
INSIDE = 0.381966  # between the bounds; not where whole numbers lie
PLAIN = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./")


class Parameter(ABC):
    """One key of the search space."""

    key: str  # of the config, with dots
    kind: str  # W&B's name of the distribution

    @property
    @abstractmethod
    def distribution(self) -> "BaseDistribution":
        """Return what samplers draw raw values from."""

    @abstractmethod
    def value(self, raw: Any) -> Any:
        """Return the value that a trial gets for a raw one."""

    @abstractmethod
    def grid(self) -> Sequence[Any]:
        """Return all raw values, in the file's order.

        Raises:
            SweepError: if they cannot be listed.
        """

    @abstractmethod
    def examples(self) -> list[Any]:
        """Return raw values that show the types of all: every choice; of numbers the bounds and one in between."""

    def override(self, raw: Any) -> str:
        """Return ``key=value`` for the command line."""
        return f"{self.key}={to_text(self.value(raw))}"


@dataclass(frozen=True)
class Choices(Parameter):
    """A constant, or one of several values with equal probabilities; raw values are their texts."""

    key: str
    kind: str
    choices: tuple[Any, ...]
    _by_text: dict[str, Any] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_text", {to_text(choice): choice for choice in self.choices})

    @property
    def distribution(self) -> "BaseDistribution":
        """Return Optuna's categorical distribution of the texts."""
        from optuna.distributions import CategoricalDistribution

        return CategoricalDistribution([to_text(choice) for choice in self.choices])

    def value(self, raw: Any) -> Any:
        """Return the choice with this text."""
        return self._by_text[raw]

    def grid(self) -> Sequence[Any]:
        """Return the texts of all choices."""
        return list(self._by_text)

    def examples(self) -> list[Any]:
        """Return the texts of all choices."""
        return list(self._by_text)


@dataclass(frozen=True)
class Number(Parameter):
    """A number between bounds, and what it is turned into."""

    key: str
    kind: str
    low: float
    high: float
    function: Callable[[Any], Any]
    is_whole: bool = False
    is_log: bool = False
    shown: tuple[float, ...] = ()  # examples, if those of a number are not enough

    @property
    def distribution(self) -> "BaseDistribution":
        """Return Optuna's distribution of whole numbers or of floats between the bounds."""
        from optuna.distributions import FloatDistribution, IntDistribution

        if self.is_whole:
            return IntDistribution(int(self.low), int(self.high))
        return FloatDistribution(self.low, self.high, log=self.is_log)

    def value(self, raw: Any) -> Any:
        """Return what the number is turned into."""
        return self.function(raw)

    def grid(self) -> Sequence[Any]:
        """Return all whole numbers between the bounds.

        Raises:
            SweepError: if the numbers are not whole.
        """
        if not self.is_whole:
            raise SweepError(f"parameters.{self.key}: {self.kind} has no grid; choose one of: {', '.join(IN_GRIDS)}")
        return range(int(self.low), int(self.high) + 1)

    def examples(self) -> list[Any]:
        """Return the bounds and a number in between."""
        if self.shown:
            return list(self.shown)
        inside = self.low + INSIDE * (self.high - self.low)
        return [self.low, int(inside) if self.is_whole else inside, self.high]


def to_text(value: Any) -> str:
    """Return a value as ``key=value`` has it: YAML on one line that gives back exactly this value.

    Example:
        >>> [to_text(value) for value in (1e-05, 1.0, None, True, "sine", "1e5", ["a b", 2])]
        ['1e-05', '1.0', 'null', 'true', 'sine', '"1e5"', '["a b", 2]']
    """
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case float():
            return repr(value) if math.isfinite(value) else yaml.safe_dump(value).split()[0]
        case str():
            is_plain = value[:1].isalpha() and value.isascii() and not set(value) - PLAIN
            if is_plain and yaml.safe_load(value) == value:
                return value
            return str(yaml.safe_dump(value, default_style='"', width=math.inf, allow_unicode=True)).rstrip("\n")
        case Mapping():
            return "{" + ", ".join(f"{to_text(key)}: {to_text(item)}" for key, item in value.items()) + "}"
        case list() | tuple():
            return "[" + ", ".join(map(to_text, value)) + "]"
        case _:
            return str(value)
