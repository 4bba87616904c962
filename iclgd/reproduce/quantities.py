"""The quantity of a claim, measured on the runs of a sweep: an estimate with its interval, or why there is none."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from iclgd.report.comparisons import Estimate
from iclgd.report.settings import spread
from iclgd.reproduce.paper import Claim
from iclgd.review.gather import ReviewedRun
from iclgd.review.settings import Repetition, Setting, is_setting, settings_of
from iclgd.review.texts import shortened
from iclgd.review.verdict import compare, estimate_text
from iclgd.review.wide_headline import mean_over
from iclgd.runs.records import Value
from iclgd.sweeps.file.parameter import to_text
from iclgd.sweeps.progress.settings import Row

SEED_KEYS = ("seed", "demonstrations.seed")


class NoQuantity(Exception):  # noqa: N818
    """A claim's quantity cannot be measured; the message says why."""


@dataclass(frozen=True)
class Quantity:
    """What was measured.

    Attributes:
        estimate: with its 95 % interval; NaN where there is none.
        number: of seeds or draws, in the setting that has fewest.
        what: these are, ``seed`` or ``draw``.
        parts: a text for each of several settings, such as tasks, of which the estimate is the mean.
        runs: names of the runs that it is of.
    """

    estimate: Estimate
    number: int
    what: str
    parts: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()


def measured(claim: Claim, rows: Sequence[Row], runs: Sequence[ReviewedRun]) -> Quantity:
    """Return a claim's quantity.

    Args:
        claim: what is asked.
        rows: the trials of its sweep.
        runs: those that they have made.

    Raises:
        NoQuantity: if a trial that it needs is not done, or a number was not recorded.
    """
    sides = [_of(claim, items, rows, runs) for items in (claim.where, *([claim.than] if claim.than else []))]
    first = sides[0]
    if not claim.than:
        found = [_of_setting(claim, setting) for setting in first]
    else:
        found = [_difference(claim, setting, _counterpart(claim, setting, sides[1])) for setting in first]
    names = tuple(dict.fromkeys(run.name for side in sides for setting in side for run in setting.runs))
    if len(found) == 1:
        return replace(found[0], runs=names)
    mean = mean_over([each.estimate for each in found])
    assert mean is not None  # none of the estimates is
    parts = tuple(
        f"{setting.label}: {estimate_text(each.estimate)}" for setting, each in zip(first, found, strict=True)
    )
    return Quantity(mean, min(each.number for each in found), found[0].what, parts, names)


def _of(claim: Claim, where: Sequence[str], rows: Sequence[Row], runs: Sequence[ReviewedRun]) -> list[Setting]:
    """Return the settings of the runs that are meant, each at its best value of ``tuned``."""
    meant = [row for row in rows if all(_has(row, item) for item in where)]
    if not meant:
        raise NoQuantity(f"the sweep has no run with {' '.join(where)}" if where else "the sweep has no runs")
    missing = [row for row in meant if row.state != "done"]
    if missing:
        why = next((row.failure for row in missing if row.failure), None)
        states = ", ".join(sorted({row.state for row in missing})) + (f": {shortened(why, 200)}" if why else "")
        raise NoQuantity(f"{len(missing)} of its {len(meant)} runs are not done ({states})")
    names = {row.run_directory.name for row in meant if row.run_directory is not None}
    settings = settings_of([run for run in runs if run.name in names])
    if sum(len(setting.runs) for setting in settings) < len(meant):
        raise NoQuantity(f"of its {len(meant)} runs not all can be read")
    return settings if claim.tuned is None else _tuned(claim, settings)


def _has(row: Row, item: str) -> bool:
    key, _, value = item.partition("=")
    return key in row.values and to_text(row.values[key]) == value


def _tuned(claim: Claim, settings: Sequence[Setting]) -> list[Setting]:
    """Return of settings that differ in ``tuned`` alone the one with the least mean of ``tuned_by``."""
    assert claim.tuned is not None
    assert claim.tuned_by is not None
    groups: dict[frozenset[tuple[str, Value]], list[tuple[float, Setting]]] = {}
    for setting in settings:
        mean = spread(values).mean if (values := setting.values(claim.tuned_by)) else math.nan
        groups.setdefault(_without(setting, [claim.tuned]), []).append((mean, setting))
    best = []
    for group in groups.values():
        finite = [each for each in group if math.isfinite(each[0])]
        if not finite:
            raise NoQuantity(f"{claim.tuned_by} is finite at no value of {claim.tuned}")
        best.append(min(finite, key=lambda each: each[0])[1])
    return best


def _counterpart(claim: Claim, setting: Setting, others: Sequence[Setting]) -> Setting:
    """Return the setting that differs in the keys of ``where`` and ``than`` alone, and in what was tuned."""
    keys = [item.partition("=")[0] for item in (*claim.where, *claim.than)] + ([claim.tuned] if claim.tuned else [])
    alike = [other for other in others if _without(other, keys) == _without(setting, keys)]
    if len(alike) != 1:
        raise NoQuantity(
            f"{len(alike)} settings with {' '.join(claim.than)} are like that with {' '.join(claim.where)}"
        )
    return alike[0]


def _without(setting: Setting, keys: Sequence[str]) -> frozenset[tuple[str, Value]]:
    left = {key: value for key, value in setting.config.items() if is_setting(key) and key not in (*keys, *SEED_KEYS)}
    return frozenset(left.items())


def _of_setting(claim: Claim, setting: Setting) -> Quantity:
    if claim.analysis is not None:
        values = [value for run in setting.runs for value in _of_analysis(claim, run)]
        return Quantity(Estimate(*spread(values)[:3]), len(values), "seed")
    values = list(_by_seed(claim, setting).values())
    found: Estimate | None = Estimate(*spread(values)[:3])
    if claim.minus is not None:
        comparison = compare(setting, claim.value, claim.minus)
        found = comparison.difference if comparison is not None else None
    elif claim.over is None:
        found = setting.estimate(claim.value)
    assert found is not None  # there are values
    return Quantity(found, len(values), setting.what)


def _difference(claim: Claim, setting: Setting, other: Setting) -> Quantity:
    """Return how far a setting's quantity is above another's, paired over the seeds or draws of both."""
    if claim.analysis is not None:
        raise NoQuantity("numbers of an analysis are not compared between settings")
    ours, theirs = _by_seed(claim, setting), _by_seed(claim, other)
    if ours.keys() != theirs.keys():
        raise NoQuantity(f"the {setting.what}s of both sides are not the same")
    values = [value - theirs[seed] for seed, value in ours.items()]
    return Quantity(Estimate(*spread(values)[:3]), len(values), setting.what)


def _by_seed(claim: Claim, setting: Setting) -> dict[int, float]:
    """Return the quantity of each seed or draw.

    Raises:
        NoQuantity: if one of them lacks a number.
    """
    return {each.seed: _of_repetition(claim, each) for each in setting.repetitions}


def _of_repetition(claim: Claim, each: Repetition) -> float:
    names = [name for name in (claim.value, claim.over, claim.minus) if name is not None]
    if missing := [name for name in names if name not in each.numbers]:
        raise NoQuantity(f"{missing[0]} was not recorded by {each.run.name}")
    value, *others = (each.numbers[name] for name in names)
    if not others:
        return value
    return value - others[0] if claim.minus is not None else _ratio(value, others[0])


def _ratio(value: float, other: float) -> float:
    return value / other if other else math.nan


def _of_analysis(claim: Claim, run: ReviewedRun) -> list[float]:
    """Return the quantity of each seed of a run, from what an analysis found.

    Raises:
        NoQuantity: if it is not there, or of another shape.
    """
    record: Any = run.analyses.get(str(claim.analysis))
    where = "/".join([str(claim.analysis), *claim.inside])
    for key in claim.inside:
        record = record.get(key) if isinstance(record, Mapping) else None
    names = [claim.value, *([claim.over] if claim.over is not None else [])]
    if not isinstance(record, Mapping) or not all(_are_points(record.get(name)) for name in names):
        raise NoQuantity(f"{where} has no points of {' and '.join(names)} in {run.name}")
    if claim.over is None:
        return [float(points[-1]) for points in record[claim.value]]
    pairs = zip(record[claim.value], record[claim.over], strict=True)
    return [_chosen(claim, [_ratio(*pair) for pair in zip(*lists, strict=True)]) for lists in pairs]


def _are_points(lists: Any) -> bool:
    """Say whether something is a list over seeds of lists of numbers, none of them empty."""
    return (
        isinstance(lists, list)
        and bool(lists)
        and all(isinstance(points, list) and points for points in lists)
        and all(type(point) in (int, float) for points in lists for point in points)
    )


def _chosen(claim: Claim, ratios: Sequence[float]) -> float:
    """Return the point that counts; NaN if one among which it is chosen is no positive number."""
    if claim.take == "last":
        return ratios[-1]
    if not all(math.isfinite(ratio) and ratio > 0 for ratio in ratios):
        return math.nan
    return max(ratios, key=lambda ratio: abs(math.log(ratio)))
