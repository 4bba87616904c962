"""Panels of charts as Vega-Lite specifications, and their numbers as short as a page can carry them.

The page's script turns the numbers into the rows that a specification names; which fields a row has is said at each
panel. Colours are names of the page's style sheet, so that light, dark and print need no other specification.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from iclgd.review.document import Axis, Chart, HeatMap, Mark, Parallel, Plot, Series
from iclgd.review.page_texts import LABEL, short, shown_number
from iclgd.review.parallel_coordinates import parallel_panel
from iclgd.review.series_styles import Key, Style, series_styles

Json = dict[str, Any]
WIDTH = 330  # of a heat map, about: its cells are squares where that is sensible
NARROW = 210  # of one of four or more
HEIGHT = 230  # of a panel, in pixels
PADDING = 7  # pixels between numbers and frame: markers are not cut
MARGIN = 0.03  # the same of the x axis, as a share of it
MOST_MARKERS = 40  # of one series, on average: more of them hide the line
MOST_HOVERED = 1500  # elements that only answer the pointer: an SVG has to stay quick
MOST_WRITTEN = 48  # characters of an axis, or of a line across
MOST_LETTERS = 60  # of all categories beside each other
MOST_TICKS = 40  # categories that are all named
FAR_BELOW = 1e-6  # times the lowest number: where a band goes that leaves a logarithmic axis
FRAME = {"type": "rect", "filled": False, "color": "var(--rule)", "x": 0, "y": 0, "x2": "width", "y2": "height"}
HALO = {"color": "var(--paper)", "stroke": "var(--paper)", "strokeWidth": 4}  # behind words that lie on lines
BLUE, WHITE, RED = "#2166ac", "#ffffff", "#b2182b"  # ends of ColorBrewer's RdBu, safe for the colour-blind


class Figure(NamedTuple):
    """A chart as the page draws it.

    Attributes:
        styles: of its series; panels that have the same label and role share them.
        panels: each with ``kind``, ``title``, ``spec`` (``None`` where there is no number to draw) and its numbers.
    """

    styles: list[Style]
    panels: list[Json]


def figure(chart: Chart) -> Figure:
    """Return a chart as the page draws it."""
    found = series_styles(
        [[_key(series) for series in panel.series] for panel in chart.panels if isinstance(panel, Plot)]
    )
    places, styles = {key: place for place, key in enumerate(found)}, list(found.values())

    def panel_of(panel: Plot | HeatMap | Parallel) -> Json:
        if isinstance(panel, HeatMap):
            return heat_map_panel(panel, WIDTH if len(chart.panels) < 4 else NARROW)
        if isinstance(panel, Parallel):
            return parallel_panel(panel)
        return plot_panel(panel, styles, [places[_key(series)] for series in panel.series])

    return Figure(styles, [panel_of(panel) for panel in chart.panels])


def _key(series: Series) -> Key:
    return short(series.label, LABEL), series.role


def plot_panel(plot: Plot, styles: Sequence[Style], places: Sequence[int]) -> Json:
    """Return a panel of lines, points or bars.

    Rows have ``s`` (place in the legend), ``l`` (label), ``x``, ``y``, ``low``, ``high``, ``i`` (the interval as a
    text) and ``h`` (whether the pointer finds it).

    Args:
        plot: the panel.
        styles: of the figure's legend.
        places: in the legend, of each series.
    """
    is_named = any(isinstance(x, str) for series in plot.series for x in series.x)
    drawn = [_numbers(series, plot, is_named) for series in plot.series]
    has_band = any(each["low"] for each in drawn)
    num_points = sum(len(each["y"]) for each in drawn)
    data = [
        {"s": place, "l": styles[place].label, **{key: values for key, values in each.items() if values}}
        for place, each in zip(places, drawn, strict=True)
    ]
    spec = None
    if any(y is not None for each in drawn for y in each["y"]):
        spec = _plot_spec(plot, styles, places, drawn, is_named)
    return {
        "kind": "plot",
        "title": short(plot.title, LABEL),
        "columns": ["series", short(plot.x.label, LABEL), short(plot.y.label, LABEL), *["low", "high"] * has_band],
        "stride": max(1, math.ceil(num_points / MOST_HOVERED)),
        "zoom": not (is_named or plot.bars) and spec is not None,
        "spec": spec,
        "series": data,
    }


def _numbers(series: Series, plot: Plot, is_named: bool) -> dict[str, list[Any]]:
    """Return what can be drawn of a series: a logarithmic axis has no place for 0 and below."""
    x: list[Any]
    if is_named:
        x = [short(str(each) if isinstance(each, str) else shown_number(each), LABEL) for each in series.x]
    else:
        x = [_rounded(each if isinstance(each, float | int) else None, plot.x.is_log) for each in series.x]
    y = [_rounded(each, plot.y.is_log) for each in series.y]
    low, high = ([_rounded(each) for each in ends] for ends in (series.low, series.high))
    if plot.y.is_log and low:
        positive = [each for each in [*y, *low] if each is not None and each > 0]
        floor = FAR_BELOW * min(positive, default=1.0)
        low = [each if each is None else max(each, floor) for each in low]
        high = [each if each is not None and each > 0 else None for each in high]
    return {"x": x, "y": y, "low": low, "high": high}


def _plot_spec(
    plot: Plot, styles: Sequence[Style], places: Sequence[int], drawn: Sequence[dict[str, list[Any]]], is_named: bool
) -> Json:
    joined = sorted({place for place, series in zip(places, plot.series, strict=True) if series.joined})
    with_band = sorted({place for place, each in zip(places, drawn, strict=True) if each["low"]})
    as_bars = plot.bars and not plot.y.is_log  # a bar begins at 0, which a logarithmic axis does not have
    x, y = _x(plot.x, drawn, is_named), _y(plot.y, drawn, plot.marks)
    if as_bars:
        y["scale"] = {"zero": True}
    offset: Json = {}
    if plot.bars and len(set(places)) > 1:
        offset = {"xOffset": {"field": "s", "type": "nominal", "scale": {"domain": list(dict.fromkeys(places))}}}
        x["scale"] = {"type": "band", "paddingInner": 0.25, "paddingOuter": 0.15}
    colour = _by_series(styles, [f"var(--{style.colour})" for style in styles])
    dashes = _by_series(styles, [list(style.dashes) for style in styles])
    ends: Json = {"y": {**y, "field": "low"}, "y2": {"field": "high"}}
    hover = [
        {"field": "l", "title": "series"},
        {"field": "x", "title": x["title"] or "x", **({} if is_named else {"format": ".6~g"})},
        {"field": "y", "title": y["title"] or "y", "format": ".4~g"},
        *([{"field": "i", "title": "interval"}] if with_band else []),
    ]
    num_points = sum(len(each["y"]) for each in drawn)
    layers: list[Json] = []
    bands = [] if is_named or plot.bars else [place for place in with_band if place in joined]
    if bands:
        layers.append(_layer({"type": "area", "opacity": 0.15}, {"x": x, **ends, "color": colour}, bands))
    if as_bars:
        pale = [f"color-mix(in srgb, var(--{each.colour}) {each.opacity:.0%}, var(--paper))" for each in styles]
        bar = {"x": x, "y": y, "color": _by_series(styles, pale), "tooltip": hover, **offset}
        layers.append(_layer({"type": "bar"}, bar))
    whiskers = [place for place in with_band if place not in bands]
    if whiskers:
        # Over bars of their own colour, whiskers have to be of another.
        look: Json = {"color": {"value": "var(--ink)"}} if as_bars else {"color": colour}
        layers.append(_layer({"type": "rule", "strokeWidth": 1.3}, {"x": x, **ends, **look, **offset}, whiskers))
    if not as_bars:
        if joined and not plot.bars:
            line = {"x": x, "y": y, "color": colour, "strokeDash": dashes, "detail": {"field": "s"}}
            layers.append(_layer({"type": "line"}, line, joined))
        points = {"x": x, "y": y, "color": colour, "shape": _by_series(styles, [style.marker for style in styles])}
        alone = [place for place in sorted(set(places)) if place not in joined or plot.bars]
        if num_points <= MOST_MARKERS * max(1, len(plot.series)):
            layers.append(_layer({"type": "point"}, {**points, "tooltip": hover, **offset}))
        else:
            if alone:
                layers.append(_layer({"type": "point"}, {**points, "tooltip": hover, **offset}, alone))
            layers.append(_layer({"type": "point", "opacity": 0, "size": 90}, {**points, "tooltip": hover}, joined))
            layers[-1]["transform"].append({"filter": "datum.h"})
    if not is_named and not plot.bars:
        first = next(layer for layer in layers if layer["encoding"]["y"]["field"] == "y")  # which names its signals
        first["params"] = [{"name": "zoom", "bind": "scales", "select": _ZOOM}]
    layers += _lines_across(plot, x, y, drawn, is_named)
    return {
        "width": "container",
        "height": HEIGHT,
        "params": [{"name": "hidden", "value": []}],
        "data": {"name": "rows"},
        "layer": layers,
    }


_ZOOM = {"type": "interval", "zoom": "wheel![event.ctrlKey || event.metaKey]"}  # the wheel alone scrolls the page


def _layer(mark: Json, encoding: Json, places: Sequence[int] | None = None) -> Json:
    kept: list[Json] = [{"filter": "indexof(hidden, datum.s) < 0"}]
    if places is not None:
        kept.append({"filter": {"field": "s", "oneOf": list(places)}})
    return {"mark": {**mark, "clip": True}, "transform": kept, "encoding": encoding}


def _by_series(styles: Sequence[Style], looks: Sequence[Any]) -> Json:
    return {
        "field": "s",
        "type": "nominal",
        "scale": {"domain": list(range(len(styles))), "range": list(looks)},
        "legend": None,
    }


def _x(axis: Axis, drawn: Sequence[dict[str, list[Any]]], is_named: bool) -> Json:
    title = short(axis.label, MOST_WRITTEN)
    if not is_named:
        values = [value for each in drawn for value in each["x"] if value is not None]
        x: Json = {"field": "x", "type": "quantitative", "title": title, **_scale("x", axis, [])}
        x["scale"] = {
            "type": "log" if axis.is_log else "linear",
            "domain": _widened(values, axis.is_log),
            "nice": False,
        }
        if not axis.is_log and all(value == int(value) for value in values):
            x["axis"] = {"tickMinStep": 1}  # there is no layer 0.5
        return x
    names = list(dict.fromkeys(name for each in drawn for name in each["x"]))
    labels: Json = {"labelAngle": 0, "labelOverlap": len(names) > MOST_TICKS}
    if len(names) * max(len(word) for name in names for word in name.split() or [""]) > MOST_LETTERS:
        labels["labelAngle"] = -35
    elif len(names) * max(map(len, names)) > MOST_LETTERS:
        labels["labelExpr"] = "split(datum.label, ' ')"  # a line for each word
    return {"field": "x", "type": "nominal", "title": title, "sort": None, "axis": labels}


def _widened(values: Sequence[float], is_log: bool) -> list[float]:
    """Return a domain with room for markers at both ends."""
    low, high = min(values), max(values)
    if is_log:
        factor = (high / low) ** MARGIN if high > low else 2.0
        return [low / factor, high * factor]
    room = (high - low) * MARGIN or abs(low) or 1.0
    return [low - room, high + room]


def _y(axis: Axis, drawn: Sequence[dict[str, list[Any]]], marks: Iterable[Mark]) -> Json:
    positive = [each for series in drawn for each in series["y"] if each is not None and each > 0]
    across = [mark.at for mark in marks if mark.across == "y" and math.isfinite(mark.at) and mark.at > 0]
    title = short(axis.label, MOST_WRITTEN)
    y: Json = {"field": "y", "type": "quantitative", "title": title, **_scale("y", axis, [*positive, *across])}
    if not axis.is_log and (domain := _around_lines(drawn, marks)) is not None:
        y["scale"] = {"domain": domain, "nice": False, "zero": False}
    return y


def _around_lines(drawn: Sequence[dict[str, list[Any]]], marks: Iterable[Mark]) -> list[float] | None:
    """Return a linear domain of which wide bands take no more than lines do; ``None`` where nothing is too wide.

    The interval of two seeds may be ten times as wide as all that is to be seen.
    """
    lines = [value for series in drawn for value in series["y"] if value is not None]
    lines += [mark.at for mark in marks if mark.across == "y" and math.isfinite(mark.at)]
    ends = [value for series in drawn for name in ("low", "high") for value in series[name] if value is not None]
    if not lines or not ends:
        return None
    low, high = min(lines), max(lines)
    room = (high - low) or abs(low) or 1.0
    if min(ends) >= low - room / 2 and max(ends) <= high + room / 2:
        return None
    bottom, top = max(min(*ends, low), low - room / 2), min(max(*ends, high), high + room / 2)
    return [bottom - MARGIN * room * (bottom == low), top + MARGIN * room * (top == high)]


def _scale(side: str, axis: Axis, shown: Sequence[float]) -> Json:
    """Return a scale and, of a logarithmic one, its axis.

    Args:
        side: ``x`` or ``y``.
        axis: which.
        shown: positive numbers that a logarithmic axis shows; not the ends of bands, which may lie anywhere.
    """
    if not axis.is_log:
        return {"scale": {"zero": False, "padding": PADDING}}
    scale: Json = {"type": "log", "nice": False}
    if shown:
        scale["domain"] = [min(shown) / 1.4, max(shown) * 1.4]
    else:
        scale["padding"] = PADDING
    faint = {"condition": {"test": f"abs({_DECADE} - 1) < 1e-6", "value": 0.7}, "value": 0.25}
    return {"scale": scale, "axis": {"labelExpr": _log_label(side), "labelOverlap": False, "gridOpacity": faint}}


_DECADE = "datum.value / pow(10, floor(log(datum.value) / LN10 + 1e-9))"  # 1 to 10


def _log_label(side: str) -> str:
    """Return an expression that labels powers of 10; over two decades or fewer 2 and 5 of each too, within one all."""
    decades = f"log(domain('{side}')[1] / domain('{side}')[0]) / LN10"
    shown = f"{decades} < 0.8 || indexof({decades} < 2 ? [1, 2, 5] : [1], round({_DECADE} * 100) / 100) >= 0"
    return f"{shown} ? format(datum.value, ',.5~g') : ''"


def _lines_across(plot: Plot, x: Json, y: Json, drawn: Sequence[dict[str, list[Any]]], is_named: bool) -> list[Json]:
    """Return lines with their labels; of several, the lower half has labels below."""
    layers: list[Json] = []
    for across, axis, place in (("y", plot.y, y), ("x", plot.x, x)):
        if across == "x" and is_named:
            continue
        found = sorted(mark for mark in plot.marks if mark.across == across and math.isfinite(mark.at))
        found = [mark for mark in found if mark.at > 0 or not axis.is_log]
        xs = [each for series in drawn for each in series["x"] if each is not None]
        for index, mark in enumerate(found):
            at = {**place, "field": "at"}
            label: Json = {
                "type": "text",
                "text": short(mark.label, MOST_WRITTEN),
                "color": "var(--soft)",
                "clip": True,
            }
            if across == "y":
                is_below = 2 * index + 1 < len(found)
                label |= {"align": "right", "x": "width", "dx": -3, "dy": 9 if is_below else -6}
            else:
                is_right = bool(xs) and mark.at > (min(xs) + max(xs)) / 2
                label |= {"align": "right" if is_right else "left", "y": 7 + 13 * index, "dx": -4 if is_right else 4}
            rule = {"type": "rule", "strokeDash": [5, 3], "color": "var(--soft)", "clip": True}
            layers.append(
                {
                    "data": {"values": [{"at": mark.at}]},
                    "layer": [{"mark": each, "encoding": {across: at}} for each in (rule, {**label, **HALO}, label)],
                }
            )
    return layers


def heat_map_panel(panel: HeatMap, width: int = WIDTH) -> Json:
    """Return a panel of coloured cells; rows have ``r``, ``c`` (numbers of row and column) and ``v``.

    Args:
        panel: the matrix.
        width: about how many pixels wide it will be.
    """
    values = [[_rounded(value) for value in row] for row in panel.values]
    finite = [value for row in values for value in row if value is not None]
    limit = max(map(abs, finite), default=1.0) or 1.0
    lowest = -limit if min(finite, default=0.0) < 0 else 0.0  # what is never below 0 has no colour there
    rows, columns = ([short(name, LABEL) for name in names] for names in (panel.rows, panel.columns))
    return {
        "kind": "heat",
        "zoom": False,
        "title": short(panel.title, LABEL),
        "columns": ["row", "column", "value"],
        "spec": _heat_spec(rows, columns, (lowest, limit), width) if finite else None,
        "rows": rows,
        "names": columns,
        "values": values,
    }


def _heat_spec(rows: Sequence[str], columns: Sequence[str], ends: tuple[float, float], width: int) -> Json:
    def side(field: str, names: Sequence[str]) -> Json:
        axis: Json = {"title": None, "labelOverlap": True, "labelAngle": 0, "domain": False, "ticks": False}
        if field == "c" and sum(map(len, names)) > MOST_LETTERS:
            axis["labelAngle"] = -60
        # By number, since names may be there twice.
        axis["labelExpr"] = f"names.{field}[datum.value]"
        return {"field": field, "type": "ordinal", "axis": axis, "scale": {"padding": 0}}

    domain = sorted({ends[0], 0.0, ends[1]})
    colour = {
        "field": "v",
        "type": "quantitative",
        "scale": {"domain": domain, "range": [BLUE, WHITE, RED][-len(domain) :], "interpolate": "lab"},
        "legend": {"orient": "bottom", "title": None, "gradientLength": 160, "format": ".3~g"},
    }
    hover = [
        {"field": "rn", "title": "row"},
        {"field": "cn", "title": "column"},
        {"field": "v", "title": "value", "format": ".4~g"},
    ]
    cell: Json = {"x": side("c", columns), "y": side("r", rows), "tooltip": hover}
    undefined = [{"filter": "!isValid(datum.v)"}]
    return {
        "width": "container",
        "height": round(min(max(width * len(rows) / max(1, len(columns)), 50), 420)),
        "params": [{"name": "names", "value": {"r": list(rows), "c": list(columns)}}],
        "data": {"name": "rows"},
        "layer": [
            {"mark": "rect", "transform": [{"filter": "isValid(datum.v)"}], "encoding": {**cell, "color": colour}},
            {"mark": {"type": "rect", "color": "var(--void)"}, "transform": undefined, "encoding": cell},
            {"mark": FRAME, "data": {"values": [{}]}},  # white cells have no edge of their own
        ],
    }


def _rounded(value: float | None, is_log: bool = False) -> float | None:
    """Return a number with the digits that a figure can show; ``None`` where it can show none."""
    if value is None or not math.isfinite(value) or (is_log and value <= 0):
        return None
    return float(f"{value:.6g}")
