"""The search space of a sweep: W&B's distributions, as Optuna's samplers can draw them.

A sampler draws a *raw* value from :attr:`Parameter.distribution`; :meth:`Parameter.value` turns it into what a trial
gets. Choices are drawn as texts, as Optuna takes ``1``, ``1.0`` and ``true`` for one choice and refuses lists.
Distributions that Optuna lacks are drawn as a probability and go through the inverse of their distribution function.
"""

import bisect
import difflib
import itertools
import json
import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import yaml

from iclgd.checks import InputError

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

REQUIRED = object()
BOUNDS = {"min": REQUIRED, "max": REQUIRED}
NORMAL = {"mu": 0.0, "sigma": 1.0}
DISTRIBUTIONS: dict[str, dict[str, Any]] = {  # W&B's names; what each is given, and W&B's defaults
    "constant": {"value": REQUIRED},
    "categorical": {"values": REQUIRED},
    "categorical_w_probabilities": {"values": REQUIRED, "probabilities": REQUIRED},
    "int_uniform": BOUNDS,
    "uniform": BOUNDS,
    "q_uniform": BOUNDS | {"q": 1.0},
    "log_uniform": BOUNDS,  # bounds of the logarithm
    "log_uniform_values": BOUNDS,
    "inv_log_uniform": BOUNDS,  # bounds of the logarithm of the inverse
    "inv_log_uniform_values": BOUNDS,
    "q_log_uniform": BOUNDS | {"q": 1.0},
    "q_log_uniform_values": BOUNDS | {"q": 1.0},
    "normal": NORMAL,
    "q_normal": NORMAL | {"q": 1.0},
    "log_normal": NORMAL,
    "q_log_normal": NORMAL | {"q": 1.0},
}
IN_GRIDS = ("constant", "categorical", "int_uniform", "q_uniform")
SMALLEST_PROBABILITY = 1e-12  # seven standard deviations: no draw is infinite
LARGEST_WHOLE_NUMBER = 2**53  # that samplers, which calculate with floats, tell from its neighbours
INSIDE = 0.381966  # between the bounds; not where whole numbers lie


class SweepError(InputError):
    """A sweep that cannot be run."""


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


PLAIN = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./")


def did_you_mean(name: Any, known: Sequence[str]) -> str:
    """Return a hint for the end of a message if one of the known names is close, else nothing."""
    close = difflib.get_close_matches(str(name), known, n=1)
    return f"; did you mean {close[0]}?" if close else ""


def overlap(first: str, second: str) -> bool:
    """Say whether two keys are the same, or one is a group that has the other."""
    return f"{first}.".startswith(f"{second}.") or f"{second}.".startswith(f"{first}.")


def parse_parameters(content: Mapping[str, Any], method: str) -> tuple[Parameter, ...]:
    """Read what stands below ``parameters`` in a sweep file; nested ones get keys with dots.

    Args:
        content: keys and W&B's settings of each.
        method: of the sweep; a grid needs parameters that can be listed, each value once.

    Raises:
        SweepError: for anything that is not W&B's schema, or that cannot be drawn; without the file's name.
    """
    found: dict[str, Parameter] = {}
    for key, settings in _flat(content, "", ()):
        if twice := next((other for other in found if overlap(key, other)), None):
            raise SweepError(f"parameters.{key}: given twice, nested or with dots (as parameters.{twice})")
        found[key] = _parameter(key, settings, method)
    if not found:
        raise SweepError("parameters: must have at least one, such as {seed: {values: [0, 1]}}")
    return tuple(found.values())


def for_agents(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return what stands below ``parameters`` so that W&B's agents give trials the values of the file.

    Agents write values by Python's ``str``: null as ``None``, which is a text to the config, and the text "1" as a
    number. Such values become texts that are YAML, with keys with dots, as ``str`` would quote them in nested ones.
    """
    return {
        key: {
            name: _for_agents(value) if name == "value" else [*map(_for_agents, value)] if name == "values" else value
            for name, value in settings.items()
        }
        for key, settings in _flat(content, "", ())
    }


def _for_agents(value: Any) -> Any:
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        read = OmegaConf.to_container(OmegaConf.from_dotlist([f"value={value}"]))
    except (yaml.YAMLError, OmegaConfBaseException):
        read = None
    return value if repr(read) == repr({"value": value}) else to_text(value)


def _flat(content: Any, prefix: str, outer: tuple[int, ...]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    where = f"parameters.{prefix}".rstrip(".")
    if not isinstance(content, Mapping):
        raise SweepError(f"{where}: must be keys and their distributions, such as {{seed: {{values: [0, 1]}}}}")
    if id(content) in outer:  # by an anchor of YAML
        raise SweepError(f"{where}: contains itself")
    for name, settings in content.items():
        key = f"{prefix}{name}"
        if not isinstance(name, str) or not all(part.isidentifier() for part in name.split(".")):
            raise SweepError(f"{where}: {name!r} is not a key of the config, such as model.num_layers")
        if not isinstance(settings, Mapping) or not settings:
            raise SweepError(f"parameters.{key}: must be settings such as {{values: [1, 2]}}, got {settings!r:.80}")
        if "parameters" not in settings:
            yield key, settings
        elif len(settings) > 1:
            others = ", ".join(str(each) for each in settings if each != "parameters")
            raise SweepError(f"parameters.{key}: nested parameters stand alone, without: {others}")
        else:
            yield from _flat(settings["parameters"], f"{key}.", (*outer, id(content)))


def _parameter(key: str, given: Mapping[str, Any], method: str) -> Parameter:
    where = f"parameters.{key}"
    kind = _kind(where, given)
    known = DISTRIBUTIONS[kind]
    for name in given:
        if name != "distribution" and name not in known:
            hint = did_you_mean(name, list(known))
            raise SweepError(f"{where}.{name}: unknown; {kind} has: {', '.join(known)}{hint}")
    if missing := [name for name, default in known.items() if default is REQUIRED and name not in given]:
        raise SweepError(f"{where}: {kind} needs {' and '.join(missing)}")
    if method == "grid" and kind not in IN_GRIDS:
        raise SweepError(f"{where}: {kind} has no grid; with method: grid choose one of: {', '.join(IN_GRIDS)}")
    settings = {**known, **given}
    if "values" in known or "value" in known:
        return _choices(key, kind, settings, method)
    numbers = {name: _number(f"{where}.{name}", settings[name]) for name in known}
    if "min" in numbers and not numbers["min"] < numbers["max"]:
        raise SweepError(f"{where}: min must be below max, got {numbers['min']} and {numbers['max']}")
    for name in ("q", "sigma"):
        if name in numbers and not numbers[name] > 0:
            raise SweepError(f"{where}.{name}: must be above 0, got {numbers[name]}")
    if kind.endswith("_values") and not numbers["min"] > 0:
        raise SweepError(f"{where}.min: must be above 0 with {kind}, got {numbers['min']}")
    return _make_number(key, kind, numbers, method)


def _kind(where: str, settings: Mapping[str, Any]) -> str:
    """Return the distribution that is named, or the one that W&B takes when none is."""
    if "distribution" in settings:
        kind = settings["distribution"]
        if kind in ("beta", "q_beta"):
            raise SweepError(f"{where}.distribution: {kind} is W&B's, but not supported here; {_one_of(DISTRIBUTIONS)}")
        if not isinstance(kind, str) or kind not in DISTRIBUTIONS:
            hint = did_you_mean(kind, list(DISTRIBUTIONS))
            raise SweepError(f"{where}.distribution: {_one_of(DISTRIBUTIONS)}; got {kind!r}{hint}")
        return kind
    if "values" in settings:
        return "categorical_w_probabilities" if "probabilities" in settings else "categorical"
    if "value" in settings:
        return "constant"
    if "q" not in settings and {"min", "max"} & set(settings):
        bounds = [settings.get(name) for name in ("min", "max")]
        return "uniform" if any(isinstance(bound, float) for bound in bounds) else "int_uniform"
    known = sorted({name for each in DISTRIBUTIONS.values() for name in each} | {"distribution", "parameters"})
    hints = [did_you_mean(name, known) for name in settings if name not in known]
    raise SweepError(f"{where}: needs values, value, min and max, or a distribution{''.join(hints)}")


def _one_of(names: Mapping[str, Any]) -> str:
    return f"must be one of: {', '.join(names)}"


def _choices(key: str, kind: str, settings: Mapping[str, Any], method: str) -> Parameter:
    where = f"parameters.{key}"
    if kind == "constant":
        return Choices(key, kind, (_plain(f"{where}.value", settings["value"]),))
    values = settings["values"]
    if not isinstance(values, list) or not values:
        raise SweepError(f"{where}.values: must be a list with at least one value, got {values!r:.80}")
    choices = tuple(_plain(f"{where}.values", value) for value in values)
    if kind == "categorical":
        counts = Counter(map(to_text, choices))
        if method == "grid" and (twice := next((text for text, count in counts.items() if count > 1), None)):
            raise SweepError(f"{where}.values: {twice} is there twice; a grid runs each value once")
        return Choices(key, kind, choices)
    weights = settings["probabilities"]
    if not isinstance(weights, list) or len(weights) != len(values):
        raise SweepError(f"{where}.probabilities: must be a list of {len(values)} numbers, one for each value")
    weights = [_number(f"{where}.probabilities", weight) for weight in weights]
    if min(weights) < 0 or abs(sum(weights) - 1) > 1e-5:
        raise SweepError(f"{where}.probabilities: must be at least 0 and sum to 1, got {weights}")
    possible = [(choice, weight) for choice, weight in zip(choices, weights, strict=True) if weight > 0]
    ends = list(itertools.accumulate(weight for _, weight in possible))
    function = partial(_pick, tuple(choice for choice, _ in possible), ends)
    middles = [end - weight / 2 for end, (_, weight) in zip(ends, possible, strict=True)]
    return Number(key, kind, 0.0, 1.0, function, shown=tuple(middles))


def _make_number(key: str, kind: str, numbers: Mapping[str, float], method: str) -> Number:
    where = f"parameters.{key}"
    if kind == "int_uniform":
        for name, bound in numbers.items():
            if not isinstance(bound, int):
                raise SweepError(f"{where}.{name}: must be a whole number with int_uniform, got {bound}")
        return Number(key, kind, numbers["min"], numbers["max"], int, is_whole=True)
    quantum = numbers.get("q")
    if kind == "q_uniform" and method == "grid":  # W&B goes from min in steps of q, and stops before max
        assert quantum is not None
        steps = math.ceil(min((numbers["max"] - numbers["min"]) / quantum, LARGEST_WHOLE_NUMBER))
        return Number(key, kind, 0, steps - 1, partial(_step, numbers["min"], quantum), is_whole=True)
    try:
        low, high = _bounds(kind, numbers)
    except OverflowError:
        low, high = 0.0, math.inf
    function: Callable[[float], float] = float
    if "sigma" in numbers:
        function = partial(_normal, NormalDist(numbers["mu"], numbers["sigma"]), "log" in kind)
    is_log = "log_uniform" in kind
    if not high < math.inf or (is_log and not low > 0) or not _is_finite(function, high):
        raise SweepError(f"{where}: {kind} of these bounds is not finite; those of {kind} may be logarithms")
    if quantum is not None:
        function = partial(_quantized, function, quantum)
    return Number(key, kind, low, high, function, is_log=is_log)


def _bounds(kind: str, numbers: Mapping[str, float]) -> tuple[float, float]:
    """Return the bounds of what samplers draw."""
    if "sigma" in numbers:
        return SMALLEST_PROBABILITY, 1 - SMALLEST_PROBABILITY
    low, high = numbers["min"], numbers["max"]
    if kind in ("log_uniform", "q_log_uniform"):
        return math.exp(low), math.exp(high)
    if kind == "inv_log_uniform":
        return math.exp(-high), math.exp(-low)
    return float(low), float(high)


def _is_finite(function: Callable[[float], float], raw: float) -> bool:
    try:
        return math.isfinite(function(raw))
    except OverflowError:
        return False


def _normal(normal: NormalDist, is_log: bool, probability: float) -> float:
    value = normal.inv_cdf(probability)
    return math.exp(value) if is_log else value


def _quantized(function: Callable[[float], float], quantum: float, raw: float) -> float:
    return _times(round(function(raw) / quantum), quantum)


def _step(start: float, quantum: float, number: int) -> float:
    value = start + _times(number, quantum)
    return int(value) if value == int(value) and quantum == int(quantum) else value


def _times(number: int, quantum: float) -> float:
    """Multiply; multiples of a whole number are whole, as the config asks for, and as W&B's server sends them."""
    return number * (int(quantum) if quantum == int(quantum) else quantum)


def _pick(choices: tuple[Any, ...], ends: list[float], probability: float) -> Any:
    return choices[min(bisect.bisect_right(ends, probability), len(choices) - 1)]


def _plain(where: str, value: Any) -> Any:
    """Refuse what a config cannot have, such as dates, and lists that contain themselves."""
    try:
        json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        raise SweepError(
            f"{where}: must be numbers, texts, true, false, null, or lists of these, got {value!r:.80}"
        ) from None
    return value


def _number(where: str, value: Any) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not abs(value) < math.inf:
        hint = ""
        if isinstance(value, str) and value[:1].isdigit() and "e" in value.lower():
            hint = " (YAML takes it for text: write 1.0e-5 for 1e-5)"
        raise SweepError(f"{where}: must be a finite number, got {value!r:.80}{hint}")
    if isinstance(value, int) and abs(value) > LARGEST_WHOLE_NUMBER:
        raise SweepError(f"{where}: must be at most 2**53, got {value}")
    return value  # type: ignore[no-any-return]
