"""Numbers as charts hold them: rounded, with gaps for what is no number, and no more points than an eye tells apart."""

import math
from collections.abc import Iterable, Sequence

import numpy as np

from iclgd.report.results import LARGEST, Array, drawable
from iclgd.report.settings import Spread, spread
from iclgd.review.document import Plot, Role, Series

DIGITS = 6  # significant ones
MOST_POINTS, FEWEST_POINTS = 200, 40  # of a line
MOST_TOLD = 3  # panels, line by line
MOST_IN_A_CHART = 2400  # points, that lines share


def number(value: float) -> float | None:
    """Round to six significant digits; whole numbers stay whole, and what no axis can show is nothing.

    Example:
        >>> number(0.123456789), number(1234567.0), number(float("nan")), number(1e200)
        (0.123457, 1234567, None, None)
    """
    value = float(value)
    if not abs(value) < LARGEST:  # NaN is not, either
        return None
    return int(value) if value.is_integer() and abs(value) < 2**53 else float(f"{value:.{DIGITS}g}")


def numbers(values: Iterable[float]) -> list[float | None]:
    """Return each as a chart holds it."""
    return [number(value) for value in values]


def thinned(values: Sequence[float] | Array, most: int = MOST_POINTS) -> Array:
    """Return the places of at most so many values, in order: both ends, and of equal stretches the extremes and a gap.

    Args:
        values: shape ``(P,)``; NaN is a gap.
        most: at least 5.

    Example:
        >>> thinned([0.0, 1.0, 9.0, 1.0, 0.0, 1.0, -9.0, 1.0, 2.0], most=5)
        array([0, 2, 6, 8])
    """
    line = np.asarray(values, float)
    if len(line) <= most:
        return np.arange(len(line))
    kept = {0, len(line) - 1}
    for places in np.array_split(np.arange(len(line)), (most - 2) // 3):
        stretch = line[places]
        is_gap = np.isnan(stretch)
        if is_gap.any():
            kept.add(int(places[is_gap.argmax()]))
        if not is_gap.all():
            kept |= {int(places[np.nanargmin(stretch)]), int(places[np.nanargmax(stretch)])}
    return np.array(sorted(kept))


def points_each(num_series: int) -> int:
    """Return how many points each of the lines of a chart may have."""
    return max(FEWEST_POINTS, min(MOST_POINTS, MOST_IN_A_CHART // max(1, num_series)))


def spread_on(values: Sequence[float], is_log: bool) -> Spread:
    """Return mean and 95 % interval; on a logarithmic axis of the logarithms: the geometric mean, and ratios to it.

    Example:
        >>> [round(each, 3) for each in spread_on([1.0, 2.0, 4.0], is_log=True)[:3]]
        [2.0, 0.357, 11.19]
    """
    if not is_log:
        return spread(values)
    logs = spread([math.log(value) if value > 0 else math.nan for value in values])
    mean, low, high = (math.exp(min(end, 700.0)) for end in logs[:3])
    return logs._replace(mean=mean, low=low, high=high)


def middle(values: Array, is_log: bool = False) -> Array:
    """Return the mean over the first dimension, of shape ``(P,)``; on a logarithmic axis the geometric one."""
    kept = drawable(values)
    if is_log:
        return np.asarray(np.exp(np.log(np.where(kept > 0, kept, np.nan)).mean(0)))
    return np.asarray(kept.mean(0))


def line(
    label: str,
    x: Sequence[float] | Array,
    values: Array,
    role: Role = "other",
    is_log: bool = False,
    most: int = MOST_POINTS,
) -> Series:
    """Return the mean of repetitions over something, with its 95 % interval by Student's t where there are several.

    At most so many points: both ends, and the extremes of equal stretches.

    Args:
        label: in the legend.
        x: shape ``(P,)``.
        values: shape ``(S, P)``, of S repetitions; what is not finite makes a gap.
        role: of the line.
        is_log: whether its axis is logarithmic; then mean and interval are those of the logarithms.
        most: points.
    """
    kept = drawable(values)
    places = thinned(middle(kept, is_log), most)
    spreads = [spread_on(column.tolist(), is_log) for column in kept[:, places].T]
    has_band = len(values) > 1
    low, high = (numbers(each[end] for each in spreads if has_band) for end in (1, 2))
    return Series(
        label,
        [whole_or_rounded(each) for each in np.asarray(x, float)[places]],
        numbers([each.mean for each in spreads]),
        low,
        high,
        role,
    )


def whole_or_rounded(value: float) -> float:
    """Return a place on an axis, which is always there.

    Example:
        >>> whole_or_rounded(0.1 + 0.2), whole_or_rounded(40.0)
        (0.3, 40)
    """
    found = number(value)
    return math.nan if found is None else found


def decades(lines: Sequence[Array], factor: float) -> bool:
    """Say whether positive numbers span more than a factor, so that their axis is to be logarithmic.

    Example:
        >>> decades([np.array([1.0, 2.0]), np.array([0.0, 100.0])], 30), decades([np.array([np.nan])], 30)
        (True, False)
    """
    lowest, highest = positive_range(lines)
    return highest > factor * lowest


def positive_range(lines: Sequence[Array]) -> tuple[float, float]:
    """Return the least and the largest positive number; NaN where there is none."""
    all_of_them = np.concatenate([np.empty(0), *[np.ravel(each) for each in lines]])
    positive = all_of_them[all_of_them > 0]
    return (float(positive.min()), float(positive.max())) if len(positive) else (math.nan, math.nan)


def short(value: float | None) -> str:
    """Write a number for a sentence.

    Example:
        >>> short(0.123456), short(None)
        ('0.1235', 'not a number')
    """
    return "not a number" if value is None else f"{value:.4g}"


def course(series: Series) -> str:
    """Tell a line in words: where it begins and ends, and its extremes if they lie elsewhere.

    Example:
        >>> course(Series("loss", [0, 5, 10], [1.0, 3.0, 0.5], [0.5, 2.0, 0.25], [1.5, 4.0, 0.75]))
        'loss: from 1 at 0 to 0.5 [0.25, 0.75] at 10, highest 3 at 5'
    """
    there = [(x, y) for x, y in zip(series.x, series.y, strict=True) if y is not None]
    if not there:
        return f"{series.label}: not a number anywhere"
    (first, begin), (last, end) = there[0], there[-1]
    index = max(place for place, y in enumerate(series.y) if y is not None)
    interval = ""
    if series.low and series.low[index] is not None:
        interval = f" [{short(series.low[index])}, {short(series.high[index])}]"
    if len(there) == 1:
        return f"{series.label}: {short(end)}{interval} at {last}"
    text = f"{series.label}: from {short(begin)} at {first} to {short(end)}{interval} at {last}"
    for word, pick in (("highest", max), ("lowest", min)):
        place, value = pick(there, key=lambda point: point[1])
        if value not in (begin, end):
            text += f", {word} {short(value)} at {place}"
    return text


def extent(series: Series) -> str:
    """Tell in words between which numbers a line lies.

    Example:
        >>> extent(Series("loss", [0, 5, 10], [1.0, None, 0.5]))
        'loss 0.5 to 1'
    """
    there = [y for y in series.y if y is not None]
    return f"{series.label} {short(min(there))} to {short(max(there))}" if there else f"{series.label} not a number"


def told(lines: Sequence[Series], most: int = 8) -> str:
    """Tell lines in words, and of many how many more there are."""
    texts = [course(each) for each in lines[:most]]
    return "; ".join([*texts, *[f"and {len(lines) - most} more"] * (len(lines) > most)]) + "."


def told_panels(panels: Sequence[Plot], most: int = 8) -> str:
    """Tell the lines of panels in words; of many panels their ranges alone."""
    if len(panels) > MOST_TOLD:
        return " ".join(f"{panel.title}: {', '.join(map(extent, panel.series[:most]))}." for panel in panels)
    return " ".join(f"{panel.title}: " * bool(panel.title) + told(panel.series, most) for panel in panels)
