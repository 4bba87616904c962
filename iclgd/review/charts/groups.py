"""Runs of one section put together for charts: a group for each setting, whose runs are repetitions."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import methodcaller
from typing import Any

import numpy as np

from iclgd.report.results import Curve, Results, drawable
from iclgd.report.settings import SEEDS, by_setting
from iclgd.review.gather import ReviewedRun
from iclgd.review.settings import draws_of, is_setting, labels_of
from iclgd.review.texts import listed

MOST_SETTINGS, MOST_TASKS = 6, 12  # of text runs there may be six tasks, each with two kinds of finetuning


@dataclass(frozen=True)
class ChartedRun:
    """A run, and its numbers as figures take them.

    Args:
        run: which.
        results: without weights.
    """

    run: ReviewedRun
    results: Results

    @property
    def name(self) -> str:
        """Return how lines of what was left out call it."""
        return self.run.name

    @property
    def seeds(self) -> tuple[int, ...]:
        """Return the seeds of its trained models, or the draws of a text run's demonstrations."""
        return seeds_of(self.run)


@dataclass(frozen=True)
class Group:
    """The runs of one setting.

    Args:
        label: what tells it from the others of the section; empty for the only one.
        runs: at least one; no two have the same seeds.
        config: of the first one, flat.
    """

    label: str
    runs: Sequence[ChartedRun]
    config: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Return how the group is called where a name is needed."""
        return self.label or "all runs"

    @property
    def num_repetitions(self) -> int:
        """Return the number of seeds of all runs."""
        return sum(max(1, len(run.seeds)) for run in self.runs)

    def names(self, found: Callable[[Results], Sequence[str]]) -> list[str]:
        """Return names that any run has, in the order in which they are found."""
        return list(dict.fromkeys(name for run in self.runs for name in found(run.results)))


@dataclass
class Notes:
    """Lines of what was left out, each once."""

    lines: dict[str, None] = field(default_factory=dict)

    def add(self, line: str) -> None:
        """Add a line."""
        self.lines.setdefault(line)


def groups_of(runs: Sequence[ReviewedRun], notes: Notes, over: Sequence[str] = SEEDS) -> list[Group]:
    """Put runs together that differ in their seeds alone; in each setting a seed counts once.

    Settings keep their order, but those of which no run is complete come last.

    Args:
        runs: of one section, in any state; of those with the same setting and seed the last complete one is taken.
        notes: get what is left out.
        over: keys of configs that are repetitions.
    """
    unreadable = [run.name for run in runs if not run.config]
    if unreadable:
        notes.add(f"charts: without {listed(unreadable)}, whose config cannot be read")
    runs = [run for run in runs if run.config]
    configs = [{key: value for key, value in run.config.items() if is_setting(key)} for run in runs]
    found = by_setting(zip(configs, runs, strict=True), over)
    found.sort(key=lambda each: not any(run.is_complete for run in each[1]))  # what has come to its end is shown first
    shown = found[: MOST_TASKS if all(run.has_draws for run in runs) else MOST_SETTINGS]
    if len(found) > len(shown):
        notes.add(f"charts show the first {len(shown)} of {len(found)} settings; all are in the tables")
    labels = labels_of([setting for setting, _ in found])
    groups = []
    repeated: list[str] = []
    for label, (_, together) in zip(labels, shown, strict=False):
        kept = _without_repeated(together, over)
        repeated += [run.name for run in together if all(run is not other for other in kept)]
        groups.append(Group(label, [ChartedRun(run, run.results()) for run in kept], kept[0].config))
    if repeated:
        notes.add(f"charts: {listed(repeated)} had the setting and the seed of another run, and count for nothing")
    return groups


def _without_repeated(runs: Sequence[ReviewedRun], over: Sequence[str]) -> list[ReviewedRun]:
    """Return the runs whose seeds no better run has, in their order: complete ones first, then later ones."""
    order = sorted(range(len(runs)), key=lambda place: (runs[place].is_complete, place), reverse=True)
    seen: set[tuple[Hashable, ...]] = set()
    kept = set()
    for place in order:
        others = [runs[place].config.get(key) for key in over if key not in SEEDS]
        seeds = {(seed, *others) for seed in seeds_of(runs[place])}
        if not seeds & seen:
            seen |= seeds
            kept.add(place)
    return [run for place, run in enumerate(runs) if place in kept]


def seeds_of(run: ReviewedRun) -> tuple[int, ...]:
    """Return the seeds of a run; of a text run, in which the seed has no part, the draws of its demonstrations."""
    return tuple(draws_of(run)) if run.has_draws else run.seeds


def together(group: Group, read: Callable[[Results], Curve | None], what: str, notes: Notes) -> Curve | None:
    """Return a quantity of all repetitions; ``None`` if no run has it.

    Runs that lack points which another one has are left out: a mean over others at every place is no curve.

    Args:
        group: whose.
        read: gets it of one run.
        what: it is called.
        notes: get what is left out, and where numbers are not finite.
    """
    curves = [(run, curve) for run in group.runs if (curve := read(run.results)) is not None and curve.values.size]
    if not curves:
        return None
    _, longest = max(curves, key=lambda each: len(each[1].x))
    rows = []
    for run, curve in curves:
        if not np.array_equal(curve.x, longest.x):
            notes.add(f"{what}: {run.name} has {len(curve.x)} of {len(longest.x)} points, and is not in the mean")
            continue
        rows.append(curve.values)
        _note_not_finite(run, curve, what, notes)
    return Curve(longest.x, np.concatenate(rows))


def curve_of(group: Group, name: str, notes: Notes) -> Curve | None:
    """Return what was logged under a name over training, of all repetitions."""
    return together(group, methodcaller("curve", name), said(group, name), notes)


def said(group: Group, name: str) -> str:
    """Return how lines about a quantity of a group begin."""
    return f"{name} ({group.label})" if group.label else name


def _note_not_finite(run: ChartedRun, curve: Curve, what: str, notes: Notes) -> None:
    gaps = np.isnan(drawable(curve.values))
    for index in np.flatnonzero(gaps.any(1)):
        first = curve.x[gaps[index].argmax()]
        seed = f", seed {_seed(run, int(index))}" if len(curve.values) > 1 else ""
        notes.add(f"{what}: not finite in {run.name}{seed}, at {int(gaps[index].sum())} points, first at {first:g}")


def _seed(run: ChartedRun, index: int) -> int:
    return run.seeds[index] if index < len(run.seeds) else index
