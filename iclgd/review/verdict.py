"""When a number is told from another, and when from a bound: by 95 % intervals, never by means alone."""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

from iclgd.report.comparisons import SMALLEST_WIDTH, Estimate
from iclgd.report.settings import spread
from iclgd.review.settings import Setting
from iclgd.review.texts import counted

Relation = Literal["above", "below", "not told", "not known"]
Place = Literal["within", "beyond", "not told", "not known"]
IN_WORDS: dict[Relation, str] = {
    "above": "it is above that",
    "below": "it is below that",
    "not told": "it is not told from that",
    "not known": "which is not known",
}


class Comparison(NamedTuple):
    """A number beside another one.

    Attributes:
        relation: of the first to the second.
        difference: the first less the second, with its interval where differences are paired.
        number: of pairs.
    """

    relation: Relation
    difference: Estimate
    number: int

    @property
    def is_paired(self) -> bool:
        """Say whether the interval is one of paired differences."""
        return self.number > 1


def compare(setting: Setting, name: str, other: str) -> Comparison | None:
    """Hold a number against another one of the same runs.

    Of several repetitions the differences are paired: told are the two if the 95 % interval of the mean difference
    excludes 0; of draws of demonstrations over draws and queries, where runs have kept these. Of a single one they are
    told if their own intervals do not overlap.

    Args:
        setting: whose.
        name: of the summary.
        other: of the summary.

    Returns:
        ``None`` if no run has both.
    """
    pairs = [
        (each.numbers[name], each.numbers[other])
        for each in setting.repetitions
        if name in each.numbers and other in each.numbers
    ]
    if not pairs:
        return None
    if len(pairs) > 1:
        if (crossed := setting.crossed(name, other)) is not None:
            return told(crossed, len(pairs))
        return paired([first - second for first, second in pairs])
    ours, theirs = setting_estimate(setting, name, other), setting_estimate(setting, other, name)
    difference = Estimate(ours.value - theirs.value)
    return Comparison(of_intervals(ours, theirs), difference, 1)


def setting_estimate(setting: Setting, name: str, other: str) -> Estimate:
    """Return a number with its interval of the only repetition that has another one, too."""
    (numbers,) = (each.numbers for each in setting.repetitions if name in each.numbers and other in each.numbers)
    return Estimate(numbers[name], numbers.get(f"{name}_low", math.nan), numbers.get(f"{name}_high", math.nan))


def paired(differences: Sequence[float]) -> Comparison:
    """Hold two numbers against each other by their differences in several repetitions.

    Example:
        >>> paired([1.0, 2.0, 1.5]).relation, paired([1.0, -2.0]).relation, paired([0.0, 0.0]).relation
        ('above', 'not told', 'not told')
        >>> paired([1.0, float("nan")]).relation
        'not known'
    """
    return told(Estimate(*spread(differences)[:3]), len(differences))


def told(difference: Estimate, number: int) -> Comparison:
    """Say on which side of 0 the interval of a difference lies.

    Args:
        difference: with its interval.
        number: of pairs that it is of.
    """
    relation: Relation = "not told"
    if not all(map(math.isfinite, difference)):
        relation = "not known"
    elif difference.low > 0:
        relation = "above"
    elif difference.high < 0:
        relation = "below"
    return Comparison(relation, difference, number)


def of_intervals(ours: Estimate, theirs: Estimate) -> Relation:
    """Tell two numbers by their own intervals.

    Example:
        >>> of_intervals(Estimate(0.6, 0.5, 0.7), Estimate(0.3, 0.2, 0.4))
        'above'
        >>> of_intervals(Estimate(0.6, 0.5, 0.7), Estimate(0.4, 0.3, 0.5))
        'not told'
        >>> of_intervals(Estimate(0.6), Estimate(0.3, 0.2, 0.4))
        'not known'
    """
    if not all(map(math.isfinite, (*ours, *theirs))):
        return "not known"
    if ours.low > theirs.high:
        return "above"
    return "below" if ours.high < theirs.low else "not told"


def placed(estimate: Estimate, low: float, high: float) -> Place:
    """Say whether an interval lies within bounds, or beyond them.

    Example:
        >>> [placed(Estimate(1.0, *ends), 0.9, 1.1) for ends in [(0.95, 1.1), (0.95, 1.2), (1.2, 1.3)]]
        ['within', 'not told', 'beyond']
        >>> placed(Estimate(1.0), 0.9, 1.1)
        'not known'
    """
    if not all(map(math.isfinite, estimate)):
        return "not known"
    if low <= estimate.low and estimate.high <= high:
        return "within"
    return "beyond" if estimate.high < low or estimate.low > high else "not told"


def over_repetitions(setting: Setting, number: int) -> str:
    """Say over how many repetitions something is.

    Args:
        setting: whose.
        number: of them.
    """
    return f"over {counted(number, setting.what)}" if number > 1 else f"of one {setting.what}"


def not_finite(values: Sequence[float]) -> int:
    """Return how many numbers are NaN or infinite."""
    return sum(not math.isfinite(value) for value in values)


def estimate_text(estimate: Estimate | None) -> str:
    """Write a number with its interval, ``not recorded`` for none.

    Example:
        >>> estimate_text(Estimate(0.1863, 0.1712, 0.2)), estimate_text(Estimate(0.703, 0.703, 0.703))
        ('0.1863 [0.171, 0.200]', '0.703 [0.703, 0.703]')
        >>> estimate_text(Estimate(0.99923)), estimate_text(None)
        ('0.9992', 'not recorded')
    """
    if estimate is None:
        return "not recorded"
    width = estimate.high - estimate.low
    if not math.isfinite(width):
        return f"{estimate.value:.4g}"
    if width < SMALLEST_WIDTH:
        return f"{estimate.value:.4g} [{estimate.low:.4g}, {estimate.high:.4g}]"
    return estimate.text(decimals=max(0, math.ceil(1 - math.log10(width))))  # two digits of the width
