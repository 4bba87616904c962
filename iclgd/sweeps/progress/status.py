"""How far a sweep is: read from its trials, or, where W&B has these, from the run directories."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

from optuna.trial import FrozenTrial, TrialState

from iclgd.sweeps.file import schema
from iclgd.sweeps.file.schema import SweepFile
from iclgd.sweeps.progress.best import values_text
from iclgd.sweeps.progress.reading import SweepResults, check_over, online_rows, results_of, trial_rows
from iclgd.sweeps.progress.settings import best_row, best_setting, most_seeds
from iclgd.sweeps.progress.texts import found
from iclgd.sweeps.trials.claims import OfflineSweep, has_failed
from iclgd.sweeps.trials.folder import SweepFolder
from iclgd.sweeps.trials.online_trials import OnlineTrials
from iclgd.sweeps.trials.rebuilding import view_sweep
from iclgd.sweeps.workers.liveness import Observer

NUM_SHOWN_FAILURES = 5


@dataclass(frozen=True)
class Best:
    """The best trial so far."""

    value: float
    run_directory: Path
    setting: str  # the values of its parameters


@dataclass(frozen=True)
class BestSetting:
    """The best of settings that have several seeds, so far."""

    found: str  # mean, interval and seeds
    setting: str
    is_provisional: bool  # no setting is complete

    def __str__(self) -> str:
        return f"{self.found}{', provisional' if self.is_provisional else ''} ({self.setting})"


@dataclass(frozen=True)
class Progress:
    """Counts of trials and what is known of the rest."""

    total: int | None  # unknown where W&B's server decides
    done: int
    running: int
    pruned: int
    failed: int
    workers: int
    find: Callable[[], tuple[Best | None, BestSetting | None]] = field(repr=False)  # takes longer than counting
    seconds_left: float | None
    failures: list[str] = field(default_factory=list)  # a line for each, the latest last

    @cached_property
    def _found(self) -> tuple[Best | None, BestSetting | None]:
        return self.find()

    @property
    def best(self) -> Best | None:
        """Return the best trial, if there is one."""
        return self._found[0]

    @property
    def best_setting(self) -> BestSetting | None:
        """Return the best setting, where any has several seeds."""
        return self._found[1]

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
        if self.best_setting:
            parts += [f"best mean {self.best_setting}"]
        elif self.best:
            parts += [f"best {self.best.value:.6g} ({self.best.setting})"]
        parts += [f"about {duration(self.seconds_left)} left"] if self.seconds_left else []
        return ", ".join(parts)


def progress_reader(folder: SweepFolder, over: Sequence[str] | None = None) -> Callable[[], Progress]:
    """Return a function that looks how far a sweep is.

    Args:
        folder: of the sweep.
        over: keys that are seeds; ``None`` for the usual ones.

    Raises:
        SweepError: if the sweep cannot be read, or has no key of ``over``.
    """
    observer = Observer(folder.workers)
    if folder.options.engine == "wandb":
        file = schema.read(folder.sweep_file)
        check_over(file, over)
        online = OnlineTrials(folder, file)
        return lambda: _from_online_trials(folder, file, online, observer, over)
    sweep, trials = view_sweep(folder)
    check_over(sweep, over)
    return lambda: _from_trials(folder, sweep, trials, observer, over)


def _from_trials(
    folder: SweepFolder, sweep: SweepFile, trials: OfflineSweep, observer: Observer, over: Sequence[str] | None
) -> Progress:
    latest = trials.latest()
    done = [trial for trial in latest if trial.state == TrialState.COMPLETE]
    failed = [trial for trial in latest if has_failed(trial)]
    running = [trial for trial in latest if trial.state == TrialState.RUNNING]
    num_workers = len(observer.living())
    num_pruned = sum(trial.state == TrialState.PRUNED for trial in latest)
    num_left = len(latest) - len(done) - len(failed) - num_pruned

    def find() -> tuple[Best | None, BestSetting | None]:
        return _best(results_of(folder, sweep, trial_rows(folder, sweep, latest), over), folder.run_directory)

    return Progress(
        total=trials.num_points,
        done=len(done),
        running=len(running),
        pruned=num_pruned,
        failed=len(failed),
        workers=num_workers,
        find=find,
        seconds_left=_seconds_left(done, running, num_left, num_workers),
        failures=[f"{values_text(row)}: {row.failure}" for row in trial_rows(folder, sweep, failed)],
    )


def _best(results: SweepResults, run_directory: Callable[[int], Path | None]) -> tuple[Best | None, BestSetting | None]:
    """Return the best trial, if its run directory is there, and the best setting."""
    row = best_row(results.rows, results.goal)
    directory = None if row is None else row.run_directory or run_directory(row.number)
    best = None
    if row is not None and row.metric is not None and directory is not None:
        best = Best(row.metric, directory, values_text(row))
    setting = best_setting(results.settings, results.goal) if results.has_repetitions else None
    if setting is None:
        return best, None
    is_provisional = bool(setting.why_not_best(most_seeds(results.settings)))
    return best, BestSetting(found(setting), results.text(setting), is_provisional)


def _seconds_left(done: list[FrozenTrial], running: list[FrozenTrial], num_left: int, num_workers: int) -> float | None:
    durations = [trial.duration.total_seconds() for trial in done if trial.duration is not None]
    if not durations or not num_workers or not num_left:
        return None
    mean = sum(durations) / len(durations)
    now = datetime.now(UTC)
    begun = [(now - trial.datetime_start.astimezone(UTC)).total_seconds() for trial in running if trial.datetime_start]
    return max(mean * num_left - sum(min(seconds, mean) for seconds in begun), 1.0) / num_workers


def _from_online_trials(
    folder: SweepFolder, sweep: SweepFile, trials: OnlineTrials, observer: Observer, over: Sequence[str] | None
) -> Progress:
    """Count trials; whether an unfinished one goes on is told by whether any worker lives."""
    trials.look()
    num_workers = len(observer.living())
    failures = [f"{trials.name(run)}: {reason}" for run, reason in trials.failed.items()]
    if not num_workers and folder.stop_mode() is None:
        failures += [f"{trials.name(run)}: {trials.why_unfinished(run)}" for run in trials.unfinished]

    def find() -> tuple[Best | None, BestSetting | None]:
        return _best(
            results_of(folder, sweep, online_rows(folder, sweep, trials, num_workers > 0), over), lambda _: None
        )

    return Progress(
        total=folder.options.num_trials,
        done=len(trials.values),
        running=len(trials.unfinished) if num_workers else 0,
        pruned=len(trials.ended_early),
        failed=len(failures),
        workers=num_workers,
        find=find,
        seconds_left=None,
        failures=failures,
    )


def duration(seconds: float | None) -> str:
    """Return seconds as people read them."""
    if seconds is None:
        return ""
    return time.strftime("%H:%M:%S", time.gmtime(seconds)) if seconds < 86400 else f"{seconds / 86400:.1f} days"
