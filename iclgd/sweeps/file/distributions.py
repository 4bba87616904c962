"""W&B's distributions: their settings, and the parameters that they become, which Optuna's samplers can draw.

Distributions that Optuna lacks are drawn as a probability and go through the inverse of their distribution function.
"""

import bisect
import itertools
import json
import math
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from statistics import NormalDist
from typing import Any

from iclgd.checks import did_you_mean
from iclgd.sweeps.file.errors import SweepError
from iclgd.sweeps.file.parameter import IN_GRIDS, Choices, Number, Parameter, to_text

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
SMALLEST_PROBABILITY = 1e-12  # seven standard deviations: no draw is infinite
LARGEST_WHOLE_NUMBER = 2**53  # that samplers, which calculate with floats, tell from its neighbours


def make_parameter(key: str, given: Mapping[str, Any], method: str) -> Parameter:
    """Return what a key becomes with W&B's settings of it.

    Args:
        key: of the config, with dots.
        given: the settings.
        method: of the sweep; a grid needs parameters that can be listed, each value once.

    Raises:
        SweepError: for settings that are not W&B's, or cannot be drawn.
    """
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
