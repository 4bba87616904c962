"""Seeds are no settings: what runs that differ in seeds alone have found together, and how sure that is."""

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import NamedTuple, TypeVar

from iclgd.student_t import t_quantile

R = TypeVar("R")
SEEDS = ("seed", "demonstrations.seed")  # keys of configs that are drawn, not chosen
ALPHA = 0.05  # of intervals


class Spread(NamedTuple):
    """A number over repetitions.

    Attributes:
        mean: of all; NaN if one is not finite.
        low: of the mean's 95 % interval, by Student's t; NaN for one repetition.
        high: of the same.
        deviation: the standard deviation, with N - 1; NaN for one repetition.
        number: of repetitions.
        not_finite: how many of them are NaN or infinite.
    """

    mean: float
    low: float
    high: float
    deviation: float
    number: int
    not_finite: int = 0


def spread(values: Sequence[float], within: tuple[float, float] = (-math.inf, math.inf)) -> Spread:
    """Return mean, interval and standard deviation of independent repetitions.

    Args:
        values: one for each repetition, at least one.
        within: where the mean can lie; the interval is cut there, which costs it no coverage.

    Example:
        >>> "{:.3f} [{:.3f}, {:.3f}], {:.3f}, {}".format(*spread([1.0, 2.0, 3.0]))
        '2.000 [-0.484, 4.484], 1.000, 3'
        >>> spread([0.8, 1.0], within=(0.0, 1.0)).high
        1.0
        >>> spread([1.0])
        Spread(mean=1.0, low=nan, high=nan, deviation=nan, number=1, not_finite=0)
        >>> spread([1.0, math.inf])
        Spread(mean=nan, low=nan, high=nan, deviation=nan, number=2, not_finite=1)
    """
    number, not_finite = len(values), sum(not math.isfinite(value) for value in values)
    if not_finite:
        return Spread(math.nan, math.nan, math.nan, math.nan, number, not_finite)
    mean = math.fsum(values) / number
    if number == 1:
        return Spread(mean, math.nan, math.nan, math.nan, number)
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (number - 1))
    half = t_quantile(number - 1, 1 - ALPHA / 2) * deviation / math.sqrt(number)
    return Spread(mean, max(mean - half, within[0]), min(mean + half, within[1]), deviation, number)


def by_setting(
    runs: Iterable[tuple[Mapping[str, Hashable], R]], over: Sequence[str] = SEEDS
) -> list[tuple[dict[str, Hashable], list[R]]]:
    """Put runs together that differ in nothing but the keys of ``over``; settings and runs keep their order.

    Args:
        runs: flat configs, dotted keys and values (lists as tuples), each with anything of the run.
        over: keys that are repetitions.

    Example:
        >>> by_setting([({"seed": 0, "rate": 1}, "a"), ({"seed": 0, "rate": 2}, "b"), ({"seed": 1, "rate": 1}, "c")])
        [({'rate': 1}, ['a', 'c']), ({'rate': 2}, ['b'])]
    """
    found: dict[frozenset[tuple[str, Hashable]], tuple[dict[str, Hashable], list[R]]] = {}
    for config, run in runs:
        setting = {key: value for key, value in config.items() if key not in over}
        found.setdefault(frozenset(setting.items()), (setting, []))[1].append(run)
    return list(found.values())
