"""Runs of one section put together for charts: a group for each setting, whose runs are repetitions."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import methodcaller
from typing import Any

import numpy as np

from iclgd.report.results import Array, Curve, Results, drawable
from iclgd.report.settings import SEEDS, by_setting

MOST_SETTINGS = 6
NUMBER_OF_SEEDS = "training.num_seeds"
# What changes how a run is watched or computed, and not what it is.
OF_THE_TRAINER = ("accelerator", "devices", "num_nodes", "strategy", "num_threads")
NO_SETTINGS = ("analysis", "tracking", "evaluation.batch_size", *[f"trainer.{key}" for key in OF_THE_TRAINER])
LONGEST_LABEL, LONGEST_VALUE = 60, 24
MOST_NAMED = 3
FEWEST_SHOWN_SETTINGS = 2


@dataclass(frozen=True)
class ChartedRun:
    """What charts need of a run.

    Args:
        name: by which lines of what was left out call it.
        results: of it.
        config_name: of the config that it was made with.
        read_weights: reads its weights, when they are asked for.
        read_rows: reads the answers of a text run, a row for each query in each setting, when they are asked for.
    """

    name: str
    results: Results
    config_name: str = ""
    read_weights: Callable[[], dict[str, Array]] = dict
    read_rows: Callable[[], list[dict[str, Any]]] = list


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
        return sum(len(seeds_of(run.results)) for run in self.runs)

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


def groups_of(runs: Sequence[ChartedRun], notes: Notes) -> list[Group]:
    """Put runs together that differ in their seeds alone; in each setting a seed counts once.

    Args:
        runs: of one section; of those with the same setting and seed the last complete one is taken.
        notes: get what is left out.
    """
    configs = [flat(run.results.config) for run in runs]
    wanted = [{key: each for key, each in config.items() if not is_no_setting(key)} for config in configs]
    found = by_setting(zip(wanted, range(len(runs)), strict=True), (*SEEDS, NUMBER_OF_SEEDS))
    shown = found[:MOST_SETTINGS]
    if len(found) > len(shown):
        notes.add(f"charts show the first {len(shown)} of {len(found)} settings; all are in the tables")
    labels = labels_of([setting for setting, _ in found])
    groups, repeated = [], []
    for label, (_, places) in zip(labels, shown, strict=False):
        kept = _without_repeated([runs[place] for place in places])
        names = {id(run) for run in kept}
        repeated += [runs[place].name for place in places if id(runs[place]) not in names]
        first = next(place for place in places if runs[place] is kept[0])
        groups.append(Group(label, kept, configs[first]))
    if repeated:
        notes.add(
            f"charts: {listed(repeated)} repeat seeds of another run with the same setting, which is no repetition"
        )
    return groups


def _without_repeated(runs: Sequence[ChartedRun]) -> list[ChartedRun]:
    """Return the runs whose seeds no better run has, in their order: complete ones first, then later ones."""
    order = sorted(range(len(runs)), key=lambda place: (bool(runs[place].results.summary), place), reverse=True)
    seen: set[Hashable] = set()
    kept = set()
    for place in order:
        seeds = set(seeds_of(runs[place].results))
        if not seeds & seen:
            seen |= seeds
            kept.add(place)
    return [run for place, run in enumerate(runs) if place in kept]


def seeds_of(results: Results) -> list[tuple[Hashable, ...]]:
    """Return what tells the repetitions of a run from all others of its setting, one for each of its seeds.

    Example:
        >>> seeds_of(Results(config={"seed": 3, "training": {"num_seeds": 2}}))
        [(3, None), (4, None)]
    """
    config = flat(results.config)
    seed, others = config.get("seed", 0), tuple(config.get(key) for key in SEEDS[1:])
    number = config.get(NUMBER_OF_SEEDS, 1)
    if type(seed) is not int or type(number) is not int:
        return [(str(seed), *others)]
    return [(seed + index, *others) for index in range(max(1, number))]


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Hashable]:
    """Return nested values by their dotted keys, lists as tuples.

    Example:
        >>> flat({"seed": 0, "task": {"name": "linear", "sizes": [1, 2]}})
        {'seed': 0, 'task.name': 'linear', 'task.sizes': (1, 2)}
    """
    found: dict[str, Hashable] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = _hashable(value)
    return found


def _hashable(value: Any) -> Hashable:
    if isinstance(value, list):
        return tuple(_hashable(each) for each in value)
    return value if isinstance(value, Hashable) else repr(value)


def is_no_setting(key: str) -> bool:
    """Say whether a key of a config changes nothing that is measured."""
    return key in NO_SETTINGS or key.partition(".")[0] in NO_SETTINGS


def labels_of(settings: Sequence[Mapping[str, Hashable]]) -> list[str]:
    """Return what tells settings apart, empty for a single one.

    Example:
        >>> labels_of([{"model.num_layers": 1, "task.name": "linear"}, {"model.num_layers": 2, "task.name": "linear"}])
        ['num_layers=1', 'num_layers=2']
    """
    if len(settings) < FEWEST_SHOWN_SETTINGS:
        return [""] * len(settings)
    keys = list(dict.fromkeys(key for setting in settings for key in setting))
    absent = object()
    differing = [key for key in keys if len({setting.get(key, absent) for setting in settings}) > 1]
    ends = [key.rpartition(".")[2] for key in differing]
    names = [end if ends.count(end) == 1 else key for key, end in zip(differing, ends, strict=True)]
    labels = []
    for setting in settings:
        parts = [
            f"{name}={shortened(setting[key], LONGEST_VALUE)}"
            for key, name in zip(differing, names, strict=True)
            if key in setting
        ]
        labels.append(shortened(", ".join(parts) or "defaults of another version", LONGEST_LABEL))
    return [
        label if labels.count(label) == 1 else f"{label} (setting {place})"
        for place, label in enumerate(labels, start=1)
    ]


def shortened(value: object, most: int) -> str:
    """Return a text that is printable and no longer than a chart can bear.

    Example:
        >>> shortened("a\\tb", 10), shortened("x" * 100, 5)
        ('a b', 'xx...')
    """
    text = "".join(letter if letter.isprintable() else " " for letter in str(value)[: 4 * most])
    return text if len(text) <= most else f"{text[: most - 3]}..."


def listed(names: Sequence[str]) -> str:
    """Write names one after the other, of many the first ones.

    Example:
        >>> listed(["a", "b"]), listed(["a", "b", "c", "d", "e"])
        ('a, b', 'a, b, c and 2 more')
    """
    rest = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + f" and {rest} more" * (rest > 0)


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
    rows: list[Array] = []
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


def _seed(run: ChartedRun, index: int) -> Hashable:
    seeds = seeds_of(run.results)
    return seeds[index][0] if index < len(seeds) else index
