"""Runs beside the first of them: what differs in their configs, and by how much their numbers differ.

:func:`iclgd.compare` is another thing: it asks a language model in context and finetuned, without a run directory.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from iclgd.checks import InputError
from iclgd.full_keys import flat
from iclgd.report.comparison_table import MEMORY, SPEED
from iclgd.report.comparisons import REC2FTP_QUERIES, controls_of, estimate
from iclgd.report.results import OF_A_DRAW, OF_A_LAYER, OF_A_SEED, of_seeds
from iclgd.runs.answered_queries import Answered, on_queries
from iclgd.runs.difference_intervals import (
    Array,
    Interval,
    all_finite,
    from_intervals,
    paired_means,
    unpaired_means,
)
from iclgd.runs.opening import complete_summary, open_directory, recorded_values
from iclgd.tracking.predictions import read_predictions
from iclgd.tracking.run_directory import RunDirectory, RunDirectoryError

ENVIRONMENT = ("version", "commit", "device")  # what is compared of it
SAME_TASKS = ("seed", "evaluation.num_tasks", "trainer.precision")  # keys, beside the group task
OF_NO_TASK = (SPEED, MEMORY, REC2FTP_QUERIES)  # no need to compute anything again
OF_A_PART = (OF_A_DRAW, OF_A_LAYER, OF_A_SEED)  # of names that are parts of other numbers
RELATIVE, ABSOLUTE = 1e-3, 1e-7  # between a number of the summary and the same from the weights


class Difference(NamedTuple):
    """A number of two runs.

    Attributes:
        name: of the number.
        first: of the first run; where queries are paired and not all were seen by both, on those that were.
        second: of the other run.
        interval: of the second minus the first, at 95 %; ``None`` if there is none.
        how: paired or unpaired and over what, or why there is no interval.
    """

    name: str
    first: float
    second: float
    interval: Interval | None
    how: str


class RunComparison(NamedTuple):
    """Runs beside the first one.

    Attributes:
        runs: their paths.
        config: the keys that differ, with each run's value; ``None`` as text if it has no such key.
        environment: of version, commit and device those that differ, likewise.
        differences: for each run but the first, its numbers beside the first one's.
        notes: what else is to be known, a line each.
    """

    runs: list[Path]
    config: dict[str, list[Any]]
    environment: dict[str, list[Any]]
    differences: list[list[Difference]]
    notes: list[str]


class _Opened:
    """A complete run, and of what it measured its parts, read once when they are asked for."""

    def __init__(self, path: Path) -> None:
        self.directory: RunDirectory = open_directory(path)
        self.path = path
        self.summary = {
            name: math.nan if value is None else value for name, value in complete_summary(self.directory).items()
        }
        self.config = flat(recorded_values(self.directory))
        self._answered: Answered | None = None
        self._per_task: dict[str, Array] | None = None
        self.notes: list[str] = []

    @property
    def answered(self) -> Answered:
        if self._answered is None:
            seed = self.config.get("demonstrations.seed")
            self._answered = Answered.read(read_predictions(self.directory), seed if isinstance(seed, int) else 0)
        return self._answered

    @property
    def per_task(self) -> dict[str, Array]:
        """Return numbers of each task, those that give the summary's number again."""
        if self._per_task is None:
            from iclgd.runs.recorded import recorded_config, recorded_experiment  # seconds, for what is computed again

            self._per_task = {}
            try:
                experiment = recorded_experiment(self.directory)
                found = experiment.per_task(recorded_config(self.directory), self.directory)
            except RunDirectoryError as error:
                self.notes.append(str(error))
                return self._per_task
            of_summary = {name: values for name, values in found.items() if name in self.summary}
            self._per_task = {
                name: values
                for name, values in of_summary.items()
                if math.isclose(float(values.mean()), self.summary[name], rel_tol=RELATIVE, abs_tol=ABSOLUTE)
            }
            if others := [name for name in of_summary if name not in self._per_task]:
                self.notes.append(f"{self.path}: the weights do not give these numbers again: {', '.join(others)}")
        return self._per_task


def compare_runs(paths: Sequence[str | Path], everything: bool = False) -> RunComparison:
    """Compare complete runs of one experiment with the first of them.

    Accuracies are paired over the queries that both runs saw (score intervals, Tango 1998), and so are likenesses
    (Student's t); of several draws of demonstrations both, over draws and queries (:mod:`iclgd.metrics.crossed`).
    Losses and alignments are paired over tasks if both runs were evaluated on the same ones (Student's t of the
    differences; each task is computed again from the weights). Runs of several seeds are paired over seeds if they have
    the same, else compared by Welch's t. What is left has the interval that follows from both runs' own (Zou & Donner
    2008), as if they had nothing in common.

    Args:
        paths: of two or more run directories.
        everything: also numbers of controls.

    Raises:
        InputError: for fewer than two, for one that is given twice, and for different experiments.
        RunDirectoryError: if one is no directory of a complete run.

    Example:
        >>> from iclgd.runs import compare_runs
        >>> compare_runs(["tests/reference/runs/debug/20261125-000000-e4bb99"])
        Traceback (most recent call last):
        iclgd.checks.InputError: compare needs at least two runs, got 1
    """
    if len(paths) < 2:
        raise InputError(f"compare needs at least two runs, got {len(paths)}")
    folders = [Path(path).expanduser() for path in paths]
    seen: dict[Path, Path] = {}
    for folder in folders:
        if (before := seen.setdefault(folder.resolve(), folder)) is not folder:
            raise InputError(f"{folder}: is the same run as {before}" if folder != before else f"{folder}: given twice")
    opened = [_Opened(folder) for folder in folders]
    for run in opened[1:]:
        if run.config.get("experiment") != opened[0].config.get("experiment"):
            raise InputError(
                f"{run.path}: has experiment: {run.config.get('experiment')}, but {opened[0].path} has experiment: "
                f"{opened[0].config.get('experiment')}; only runs of one experiment can be compared"
            )
    differences, notes = [], []
    for run in opened[1:]:
        names = [name for name in opened[0].summary if name in run.summary]
        differences.append([_difference(name, opened[0], run) for name in _shown(names, everything)])
        for one, other in ((opened[0], run), (run, opened[0])):
            missing = _shown([name for name in one.summary if name not in other.summary], everything)
            notes += [f"only {one.path} has: {', '.join(missing)}"] * bool(missing)
    for run in opened:
        notes += run.notes
    return RunComparison(
        folders,
        _differing([run.config for run in opened]),
        _differing([_environment(run.directory) for run in opened]),
        differences,
        notes,
    )


def _difference(name: str, first: _Opened, second: _Opened) -> Difference:
    """Compare a number of two runs by the best way that there is."""
    values = first.summary[name], second.summary[name]
    found = on_queries(name, first.answered, second.answered, (first.summary, second.summary))
    if not isinstance(found, str):
        return Difference(name, *found)
    reason = found
    if not all_finite(values):
        return Difference(name, *values, None, "no interval: not finite")
    one, other = estimate(first.summary, name), estimate(second.summary, name)
    if one is not None and other is not None and all_finite(one, other):
        how = f"unpaired: from both intervals{f' ({reason})' if reason else ''}"
        return Difference(name, *values, from_intervals(one, other), how)
    seeds = [np.array(of_seeds(run.summary, name), float) for run in (first, second)]
    if max(map(len, seeds)) > 1:
        return _over_seeds(name, first, second, seeds)
    if name not in OF_NO_TASK and name in first.per_task and name in second.per_task:
        tasks = first.per_task[name], second.per_task[name]
        if not all_finite(*tasks) or min(map(len, tasks)) < 2:
            return Difference(name, *values, None, "no interval: tasks are not finite, or only one")
        if _have_same_tasks(first.config, second.config):
            return Difference(name, *values, paired_means(*tasks), f"paired: {len(tasks[0]):,} tasks")
        how = f"unpaired: {len(tasks[0]):,} and {len(tasks[1]):,} tasks"
        return Difference(name, *values, unpaired_means(*tasks), how)
    return Difference(name, *values, None, "no interval: one number each")


def _over_seeds(name: str, first: _Opened, second: _Opened, seeds: Sequence[Array]) -> Difference:
    values = first.summary[name], second.summary[name]
    if min(map(len, seeds)) < 2:
        numbers = " beside ".join(f"{len(each)} seed{'s' * (len(each) > 1)}" for each in seeds)
        return Difference(name, *values, None, f"no interval: {numbers}")
    if not all_finite(*seeds):
        return Difference(name, *values, None, "no interval: a seed is not finite")
    names = [
        [each for each in run.summary if OF_A_SEED.search(each) and OF_A_SEED.sub("", each) == name]
        for run in (first, second)
    ]
    if names[0] == names[1] and _have_same_tasks(first.config, second.config):
        return Difference(name, *values, paired_means(*seeds), f"paired: {len(seeds[0])} seeds")
    return Difference(name, *values, unpaired_means(*seeds), f"unpaired: {len(seeds[0])} and {len(seeds[1])} seeds")


def _have_same_tasks(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    """Say whether two regression runs were evaluated on the same tasks."""
    keys = [*SAME_TASKS, *(key for key in {**first, **second} if key.startswith("task."))]
    return all(first.get(key) == second.get(key) for key in keys)


def _shown(names: Sequence[str], everything: bool) -> list[str]:
    """Return the names of numbers that are no parts of others, nor ends of an interval, nor of controls."""
    known = dict.fromkeys(names)
    controls = () if everything else tuple(f"{name}/" for name in controls_of(known))  # type: ignore[arg-type]
    ends = {f"{name}_{end}" for name in known for end in ("low", "high")}
    return [
        name
        for name in names
        if not (any(part.search(name) for part in OF_A_PART) or name in ends or name.startswith(controls))
    ]


def _environment(directory: RunDirectory) -> dict[str, Any]:
    environment = directory.read_environment(lambda _: None) or {}
    packages = environment.get("packages")
    version = packages.get("iclgd") if isinstance(packages, dict) else None
    return dict(zip(ENVIRONMENT, (version, environment.get("commit"), environment.get("device")), strict=True))


def _differing(values: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Return the keys that are not the same in all, with each one's value."""
    keys = dict.fromkeys(key for each in values for key in each)
    found = {key: [each.get(key) for each in values] for key in keys}
    return {key: each for key, each in found.items() if any(value != each[0] for value in each)}
