"""Charts of a sweep: its metric against each swept key, all keys at once, which key decides, and the best settings."""

import itertools
import math
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from iclgd.report.settings import spread
from iclgd.report.style import DECADES
from iclgd.review.charts.groups import Notes
from iclgd.review.charts.points import decades, number, numbers, short
from iclgd.review.document import Axis, Chart, Live, Parallel, Plot, Series
from iclgd.review.texts import shortened
from iclgd.sweeps.file.parameter import to_text
from iclgd.sweeps.progress.importance import FEWEST_TRIALS, importance
from iclgd.sweeps.progress.reading import SweepResults
from iclgd.sweeps.progress.settings import Row, Setting, hashable, is_finite, ranked

MOST_KEYS, MOST_TRIALS, MOST_LINES, NUM_BEST = 12, 600, 300, 10
LONGEST = 60


def sweep_charts(results: SweepResults) -> tuple[list[Chart], list[str]]:
    """Return the charts of a sweep, and lines of what was left out and why.

    Args:
        results: of :func:`iclgd.sweeps.progress.reading.read_sweep`.
    """
    notes = Notes()
    if results.metric is None:
        return [], ["the sweep file names no metric: no charts of the sweep"]
    rows = [row for row in results.rows if is_finite(row)]
    not_finite = [row for row in results.rows if row.state == "done" and row not in rows]
    if not_finite:
        which = ", ".join(str(row.number) for row in not_finite[:10])
        more = f" and {len(not_finite) - 10} more" if len(not_finite) > 10 else ""
        notes.add(f"{results.metric} is not finite in trials {which}{more}: they are in no chart")
    states = [row.state for row in results.rows if row.state != "done"]
    if states:
        counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
        notes.add(f"trials without a result are in no chart: {counts}")
    if not rows:
        notes.add("no trial is done with a finite metric: no charts of the sweep")
        return [], [*notes.lines]
    if len(results.keys) > MOST_KEYS:
        notes.add(f"charts of the first {MOST_KEYS} of {len(results.keys)} swept keys")
    keys = results.keys[:MOST_KEYS]
    charts = [
        *_against_keys(results, rows, keys, notes),
        *_parallel(results, rows, keys, notes),
        *_importance(results, notes),
        *_best(results, notes),
    ]
    return charts, [*notes.lines]


def _title(what: str, results: SweepResults, num_trials: int) -> str:
    seeds = sorted({setting.done for setting in results.settings if setting.done})
    of = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    settings = sum(bool(setting.done) for setting in results.settings)
    parts = f"{settings} settings of {of} seed{'s' * (seeds != [1])}, {num_trials} trials"
    return f"{what}: {shortened(results.name, LONGEST)}; {parts}"


def _against_keys(results: SweepResults, rows: Sequence[Row], keys: Sequence[str], notes: Notes) -> list[Chart]:
    """Return the metric against each key: points of trials, and for each value the mean over settings.

    A setting counts once, by the mean of its seeds: intervals are over settings with the same value, or, where a key's
    value has only one setting, over its seeds.
    """
    metric = shortened(results.metric, LONGEST)
    panels, texts = [], []
    is_log = decades([np.array([row.metric for row in rows], float)], DECADES)
    is_log = is_log and all(row.metric is not None and row.metric > 0 for row in rows)
    for key in keys:
        having = [row for row in rows if key in row.values]
        if len(having) > MOST_TRIALS:
            notes.add(f"{key}: points of {MOST_TRIALS} of {len(having)} trials, evenly; means are of all")
            having = [having[place] for place in np.linspace(0, len(having) - 1, MOST_TRIALS).round().astype(int)]
        if not having:
            continue
        is_numeric = all(_is_number(row.values[key]) for row in rows if key in row.values)
        place = _number_of if is_numeric else _text_of
        points = Series(
            "trials",
            [place(row.values[key]) for row in having],
            numbers(row.metric for row in having if row.metric is not None),
            joined=False,
        )
        means, over = _means(results.settings, key, is_numeric)
        series = [points, means] if means.x else [points]
        values = [float(row.values[key]) for row in having] if is_numeric else []
        is_log_key = bool(values) and min(values) > 0 and max(values) > DECADES * min(values)
        panels.append(
            Plot(shortened(key, LONGEST), Axis(shortened(key, LONGEST), is_log_key), Axis(metric, is_log), series)
        )
        texts.append(f"{key}: {_best_value(means, results.goal)}{over}")
    if not panels:
        return []
    what = _title(f"{metric} against each swept key", results, len(rows))
    live = Live("scatter", [results.metric or "", *[f"config.{key}" for key in keys]])
    return [Chart("metric_by_key", what, panels, "; ".join(texts) + ".", live)]


def _means(settings: Sequence[Setting], key: str, is_numeric: bool) -> tuple[Series, str]:
    """Return the mean for each value of a key with its interval, and over what that is, in words."""
    of_value: dict[Hashable, list[Setting]] = {}
    for setting in settings:
        if key in setting.values and setting.is_finite:
            of_value.setdefault(hashable(setting.values[key]), []).append(setting)
    found = list(of_value.values())
    if is_numeric:
        found.sort(key=lambda each: float(each[0].values[key]))
    is_over_seeds = all(len(each) == 1 for each in found)
    place = _number_of if is_numeric else _text_of
    spreads = [
        each[0].spread if is_over_seeds else spread([one.spread.mean for one in each if one.spread]) for each in found
    ]
    shown = [each for each in spreads if each is not None]
    label = "mean of seeds" if is_over_seeds else "mean of settings"
    series = Series(
        label,
        [place(each[0].values[key]) for each in found],
        numbers(each.mean for each in shown),
        numbers(each.low for each in shown),
        numbers(each.high for each in shown),
        "transformer",
        joined=is_numeric,
    )
    return series, f" (95 % intervals over {'seeds' if is_over_seeds else 'settings'})"


def _best_value(means: Series, goal: str) -> str:
    there = [(y, x) for x, y in zip(means.x, means.y, strict=True) if y is not None]
    if not there:
        return "no mean"
    pick = max if goal == "maximize" else min
    y, x = pick(there, key=lambda each: each[0])
    place = list(means.x).index(x)
    interval = f" [{short(means.low[place])}, {short(means.high[place])}]" if means.low[place] is not None else ""
    return f"best mean {short(y)}{interval} at {x}, of {len(there)} value{'s' * (len(there) != 1)}"


def _parallel(results: SweepResults, rows: Sequence[Row], keys: Sequence[str], notes: Notes) -> list[Chart]:
    """Return a line for each trial over all keys and the metric."""
    metric = shortened(results.metric, LONGEST)
    if not keys:
        return []
    shown = rows
    if len(rows) > MOST_LINES:
        notes.add(
            f"parallel coordinates: {MOST_LINES} of {len(rows)} trials, evenly over their metric, the best among them"
        )
        order = sorted(rows, key=lambda row: row.metric or 0.0)
        places = np.linspace(0, len(order) - 1, MOST_LINES).round().astype(int)
        shown = [order[place] for place in places]
    cells = [[*[_cell(row.values.get(key)) for key in keys], number(row.metric or 0.0)] for row in shown]
    panel = Parallel("", [*[shortened(key, LONGEST) for key in keys], metric], cells)
    text = f"Lines of {len(shown)} trials over {', '.join(keys)} and {metric}, which is {_range(rows)}."
    live = Live("parallel", [*[f"config.{key}" for key in keys], results.metric or ""])
    return [
        Chart("parallel_coordinates", _title("trials over all swept keys", results, len(shown)), [panel], text, live)
    ]


def _importance(results: SweepResults, notes: Notes) -> list[Chart]:
    """Return the share of each key in what tells the best trials from all."""
    found = importance(results.rows, results.goal, results.seed_keys)
    if found is None:
        notes.add(
            f"importance of keys: it needs {FEWEST_TRIALS} trials with different metrics, and a key with several values"
        )
        return []
    keys = list(found)[:MOST_KEYS]
    bars = Series(
        "importance", [shortened(key, LONGEST) for key in keys], numbers(found[key] for key in keys), joined=False
    )
    panel = Plot("", Axis("key"), Axis("importance (PED-ANOVA)"), [bars], bars=True)
    text = "Importance: " + ", ".join(f"{key} {short(found[key])}" for key in keys) + "."
    metric = shortened(results.metric, LONGEST)
    num_trials = sum(is_finite(row) for row in results.rows)
    what = _title(f"which key decides {metric}", results, num_trials)
    return [Chart("importance", what, [panel], text, Live("importance", [results.metric or ""]))]


def _best(results: SweepResults, notes: Notes) -> list[Chart]:
    """Return the best settings by their means, the best first, with intervals over seeds."""
    finite = [setting for setting in ranked(results.settings, results.goal) if setting.is_finite]
    shown = finite[:NUM_BEST]
    if len(finite) > len(shown):
        notes.add(f"best settings: the first {len(shown)} of {len(finite)}")
    spreads = [setting.spread for setting in shown if setting.spread is not None]
    names = _told_apart([shortened(results.text(setting), LONGEST) for setting in shown])
    bars = Series(
        "mean over seeds",
        names,
        numbers(each.mean for each in spreads),
        numbers(each.low for each in spreads),
        numbers(each.high for each in spreads),
        joined=False,
    )
    metric = shortened(results.metric, LONGEST)
    panel = Plot("", Axis("setting"), Axis(metric), [bars], bars=True)
    most = max(setting.done for setting in results.settings)
    texts = []
    for name, setting, each in zip(names, shown, spreads, strict=True):
        interval = f" [{short(each.low)}, {short(each.high)}]" if math.isfinite(each.low) else ""
        why = setting.why_not_best(most)
        texts.append(
            f"{name}: {short(each.mean)}{interval}, {each.number} seeds" + f" (provisional: {why})" * bool(why)
        )
    what = _title(
        f"best settings by mean {metric} ({results.goal}), 95 % intervals over seeds", results, len(results.rows)
    )
    return [Chart("best_settings", what, [panel], "; ".join(texts) + ".", Live("bars", [results.metric or ""]))]


def _told_apart(names: Sequence[str]) -> list[str]:
    """Return names with a number where several are the same.

    Example:
        >>> _told_apart(["a", "b", "a"])
        ['a', 'b', 'a (2)']
    """
    counts: dict[str, itertools.count[int]] = {}
    places = [next(counts.setdefault(name, itertools.count(1))) for name in names]
    return [name if place == 1 else f"{name} ({place})" for name, place in zip(names, places, strict=True)]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _number_of(value: Any) -> float:
    found = number(value)
    return math.nan if found is None else found


def _text_of(value: Any) -> str:
    return shortened(to_text(value), LONGEST)


def _cell(value: Any) -> float | str | None:
    if value is None:
        return None
    return number(value) if _is_number(value) else _text_of(value)


def _range(rows: Sequence[Row]) -> str:
    values = [row.metric for row in rows if row.metric is not None]
    return f"from {short(min(values))} to {short(max(values))}"
