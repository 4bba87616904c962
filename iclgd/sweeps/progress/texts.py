"""Means with their intervals, and settings, as they are written in lines and tables."""

import math

from iclgd.report.settings import Spread
from iclgd.sweeps.progress.reading import SweepResults
from iclgd.sweeps.progress.settings import Setting, difference, overlap

DIGITS = 6  # of numbers without an interval
MOST_DECIMALS = 7  # of numbers that are not written as powers of ten


def mean_text(spread: Spread) -> str:
    """Return a mean, with one digit more than the ends of its interval have.

    Example:
        >>> mean_text(Spread(0.123456, 0.11, 0.137, 0.01, 3)), mean_text(Spread(1234.5, math.nan, math.nan, 0, 1))
        ('0.1235', '1234.5')
        >>> mean_text(Spread(math.nan, math.nan, math.nan, math.nan, 3, 1))
        'not finite'
    """
    if spread.not_finite:
        return "not finite"
    decimals = _decimals(spread)
    return f"{spread.mean:.{DIGITS}g}" if decimals is None else _rounded(spread.mean, decimals + 1)


def interval_text(spread: Spread) -> str:
    """Return the interval, to two digits of its width; nothing if there is none, as of one seed.

    Example:
        >>> interval_text(Spread(0.2668, 0.000217, 0.533, 0.1, 3)), interval_text(Spread(1, math.nan, math.nan, 0, 1))
        ('[0.00, 0.53]', '')
        >>> interval_text(Spread(123456.7, 123456.1, 123457.3, 0.2, 3)), interval_text(Spread(2e-9, 1e-9, 3e-9, 1, 3))
        ('[123456.1, 123457.3]', '[1e-09, 3e-09]')
    """
    if not math.isfinite(spread.high - spread.low):
        return ""
    decimals = _decimals(spread)
    ends = spread.low, spread.high
    return "[" + ", ".join(f"{end:.{DIGITS}g}" if decimals is None else _rounded(end, decimals) for end in ends) + "]"


def found(setting: Setting) -> str:
    """Return what a setting's seeds have found, and how many of them are done."""
    seeds = f"{setting.done} of {setting.planned} seed{'' if setting.planned == 1 else 's'}"
    if setting.spread is None:
        return f"{seeds} done"
    return " ".join(filter(None, [mean_text(setting.spread), interval_text(setting.spread), "over", seeds]))


def against(best: Setting, other: Setting) -> str:
    """Return whether two settings can be told apart, by the paired difference if they share seeds."""
    if best.spread is None or other.spread is None:
        return "one of them has no number"
    overlapping = overlap(best.spread, other.spread)
    parts = [] if overlapping is None else [f"the intervals {'overlap' if overlapping else 'do not overlap'}"]
    paired = difference(best, other)
    if paired is None:
        return "; ".join([*parts, "too few seeds in common for a paired difference"])
    told = "not told apart" if paired.low <= 0 <= paired.high else "told apart"
    return "; ".join(
        [
            *parts,
            f"paired over {paired.number} seeds they differ by {mean_text(paired)} {interval_text(paired)}: {told}",
        ]
    )


def cannot_be_best(results: SweepResults, setting: Setting, most: int) -> str:
    """Return why a setting is not among those that can be the best, with what it has found; nothing if it is."""
    why = setting.why_not_best(most)
    mean = f", mean {mean_text(setting.spread)}" if setting.spread is not None and setting.is_finite else ""
    return f"{results.text(setting)}: {why}{mean}" if why else ""


def _decimals(spread: Spread) -> int | None:
    """Return to how many decimals the ends of an interval are shown; ``None`` if it has no width."""
    width = spread.high - spread.low
    return 1 - math.floor(math.log10(width)) if math.isfinite(width) and width > 0 else None


def _rounded(number: float, decimals: int) -> str:
    return f"{number:z.{decimals}f}" if 0 <= decimals <= MOST_DECIMALS else f"{round(number, decimals):z.12g}"
