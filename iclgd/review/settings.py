"""Runs of one section by their settings: those that differ in seeds alone are repetitions of one."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from iclgd.measures import range_of
from iclgd.report.comparisons import Estimate, estimate
from iclgd.report.settings import SEEDS, by_setting, spread
from iclgd.review.gather import ReviewedRun
from iclgd.review.texts import shortened
from iclgd.runs.answered_queries import TOLERANCE_OF_LIKENESS, Answered
from iclgd.runs.difference_intervals import Array, all_finite, crossed_means
from iclgd.runs.records import Value

NUM_SEEDS = "training.num_seeds"
DRAW, NUM_DRAWS = "demonstrations.seed", "demonstrations.num_draws"
# What changes how a run is watched, looked at or computed, and not what it is.
GROUPS_OF_NO_SETTING = ("analysis", "tracking")
NO_SETTINGS = (
    NUM_SEEDS,
    NUM_DRAWS,
    "trainer.accelerator",
    "trainer.devices",
    "trainer.num_nodes",
    "trainer.strategy",
    "trainer.num_threads",
    "evaluation.batch_size",
)
MOST_DRAWS = 1000  # of a run
OF_A_DRAW = re.compile(r"draw_(\d+)/(.+)")
OF_A_SEED = re.compile(r"(.+)/seed_(\d+)")
MOST_LETTERS_OF_VALUE = 24


@dataclass(frozen=True)
class Repetition:
    """A seed, or a draw of demonstrations, of a setting.

    Attributes:
        run: which one.
        seed: the number.
        numbers: of the run's summary, of this seed.
        untrained: the numbers at step 0, before training; none if they were not recorded.
    """

    run: ReviewedRun
    seed: int
    numbers: Mapping[str, float]
    untrained: Mapping[str, float]


@dataclass(frozen=True)
class Setting:
    """Complete runs that differ in seeds alone.

    Attributes:
        label: what tells it from the others of the section; empty for the only one.
        runs: at least one; no two have the same seeds.
        repeated: runs with the seeds of others: they are no repetitions, and count for nothing.
    """

    label: str
    runs: tuple[ReviewedRun, ...]
    repeated: tuple[ReviewedRun, ...] = ()

    @property
    def config(self) -> Mapping[str, Value]:
        """Return the config of the first run."""
        return self.runs[0].config

    @property
    def experiment(self) -> str:
        """Return the kind of experiment."""
        return self.runs[0].experiment

    @property
    def has_draws(self) -> bool:
        """Say whether its repetitions are draws of demonstrations."""
        return self.runs[0].has_draws

    @cached_property
    def repetitions(self) -> list[Repetition]:
        """Return what counts as repetitions: seeds of trained models, draws of demonstrations of text runs."""
        if self.has_draws:
            return [each for run in self.runs for each in _of_each_draw(run)]
        return [each for run in self.runs for each in _seeds(run)]

    @property
    def what(self) -> str:
        """Return what its repetitions are called."""
        return "draw" if self.has_draws else "seed"

    def values(self, name: str) -> list[float]:
        """Return a number of all repetitions that have it."""
        return [each.numbers[name] for each in self.repetitions if name in each.numbers]

    def estimate(self, name: str) -> Estimate | None:
        """Return a number with its 95 % interval: over repetitions, or of a single one what its run says.

        Args:
            name: of the summary.
        """
        values = self.values(name)
        if not values:
            return None
        if len(self.runs) == 1 and self.has_draws:  # of its draws a run says it itself
            return estimate(dict(self.runs[0].summary), name)
        if len(values) == 1:
            (numbers,) = (dict(each.numbers) for each in self.repetitions if name in each.numbers)
            return estimate(numbers, name)
        least, largest = range_of(name)
        if (found := self.crossed(name)) is not None:
            return Estimate(found.value, max(found.low, least), min(found.high, largest))
        return Estimate(*spread(values, (least, largest))[:3])

    def crossed(self, name: str, other: str | None = None) -> Estimate | None:
        """Return a number, or how far it is above another, with a 95 % interval over draws and queries.

        Args:
            name: of the summary.
            other: likewise.

        Returns:
            ``None`` of a single draw, and where not all runs have kept what all draws rest on, of the same queries.
        """
        ours, theirs = self._by_query(name), 0.0 if other is None else self._by_query(other)
        if ours is None or theirs is None or not all_finite(ours, np.asarray(theirs)):
            return None
        return Estimate(*crossed_means(np.zeros_like(ours), ours - theirs))

    def _by_query(self, name: str) -> Array | None:
        """Return a number of each draw and query, ``(K, Q)``, K at least 2."""
        if not self.has_draws or len(self.repetitions) < 2:
            return None
        queries = self.answered[0].queries(name)
        if any(set(queries) != set(each.queries(name)) for each in self.answered):
            return None
        found = [each.values(name, queries) for each in self.answered]
        if not all(each is not None for each in found):
            return None
        together: Array = np.concatenate([each for each in found if each is not None])
        summaries = [run.summary.get(name, math.nan) for run in self.runs]
        means = [math.nan if each is None else float(each.mean()) for each in found]
        return together if np.allclose(means, summaries, rtol=0, atol=TOLERANCE_OF_LIKENESS) else None

    @cached_property
    def answered(self) -> list[Answered]:
        """Return what each text run has answered, query by query."""
        return [Answered.read(run.predictions, draws_of(run)[0]) for run in self.runs]

    def derived(self, of: Callable[[Repetition], float | None]) -> list[float]:
        """Return what a function makes of each repetition, where it makes anything."""
        return [value for each in self.repetitions if (value := of(each)) is not None]


def settings_of(runs: Sequence[ReviewedRun], over: Sequence[str] = SEEDS) -> list[Setting]:
    """Put complete runs together that differ in seeds alone.

    Args:
        runs: of one section; those that are not complete are passed over.
        over: keys that are repetitions.
    """
    complete = [run for run in runs if run.is_complete]
    configs = [{key: value for key, value in run.config.items() if is_setting(key)} for run in complete]
    found = by_setting(zip(configs, complete, strict=True), over)
    labels = labels_of([setting for setting, _ in found])
    return [
        Setting(label, *_without_repeated(together, over)) for label, (_, together) in zip(labels, found, strict=True)
    ]


def is_setting(key: str) -> bool:
    """Say whether a key of a config decides what is measured."""
    return key not in NO_SETTINGS and key.partition(".")[0] not in GROUPS_OF_NO_SETTING


def labels_of(settings: Sequence[Mapping[str, object]]) -> list[str]:
    """Return what tells settings apart, nothing for a single one.

    Example:
        >>> labels_of([{"model.num_layers": 1, "task.name": "linear"}, {"model.num_layers": 2, "task.name": "linear"}])
        ['num_layers=1', 'num_layers=2']
        >>> labels_of([{"task.name": "sst2"}, {"task.name": "mr"}])
        ['task=sst2', 'task=mr']
    """
    keys = differing(settings)
    names = short_names(keys)
    labels = []
    for setting in settings:
        parts = [
            f"{names[key]}={shortened(value_text(setting[key]), MOST_LETTERS_OF_VALUE)}"
            for key in keys
            if key in setting
        ]
        labels.append(shortened(", ".join(parts)) or ("" if len(settings) == 1 else "defaults of another version"))
    return [
        label if labels.count(label) == 1 else f"{label} (setting {place})"
        for place, label in enumerate(labels, start=1)
    ]


def differing(configs: Sequence[Mapping[str, object]]) -> list[str]:
    """Return the keys in which configs differ, in their order.

    Example:
        >>> differing([{"a": 1, "b": 1}, {"a": 1, "b": 2, "c": 0}])
        ['b', 'c']
    """
    keys = dict.fromkeys(key for config in configs for key in config)
    absent = object()
    return [key for key in keys if len({repr(config.get(key, absent)) for config in configs}) > 1]


def short_names(keys: Sequence[str]) -> dict[str, str]:
    """Return the last parts of keys, of names what is named, or whole keys where these would be the same."""
    ends = [key.removesuffix(".name").rpartition(".")[2] for key in keys]
    return {key: end if ends.count(end) == 1 else key for key, end in zip(keys, ends, strict=True)}


def value_text(value: object) -> str:
    """Write a value of a config as YAML has it.

    Example:
        >>> value_text(None), value_text(True), value_text((1, "a")), value_text("x")
        ('null', 'true', '[1, a]', 'x')
    """
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case tuple() | list():
            return f"[{', '.join(map(value_text, value))}]"
        case _:
            return str(value)


def _without_repeated(
    runs: Sequence[ReviewedRun], over: Sequence[str]
) -> tuple[tuple[ReviewedRun, ...], tuple[ReviewedRun, ...]]:
    """Return the latest runs of all seeds, in their order, and those whose seeds a later one has too."""
    seen: set[tuple[object, int]] = set()
    kept: list[ReviewedRun] = []
    repeated: list[ReviewedRun] = []
    for run in reversed(runs):
        others = tuple(run.config.get(key) for key in over if key not in SEEDS)
        seeds = {(others, seed) for seed in (draws_of(run) if run.has_draws else run.seeds)}
        if seeds & seen:
            repeated.append(run)
        else:
            kept.append(run)
            seen |= seeds
    return tuple(reversed(kept)), tuple(reversed(repeated))


def draws_of(run: ReviewedRun) -> list[int]:
    """Return the seeds of a text run's draws of demonstrations; the seed of a run has no part in it."""
    first, number = run.config.get(DRAW, 0), run.config.get(NUM_DRAWS, 1)
    first, number = (first if type(first) is int else 0), (number if type(number) is int else 1)
    return list(range(first, first + max(1, min(number, MOST_DRAWS))))


def _of_each_draw(run: ReviewedRun) -> list[Repetition]:
    """Return a text run's numbers for each of its draws."""
    draws = draws_of(run)
    if len(draws) == 1:
        return [Repetition(run, draws[0], run.summary, {})]
    found: dict[int, dict[str, float]] = {place: {} for place in range(len(draws))}
    for name, value in run.summary.items():
        if match := OF_A_DRAW.fullmatch(name):
            found.setdefault(int(match[1]), {})[match[2]] = value
    return [Repetition(run, draw, found[place], {}) for place, draw in enumerate(draws)]


def _seeds(run: ReviewedRun) -> list[Repetition]:
    """Return a run's numbers for each of its seeds."""
    untrained = next((record for record in run.metrics[:1] if record.get("step") == 0), {})
    if len(run.seeds) < 2:
        return [Repetition(run, seed, run.summary, untrained) for seed in run.seeds]
    final, first = _by_seed(run.summary), _by_seed(untrained)
    return [Repetition(run, seed, final.get(seed, {}), first.get(seed, {})) for seed in run.seeds]


def _by_seed(numbers: Mapping[str, float]) -> dict[int, dict[str, float]]:
    found: dict[int, dict[str, float]] = {}
    for name, value in numbers.items():
        if match := OF_A_SEED.fullmatch(name):
            found.setdefault(int(match[2]), {})[match[1]] = value
    return found
