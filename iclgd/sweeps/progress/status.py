"""How far a sweep is: read from its trials, or, where W&B has these, from the run directories."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from optuna.trial import FrozenTrial, TrialState

from iclgd.sweeps.file import schema
from iclgd.sweeps.file.errors import SweepError
from iclgd.sweeps.file.schema import SweepFile
from iclgd.sweeps.trials.claims import OfflineSweep, has_failed, raws_of
from iclgd.sweeps.trials.folder import SweepFolder
from iclgd.sweeps.trials.online_trials import OnlineTrials
from iclgd.sweeps.trials.rebuilding import view_sweep
from iclgd.sweeps.workers.liveness import Observer
from iclgd.tracking.run_directory import RunDirectory

NUM_SHOWN_FAILURES = 5


@dataclass(frozen=True)
class Best:
    """The best trial so far."""

    value: float
    run_directory: Path
    setting: str  # the values of its parameters


@dataclass(frozen=True)
class Progress:
    """Counts of trials and what is known of the rest."""

    total: int | None  # unknown where W&B's server decides
    done: int
    running: int
    pruned: int
    failed: int
    workers: int
    best: Best | None
    seconds_left: float | None
    failures: list[str] = field(default_factory=list)  # a line for each, the latest last

    @property
    def num_ended(self) -> int:
        """Return how many trials will not be run again."""
        return self.done + self.pruned + self.failed

    @property
    def waiting(self) -> int | None:
        """Return how many trials nobody has begun."""
        return None if self.total is None else self.total - self.running - self.num_ended

    @property
    def is_over(self) -> bool:
        """Say whether nothing is left to do."""
        return self.num_ended == self.total

    def line(self) -> str:
        """Return one line."""
        of = "" if self.total is None else f" of {self.total}"
        parts = [f"{self.done}{of} trials done", f"{self.running} running"]
        parts += [f"{self.pruned} ended early"] if self.pruned else []
        parts += [f"{self.failed} failed"] if self.failed else []
        parts += [f"best {self.best.value:.6g} ({self.best.setting})"] if self.best else []
        parts += [f"about {duration(self.seconds_left)} left"] if self.seconds_left else []
        return ", ".join(parts)


def progress_reader(folder: SweepFolder) -> Callable[[], Progress]:
    """Return a function that looks how far a sweep is.

    Raises:
        SweepError: if the sweep cannot be read.
    """
    observer = Observer(folder.workers)
    if folder.options.engine == "wandb":
        online = OnlineTrials(folder, schema.read(folder.sweep_file))
        return lambda: _from_online_trials(folder, online, observer)
    sweep, trials = view_sweep(folder)
    return lambda: _from_trials(folder, sweep, trials, observer)


def best_config(folder: SweepFolder) -> str:
    """Return the config of the best run as YAML that can be run again.

    Raises:
        SweepError: if there is none, or the sweep has no metric.
    """
    sweep = schema.read(folder.sweep_file)
    if sweep.metric is None:
        raise SweepError(f"{folder.sweep_file}: it names no metric, so that no trial is the best")
    progress = progress_reader(folder)()
    best = progress.best
    if best is None:
        none = f"no trial that is done has a finite {sweep.metric.name}" if progress.done else "no trial is done yet"
        raise SweepError(f"{folder.path}: {none}, or the best one's run directory is gone")
    config = RunDirectory(best.run_directory).config_path.read_text(encoding="utf-8")
    return f"# {sweep.metric.name} = {best.value!r} ({best.setting})\n# {best.run_directory}\n{config}"


def _from_trials(folder: SweepFolder, sweep: SweepFile, trials: OfflineSweep, observer: Observer) -> Progress:
    latest = trials.latest()
    done = [trial for trial in latest if trial.state == TrialState.COMPLETE]
    failed = [trial for trial in latest if has_failed(trial)]
    running = [trial for trial in latest if trial.state == TrialState.RUNNING]
    num_workers = len(observer.living())
    num_pruned = sum(trial.state == TrialState.PRUNED for trial in latest)
    num_left = len(latest) - len(done) - len(failed) - num_pruned
    return Progress(
        total=trials.num_points,
        done=len(done),
        running=len(running),
        pruned=num_pruned,
        failed=len(failed),
        workers=num_workers,
        best=_best(folder, sweep, done),
        seconds_left=_seconds_left(done, running, num_left, num_workers),
        failures=[f"{_setting(sweep, trial)}: {trial.user_attrs['end']['reason']}" for trial in failed],
    )


def _best(folder: SweepFolder, sweep: SweepFile, done: list[FrozenTrial]) -> Best | None:
    values = {trial.value: trial for trial in reversed(done) if trial.value is not None and math.isfinite(trial.value)}
    if sweep.metric is None or not values:
        return None
    value = max(values) if sweep.metric.goal == "maximize" else min(values)
    trial = values[value]  # the first of several
    run_directory = folder.run_directory(trial.user_attrs["point"])
    if run_directory is None:  # somebody has removed it
        return None
    return Best(value, run_directory, _setting(sweep, trial))


def _setting(sweep: SweepFile, trial: FrozenTrial) -> str:
    return " ".join(sweep.overrides(raws_of(trial)))


def _seconds_left(done: list[FrozenTrial], running: list[FrozenTrial], num_left: int, num_workers: int) -> float | None:
    durations = [trial.duration.total_seconds() for trial in done if trial.duration is not None]
    if not durations or not num_workers or not num_left:
        return None
    mean = sum(durations) / len(durations)
    now = datetime.now(UTC)
    begun = [(now - trial.datetime_start.astimezone(UTC)).total_seconds() for trial in running if trial.datetime_start]
    return max(mean * num_left - sum(min(seconds, mean) for seconds in begun), 1.0) / num_workers


def _from_online_trials(folder: SweepFolder, trials: OnlineTrials, observer: Observer) -> Progress:
    """Count trials; whether an unfinished one goes on is told by whether any worker lives."""
    trials.look()
    num_workers = len(observer.living())
    failures = [f"{trials.name(run)}: {reason}" for run, reason in trials.failed.items()]
    if not num_workers and folder.stop_mode() is None:
        failures += [f"{trials.name(run)}: {trials.why_unfinished(run)}" for run in trials.unfinished]
    best = trials.best()
    return Progress(
        total=folder.options.num_trials,
        done=len(trials.values),
        running=len(trials.unfinished) if num_workers else 0,
        pruned=len(trials.ended_early),
        failed=len(failures),
        workers=num_workers,
        best=None if best is None else Best(trials.values[best], best, trials.setting(best)),
        seconds_left=None,
        failures=failures,
    )


def duration(seconds: float | None) -> str:
    """Return seconds as people read them."""
    if seconds is None:
        return ""
    return time.strftime("%H:%M:%S", time.gmtime(seconds)) if seconds < 86400 else f"{seconds / 86400:.1f} days"
