"""A sweep whose journal is damaged: its trials are known from the sweep file and from the run directories.

What only the journal knew is lost: which trials had failed or ended early. They are begun again where their runs ended.
"""

import contextlib
import itertools
import shlex
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
import yaml
from optuna.storages import BaseStorage

from iclgd.checks import InputError
from iclgd.sweeps.file import schema
from iclgd.sweeps.file.errors import SweepError
from iclgd.sweeps.file.parameter import Number, Parameter
from iclgd.sweeps.file.schema import SweepFile
from iclgd.sweeps.trials import search
from iclgd.sweeps.trials.claims import OfflineSweep, raws_of
from iclgd.sweeps.trials.folder import SweepFolder
from iclgd.sweeps.trials.outcome import NoMetricError, final_value
from iclgd.sweeps.trials.plan import Done, plan
from iclgd.sweeps.trials.storage import new_storage, open_sweep
from iclgd.terminal import say
from iclgd.tracking.run_directory import CHECKED, RunDirectory

BISECTIONS = 2000  # between any two floats
NUM_NAMED = 8  # of damaged runs


def view_sweep(folder: SweepFolder) -> tuple[SweepFile, OfflineSweep]:
    """Return a sweep and its trials to look at; from the run directories if the journal is damaged.

    Raises:
        SweepError: if nothing can be read.
    """
    try:
        return open_sweep(folder)
    except SweepError as error:
        storage = optuna.storages.InMemoryStorage()
        sweep = _rebuild(folder, storage, error)
        say(f"{error}; shown from the run directories, from which the sweep goes on with --resume")
        return sweep, OfflineSweep(storage, sweep, folder.options)


def repair(folder: SweepFolder, living: Callable[[], list[str]]) -> None:
    """Write a damaged journal anew, from the run directories; the damaged one is kept beside it.

    Args:
        folder: of the sweep.
        living: tells who works on it; nobody must.

    Raises:
        SweepError: if that cannot be done.
        OSError: if it cannot be written.
    """
    try:
        if not _has_lost_entries(folder, *open_sweep(folder)):
            return
        error = SweepError(f"{folder.journal}: damaged; it lacks trials that have runs")
    except SweepError as damage:
        error = damage
    new = folder.journal.with_name("journal.log.new")
    new.unlink(missing_ok=True)
    try:
        with new_storage(None, new) as storage:
            _rebuild(folder, storage, error)
        if workers := living():
            raise SweepError(f"{error}; it cannot be mended while workers are alive ({', '.join(workers)})")
        with contextlib.suppress(FileNotFoundError):
            folder.journal.replace(folder.journal.with_name("journal.log.damaged"))
        new.replace(folder.journal)
    finally:
        new.unlink(missing_ok=True)
    say(f"{error}; written anew from the run directories")


def restore_complete_runs(folder: SweepFolder, trials: OfflineSweep) -> None:
    """Put back the curves of complete runs that are damaged, and say what else of such a run is missing or damaged."""
    problems = []
    for trial in trials.latest():
        if trial.state != optuna.trial.TrialState.COMPLETE:
            continue
        point = trial.user_attrs["point"]
        if (path := folder.run_directory(point)) is None:
            problems.append(f"{folder.runs}: the run {folder.run_id(point)} of a trial that is done is missing")
        elif (problem := _restore(path)) is not None:
            problems.append(f"{problem}; it can be mended with: {shlex.join(['iclgd', 'resume', str(path)])}")
    for problem in problems[:NUM_NAMED]:
        say(problem)
    if len(problems) > NUM_NAMED:
        say(f"and {len(problems) - NUM_NAMED} more runs that are done have missing or damaged files")


def _restore(path: Path) -> str | None:
    """Put back a complete run's curve; return what else is wrong with the run, if anything is."""
    try:
        run = RunDirectory(path)
        if run.problem_with("metrics.jsonl") is not None:
            from iclgd.tracking.checkpoints import restore_curve  # imports torch

            restore_curve(run)
    except (InputError, OSError) as error:
        return f"{path}: {error}"
    problems = ((name, run.problem_with(name)) for name in ("summary.json", *CHECKED))
    return next((f"{path / name}: {wrong}" for name, wrong in problems if wrong is not None), None)


def _has_lost_entries(folder: SweepFolder, sweep: SweepFile, trials: OfflineSweep) -> bool:
    """Say whether a point has a run, but no values: they are written before the run begins."""
    keys = {parameter.key for parameter in sweep.parameters}
    without = [trial for trial in trials.latest() if keys - set(raws_of(trial))]
    return any(folder.run_directory(trial.user_attrs["point"]) is not None for trial in without)


def _rebuild(folder: SweepFolder, storage: BaseStorage, error: SweepError) -> SweepFile:
    """Plan a sweep's trials again; those whose runs are complete are done.

    Raises:
        SweepError: the given one, if there is nothing to rebuild from.
    """
    if folder.options.storage is not None or not any(folder.runs.glob("*/[!.]*")):
        raise error
    sweep = schema.read(folder.sweep_file)
    points = _points(sweep, folder)
    if points is None:
        raise error
    done = {}
    for point in range(len(points)):
        run = folder.run_directory(point)
        if run is None:
            continue
        if sweep.method == "bayes":
            points[point] = _raws_of_run(sweep, run)
        if (ended := _done(run, sweep)) is not None:
            done[point] = ended
    plan(storage, sweep, folder.options, points, done)
    return sweep


def _points(sweep: SweepFile, folder: SweepFolder) -> list[Mapping[str, Any]] | None:
    """Return the points as they were planned; ``None`` if nobody knows how many they were."""
    count = folder.options.num_trials
    if sweep.method == "grid":
        return list(itertools.islice(sweep.grid(), count))
    if count is None:
        return None
    return [*search.draw(sweep, count, folder.options.seed)] if sweep.method == "random" else [{}] * count


def _done(run: Path, sweep: SweepFile) -> Done | None:
    """Return what a complete run has to say, ``None`` of others."""
    try:
        if RunDirectory(run).read_summary() is None:
            return None
        value = final_value(run, sweep.metric) if sweep.metric else None
        # Of this place's clock, as Optuna's are.
        times = [datetime.fromtimestamp((run / name).stat().st_mtime) for name in ("config.yaml", "summary.json")]
    except (SweepError, NoMetricError, OSError, ValueError):  # its trial will say what is wrong
        return None
    return Done(value, times[0], times[1])


def _raws_of_run(sweep: SweepFile, run: Path) -> dict[str, Any]:
    """Return the raw values of a point from its run's config; nothing of one that cannot be read."""
    try:
        config = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
        values = {parameter.key: _select(config, parameter.key) for parameter in sweep.parameters}
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        return {}
    raws = {parameter.key: raw_of(parameter, values[parameter.key]) for parameter in sweep.parameters}
    return {} if None in raws.values() else raws


def _select(config: Any, key: str) -> Any:
    if isinstance(config, dict) and key in config:
        return config[key]
    name, _, rest = key.partition(".")
    return _select(config[name], rest)


def raw_of(parameter: Parameter, value: Any) -> Any:
    """Return a raw value of a parameter that becomes a value, ``None`` if none does."""
    for raw in [*parameter.examples(), value]:
        with contextlib.suppress(KeyError, TypeError, ValueError, OverflowError):
            if _is_same(parameter.value(raw), value):
                return raw
    if not isinstance(parameter, Number) or not isinstance(value, int | float):
        return None
    low, high = parameter.low, parameter.high  # functions of numbers rise, or fall
    rises = parameter.value(high) >= parameter.value(low)
    for _ in range(BISECTIONS):
        middle = low + (high - low) / 2
        found = parameter.value(int(middle) if parameter.is_whole else middle)
        if _is_same(found, value):
            return int(middle) if parameter.is_whole else middle
        if middle in (low, high):
            return None
        low, high = (middle, high) if (found < value) == rises else (low, middle)
    return None


def _is_same(first: Any, second: Any) -> bool:
    return bool(first == second) and isinstance(first, bool) == isinstance(second, bool)
