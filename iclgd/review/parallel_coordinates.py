"""Parallel coordinates (Inselberg 1985) in Vega-Lite: an axis for each quantity, a line for each run."""

import math
from collections.abc import Sequence
from typing import Any

from iclgd.review.document import Parallel
from iclgd.review.page_texts import LABEL, short, shown_number

Json = dict[str, Any]
Value = float | str | None
HEIGHT = 260
NUM_COLOURS = 5  # of the metric, from low to high: --step-1 and on in the style sheet
MOST_NAMED = 12  # categories that are written at their axis
DECADES = 30.0  # quantities that span more than this factor are drawn by their logarithm, as losses are


def parallel_panel(panel: Parallel) -> Json:
    """Return a panel; rows have ``i`` (which run), ``k`` (which axis), ``p`` (place on it), ``t`` (text), ``m``.

    A run's line has a gap where it has no number; ``m`` is the class of its metric, -1 if it has none.
    """
    axes = [_axis([row[index] for row in panel.rows]) for index in range(len(panel.columns))]
    columns = [short(name, LABEL) for name in panel.columns]
    metric = [_class(place) for place in (axes[-1][0] if axes else [])]
    return {
        "kind": "parallel",
        "zoom": False,
        "title": short(panel.title, LABEL),
        "columns": ["run", *columns],
        "spec": _spec(columns, [ticks for _, ticks in axes]) if any(each >= 0 for each in metric) else None,
        "places": [[axis[0][run] for axis in axes] for run in range(len(panel.rows))],
        "texts": [[_text(value) for value in row] for row in panel.rows],
        "metric": metric,
    }


def _axis(values: Sequence[Value]) -> tuple[list[float | None], list[tuple[float, str]]]:
    """Return the places of values on an axis from 0 to 1, and what is written along it."""
    if any(isinstance(value, str) for value in values):
        names = sorted({_text(value) for value in values if value is not None}, key=_natural)
        places = {name: (index + 0.5) / len(names) for index, name in enumerate(names)}
        shown = names if len(names) <= MOST_NAMED else [names[0], names[-1]]
        return [None if value is None else places[_text(value)] for value in values], [
            (places[name], name) for name in shown
        ]
    finite = [float(value) for value in values if value is not None and math.isfinite(float(value))]
    if not finite:
        return [None] * len(values), []
    low, high = min(finite), max(finite)
    is_log = low > 0 and high > DECADES * low

    def place(value: Value) -> float | None:
        if value is None or not math.isfinite(float(value)):
            return None
        if low == high:
            return 0.5
        if is_log:
            return round(math.log(float(value) / low) / math.log(high / low), 4)
        return round((float(value) - low) / (high - low), 4)

    distinct = sorted(set(finite))
    if len(distinct) > MOST_NAMED / 2:
        middle = math.sqrt(low * high) if is_log else (low + high) / 2
        distinct = [low, middle, high]
    return [place(value) for value in values], [(place(value) or 0.0, shown_number(value)) for value in distinct]


def _natural(name: str) -> tuple[bool, float, str]:
    try:
        return False, float(name), name
    except ValueError:
        return True, 0.0, name


def _text(value: Value) -> str:
    if value is None:
        return ""
    return short(value, LABEL) if isinstance(value, str) else shown_number(float(value))


def _class(place: float | None) -> int:
    return -1 if place is None else min(int(place * NUM_COLOURS), NUM_COLOURS - 1)


def _spec(columns: Sequence[str], ticks: Sequence[Sequence[tuple[float, str]]]) -> Json:
    x: Json = {
        "field": "k",
        "type": "ordinal",
        "scale": {"type": "point", "padding": 0.35, "domain": list(range(len(columns)))},
        "axis": {
            "title": None,
            "orient": "top",
            "labelAngle": 0,
            "labelExpr": "names[datum.value]",
            "labelOverlap": False,
            "domain": False,
            "ticks": False,
            "labelPadding": 8,
            "labelLimit": 110,
        },
    }
    y: Json = {"field": "p", "type": "quantitative", "axis": None, "scale": {"domain": [0, 1]}}
    colours = ["var(--void)", *(f"var(--step-{number})" for number in range(1, NUM_COLOURS + 1))]
    colour = {
        "field": "m",
        "type": "nominal",
        "scale": {"domain": list(range(-1, NUM_COLOURS)), "range": colours},
        "legend": None,
    }
    along = [{"k": index, "p": place, "t": text} for index, axis in enumerate(ticks) for place, text in axis]
    runs: Json = {
        "params": [
            {"name": "over", "select": {"type": "point", "on": "pointerover", "clear": "pointerout", "fields": ["i"]}}
        ],
        "mark": {"type": "line", "strokeWidth": 1.4, "interpolate": "monotone"},
        "encoding": {
            "x": x,
            "y": y,
            "color": colour,
            "detail": {"field": "i"},
            "opacity": {"condition": {"param": "over", "empty": False, "value": 1}, "value": 0.65},
            "strokeWidth": {"condition": {"param": "over", "empty": False, "value": 3.5}, "value": 1.4},
            "tooltip": {"field": "a"},
        },
    }
    rules = {
        "data": {"values": [{"k": index} for index in range(len(columns))]},
        "mark": {"type": "rule", "color": "var(--rule)"},
        "encoding": {"x": x, "y": {"value": 0}, "y2": {"value": HEIGHT}},
    }
    texts: Json = {
        "data": {"values": along},
        "mark": {"type": "text", "align": "left", "dx": 5, "color": "var(--ink)", "limit": 90},
        "encoding": {"x": x, "y": y, "text": {"field": "t"}},
    }
    halo = {**texts, "mark": {**texts["mark"], "color": "var(--paper)", "stroke": "var(--paper)", "strokeWidth": 4}}
    return {
        "width": "container",
        "height": HEIGHT,
        "params": [{"name": "names", "value": list(columns)}],
        "data": {"name": "rows"},
        "layer": [rules, runs, halo, texts],
    }
