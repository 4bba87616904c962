"""Figures of a sweep: its metric against each swept key, points of seeds and their means with intervals."""

import math
import textwrap
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter, NullLocator

from iclgd.report.results import Array
from iclgd.report.settings import Spread, spread
from iclgd.report.style import BLACK, BLUE, COLUMN, DECADES, GREEN, NORMAL, ORANGE, PURPLE, SMALL, VERMILION

HEIGHT = 2.9  # inches
LETTERS_OF_LINE, LETTERS_OF_MARK = 58, 9  # a mark in a legend is as wide as letters
MOST_COLUMNS = 4
COLOURS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, BLACK)
MARKERS, LINES = "os^Dvp", ("-", "--", "-.", ":", (0, (5, 1)), (0, (1, 1)))  # for print without colours
MOST_GROUPS = len(COLOURS)  # of values of the other keys that are told apart
MOST_JOINED = 12  # values of a key whose means a line joins; more are drawn, not chosen
MOST_TICKS = 8  # that are the values themselves
BESIDE = 0.05  # of the gap between values: how far points are from their mean
MOST_LEVEL = 4  # names of categories beside each other
LONGEST = 22  # characters of a name
ALL = ""  # the group of all trials


Value = float | str


class Point(NamedTuple):
    """A trial that is done.

    Attributes:
        values: of the swept keys, without seeds, always in one order; texts are categories.
        seed: what else it differs in from its repetitions.
        metric: may be NaN or infinite.
    """

    values: Mapping[str, Value]
    seed: Hashable
    metric: float


@dataclass(frozen=True)
class _Scale:
    """Where values of a key lie: numbers where they are, categories beside each other."""

    values: Sequence[Value]
    is_numeric: bool
    is_log: bool

    def place(self, value: Value) -> float:
        """Return the place of a value, of which neighbours are alike far."""
        if not self.is_numeric:
            return float(self.values.index(value))
        number = float(value)
        return math.log10(number) if self.is_log else number

    def at(self, place: float) -> float:
        """Return where on the axis a place is."""
        return 10.0**place if self.is_log else place

    @property
    def gap(self) -> float:
        """Return how far the nearest neighbours are from each other."""
        places = sorted({self.place(value) for value in self.values})
        return float(min(np.diff(places), default=1.0))


def metric_by(key: str, points: Sequence[Point], metric: str, about: str, is_minimized: bool = True) -> Figure:
    """Plot a sweep's metric against one of its keys.

    Each trial is a point. Trials that differ in seeds alone have a mean and its 95 % interval, by Student's t. If the
    other keys have few values, each has a colour. Otherwise the mean is over them, seed by seed, and the interval over
    seeds; it is there only where all seeds have the same of them. A metric that is not finite has no place and leaves
    its setting without a mean; a cross says where it was.

    Args:
        key: on the x axis.
        points: trials that are done and have a value of the key.
        metric: its name.
        about: what the figure shows: sweep, config, seeds, trials.
        is_minimized: a metric that is minimized, and positive, may have a logarithmic axis.
    """
    figure = Figure(figsize=(COLUMN, HEIGHT), layout="constrained")
    axes = figure.subplots()
    points = [point for point in points if key in point.values]
    scale = _scale([point.values[key] for point in points])
    groups = _groups(key, points)
    if is_minimized and _spans_decades([point.metric for point in points]):
        axes.set_yscale("log", nonpositive="mask")
    _name_x(axes, key, scale)
    axes.set_ylabel(_plain(metric), fontsize=NORMAL)
    means: dict[str, list[tuple[Value, Spread]]] = {name: _means(key, of_it) for name, of_it in groups.items()}
    _limit_y(axes, points, [mean for of_it in means.values() for _, mean in of_it])
    most = max((mean.number for of_it in means.values() for _, mean in of_it), default=1)
    has_means = most > 1 or len(scale.values) <= MOST_JOINED  # of others the points say it all
    notes: dict[str, Line2D] = {}
    for index, (name, of_it) in enumerate(groups.items()):
        shift = _shift(scale, index, len(groups)) if has_means else 0.0
        notes |= _draw_points(axes, scale, key, of_it, index, shift, has_means)
        if has_means:
            notes |= _draw_means(axes, scale, means[name], index, shift, most)
    _explain(figure, key, points, groups, notes, has_means)
    figure.suptitle(_wrapped(about), fontsize=NORMAL, parse_math=False)
    axes.tick_params(which="both", labelsize=SMALL)
    return figure


def _groups(key: str, points: Sequence[Point]) -> dict[str, list[Point]]:
    """Return points by the values of the other keys; all together if these are many."""
    found: dict[str, list[Point]] = {}
    for point in points:
        found.setdefault(", ".join(_text(value) for other, value in point.values.items() if other != key), []).append(
            point
        )
    return found if 1 < len(found) <= MOST_GROUPS else {ALL: list(points)}


def _means(key: str, points: Sequence[Point]) -> list[tuple[Value, Spread]]:
    """Return the mean at each value of a key, over seeds; of several settings that of each seed's, if all have them."""
    found = []
    for value in dict.fromkeys(point.values[key] for point in points):
        settings: dict[Hashable, dict[Hashable, float]] = {}
        for point in points:
            if point.values[key] == value:
                settings.setdefault(tuple(point.values.items()), {}).setdefault(point.seed, point.metric)
        found.append((value, _mean([*settings.values()])))
    return found


def _mean(settings: Sequence[Mapping[Hashable, float]]) -> Spread:
    seeds = list(settings[0])
    if all(set(setting) == set(seeds) for setting in settings):
        return spread([math.fsum(setting[seed] for setting in settings) / len(settings) for seed in seeds])
    overall = spread([spread([*setting.values()]).mean for setting in settings])  # of unequal seeds: no interval
    return overall._replace(low=math.nan, high=math.nan, deviation=math.nan)


def _shift(scale: _Scale, index: int, number: int) -> float:
    """Return how far a group is drawn beside the values, so that none hides another."""
    return min(0.16, 0.6 / number) * scale.gap * (index - (number - 1) / 2)


def _draw_points(
    axes: Axes, scale: _Scale, key: str, points: Sequence[Point], index: int, shift: float, has_means: bool
) -> dict[str, Line2D]:
    """Draw trials, pale and beside their mean; those that are not finite as crosses at the axis' end."""
    aside = BESIDE * scale.gap * has_means
    places = [scale.at(scale.place(point.values[key]) + shift - aside) for point in points]
    colour, marker = COLOURS[index], "o" if has_means else MARKERS[index]
    finite = [math.isfinite(point.metric) for point in points]
    x, y = np.array(places), np.array([point.metric for point in points], float)
    pale: dict[str, Any] = {
        "linestyle": "",
        "color": colour,
        "markeredgewidth": 0,
        "alpha": 0.5,
        "markersize": 3.5,
        "zorder": 2,
    }
    axes.plot(x[finite], y[finite], marker=marker, **pale)
    if all(finite):
        return {}
    lost = x[~np.array(finite)]
    cross: dict[str, Any] = {
        "linestyle": "",
        "marker": "x",
        "color": colour,
        "markersize": 5,
        "clip_on": False,
        "zorder": 4,
    }
    axes.plot(lost, np.full(len(lost), 0.97), transform=axes.get_xaxis_transform(), **cross)
    return {"not finite": Line2D([], [], linestyle="", marker="x", color="black", markersize=5)}


def _draw_means(
    axes: Axes, scale: _Scale, means: Sequence[tuple[Value, Spread]], index: int, shift: float, most: int
) -> dict[str, Line2D]:
    """Draw means with their intervals, joined where they are few; return what is to be explained beside them."""
    drawn = sorted((scale.place(value) + shift, mean) for value, mean in means)
    x = np.array([scale.at(place) for place, _ in drawn])
    y = np.array([mean.mean for _, mean in drawn])
    colour = COLOURS[index]
    if scale.is_numeric and len(scale.values) <= MOST_JOINED:
        axes.plot(x, y, color=colour, linestyle=LINES[index], linewidth=1.2, zorder=3)
    notes = {}
    bottom, top = axes.get_ylim()
    for place, (_, mean) in zip(x, drawn, strict=True):
        is_less = mean.number < most
        face = "white" if is_less else colour
        style: dict[str, Any] = {
            "marker": MARKERS[index],
            "color": colour,
            "markerfacecolor": face,
            "markersize": 5,
            "zorder": 5,
        }
        if not math.isfinite(mean.mean):
            continue
        axes.plot([place], [mean.mean], **style)
        if is_less:
            notes["hollow: fewer seeds"] = Line2D([], [], **{**style, "color": "black", "linestyle": "", "marker": "o"})
        if not math.isfinite(mean.high - mean.low):
            continue
        low, high = max(mean.low, bottom), min(mean.high, top)
        axes.plot([place, place], [low, high], color=colour, linewidth=1.2, zorder=3)
        for end, limit, marker in ((mean.low, bottom, "v"), (mean.high, top, "^")):
            is_cut = end < limit if limit == bottom else end > limit
            mark = marker if is_cut else "_"
            axes.plot([place], [limit if is_cut else end], mark, color=colour, markersize=4, clip_on=False, zorder=4)
            if is_cut:
                notes["interval goes on"] = Line2D([], [], linestyle="", marker="^", color="black", markersize=4)
    return notes


def _limit_y(axes: Axes, points: Sequence[Point], means: Sequence[Spread]) -> None:
    """Let the y axis show all points, and of intervals as much again at most."""
    is_log = axes.get_yscale() == "log"
    numbers = np.array([point.metric for point in points] + [mean.mean for mean in means], float)
    ends = np.array([end for mean in means for end in (mean.low, mean.high)], float)
    if is_log:
        numbers, ends = (np.log10(np.where(each > 0, each, np.nan)) for each in (numbers, ends))
        ends = np.append(ends, [-np.inf] * any(mean.low <= 0 for mean in means))
    numbers, ends = numbers[np.isfinite(numbers)], ends[~np.isnan(ends)]
    if not len(numbers):
        return
    low, high = numbers.min(), numbers.max()
    room = (high - low) or abs(high) / 10 or 1.0
    bottom = max(low - room, min([low - room / 20, *(ends - room / 20)]))
    top = min(high + room, max([high + room / 20, *(ends + room / 20)]))
    axes.set_ylim(*((10**bottom, 10**top) if is_log else (bottom, top)))


def _scale(values: Sequence[Value]) -> _Scale:
    distinct = list(dict.fromkeys(values))
    is_numeric = not any(isinstance(value, str) for value in distinct)
    if not is_numeric:
        return _Scale(distinct, False, False)
    numbers = np.sort(np.array(distinct, float))
    is_log = numbers[0] > 0 and numbers[-1] >= 10 * numbers[0] and _is_even(np.log(numbers), numbers)
    return _Scale(distinct, True, bool(is_log))


def _is_even(logarithms: Array, numbers: Array) -> bool:
    """Say whether the gaps between logarithms differ less than those between numbers."""
    gaps = [np.diff(each) / np.ptp(each) for each in (logarithms, numbers)]
    return bool(gaps[0].std() <= gaps[1].std())


def _name_x(axes: Axes, key: str, scale: _Scale) -> None:
    axes.set_xlabel(_plain(key), fontsize=NORMAL)
    if not scale.is_numeric:
        names = [_plain(_text(value)) for value in scale.values]
        is_level = len(names) <= MOST_LEVEL and sum(map(len, names)) <= LETTERS_OF_LINE // 2
        turned: dict[str, Any] = {} if is_level else {"rotation": 35, "ha": "right", "rotation_mode": "anchor"}
        axes.set_xticks(range(len(names)), names, **turned)
        axes.set_xlim(-0.5, len(names) - 0.5)
        return
    places = [scale.place(value) for value in scale.values]
    span = max(places) - min(places)
    room = span / 12 or (0.5 if not scale.is_log else 0.3)
    axes.set_xscale("log" if scale.is_log else "linear")
    room = max(room, 0.4 * scale.gap) if len(places) <= MOST_JOINED else room  # for groups beside each other
    axes.set_xlim(scale.at(min(places) - room), scale.at(max(places) + room))
    if len(places) <= MOST_TICKS and (span == 0 or scale.gap > 0.1 * span):
        axes.set_xticks([float(value) for value in scale.values], [f"{value:g}" for value in scale.values])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_minor_formatter(NullFormatter())


def _explain(
    figure: Figure,
    key: str,
    points: Sequence[Point],
    groups: Mapping[str, Sequence[Point]],
    notes: Mapping[str, Line2D],
    has_means: bool,
) -> None:
    """Say below the panel what colours and marks are."""
    others = [other for other in (points[0].values if points else {}) if other != key]
    lines: dict[str, Line2D] = {}
    if ALL not in groups:
        for index, name in enumerate(groups):
            style: dict[str, Any] = {"color": COLOURS[index], "marker": MARKERS[index], "markersize": 5}
            style["linestyle"] = LINES[index] if has_means else ""
            lines[_plain(name)] = Line2D([], [], linewidth=1.2, **style)
        title = ", ".join(_plain(other.rpartition(".")[2]) for other in others)
    else:
        title = f"means over {_plain(', '.join(others), LETTERS_OF_LINE)}" if others else ""
    lines |= notes
    if lines or title:
        longest = max(map(len, lines), default=0) + LETTERS_OF_MARK
        ncols = max(1, min(len(lines), MOST_COLUMNS, LETTERS_OF_LINE // longest))
        legend = figure.legend([*lines.values()], [*lines], loc="outside lower center", ncols=ncols, fontsize=SMALL)
        legend.set_frame_on(False)
        legend.set_title(title)
        legend.get_title().set_fontsize(SMALL)


def _spans_decades(values: Sequence[float]) -> bool:
    finite = [value for value in values if math.isfinite(value)]
    return bool(finite) and min(finite) > 0 and max(finite) > DECADES * min(finite)


def _text(value: Value) -> str:
    return value if isinstance(value, str) else f"{value:g}"


def _plain(text: str, most: int = LONGEST) -> str:
    """Return a name as a figure can show it: short, printable, and no formula."""
    shown = "".join(character if character.isprintable() else "?" for character in text)
    shown = shown if len(shown) <= most else f"{shown[: most - 3]}..."
    return shown.replace("$", r"\$")


def _wrapped(text: str) -> str:
    return "\n".join(textwrap.wrap(text, LETTERS_OF_LINE, max_lines=4, placeholder=" ..."))
