"""One run from config to summary, whatever the experiment: the straight line to read first."""

import contextlib
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import torch
from lightning.pytorch.loggers import Logger
from rich.table import Table

from iclgd import config as configs
from iclgd import own_entries
from iclgd.config import Experiment, ExperimentConfig
from iclgd.experiments import RunContext
from iclgd.failures import Failures
from iclgd.memory import OutOfMemoryError, TooLargeError, advice, is_exhausted
from iclgd.messages import first_line
from iclgd.own_entries import ImportedFile
from iclgd.report.figures import draw_figures
from iclgd.runs.analyses import make_analyses
from iclgd.runs.recorded import recorded_experiment
from iclgd.runtime.launch import Launch, find_launch
from iclgd.runtime.meeting import LostProcessError, check_meeting_place
from iclgd.runtime.process import prepare_process
from iclgd.runtime.ranks import PARENT, LaunchError, is_first_process
from iclgd.runtime.signals import stop_requests
from iclgd.runtime.stopping import EXIT_INTERRUPTED, close_tracking
from iclgd.runtime.trainer import TrainerConfig
from iclgd.terminal import say
from iclgd.tracking.checkpoints import (
    Saved,
    last_whole,
    refuse_changes,
    refuse_overrides,
    restore_config,
    restore_curve,
)
from iclgd.tracking.environment import describe_environment
from iclgd.tracking.failure import forget_failure, write_failure
from iclgd.tracking.logger import RunDirectoryLogger
from iclgd.tracking.mirror import Mirror
from iclgd.tracking.run_directory import PREDICTIONS, WEIGHTS, RunDirectory, RunDirectoryError, Tell
from iclgd.vendors.lightning import set_rank

NUM_NAMED = 8  # of numbers that are not finite

C = TypeVar("C", bound=ExperimentConfig)
P = TypeVar("P")


class Finished(NamedTuple):
    """A run whose numbers stand."""

    directory: RunDirectory | None  # None on all processes but the first
    failed: list[str]  # the parts that came after the numbers and failed


def run(config: ExperimentConfig, name: str, imported: Sequence[ImportedFile] = ()) -> Finished:
    """Run an experiment in a new run directory.

    Args:
        config: what to run.
        name: of the config; part of the directory's path.
        imported: files of the user's own entries, to be recorded.

    Returns:
        The run directory, and which analyses or figures failed.

    Raises:
        InputError: if the experiment's data or models cannot be used, or the processes that were started are not those
            of the config; nothing has been written then.
        DifferentConfigsError: if another process has another config.
        TrackingError: if tracking is demanded that cannot be had; nothing has been written then.
        OutOfMemoryError: if memory is not enough on the way.
        OSError: if the run directory cannot be written.
        KeyboardInterrupt: if it is interrupted; the message says how to go on.
    """
    experiment, launch = configs.find_experiment(config.experiment), _find_launch(config)
    if launch.rank != 0:
        with _ending_quietly():
            _execute(experiment, RunContext(config, launch), _prepare(experiment, config))
        return Finished(None, [])
    with Mirror(config.tracking) as mirror:
        prepared = _prepare(experiment, config)
        mirror.resolve()
        environment = own_entries.record(describe_environment(_device(config)), imported)
        directory = RunDirectory.create(name, configs.to_yaml(config), environment)
        with directory.lock(), _saying_how_to_continue(directory):
            try:
                context = RunContext(config, launch, directory, _loggers(directory, mirror))
                failed = _execute(experiment, context, prepared)
            except LaunchError:  # the processes have not met, and nothing was done
                directory.remove()
                raise
    return Finished(directory, failed)


def resume(path: Path, overrides: Sequence[str] = (), imported: Sequence[ImportedFile] = ()) -> Finished:
    """Continue an interrupted run from its last checkpoint, or move the end of any.

    Of a complete run only analyses are made that it lacks, as they failed or were interrupted, and then all figures;
    unless ``trainer.max_steps`` is larger now: then it goes on as if it had not ended. Returns as :func:`run` does.

    Args:
        path: the run directory.
        overrides: ``key=value``, what is to change; it is written into the run's config.
        imported: files of the user's own entries, which must be those that the run was made with.

    Raises:
        OwnEntriesError: if such a file is missing.
        RunDirectoryError: if it is no run directory, another process works on it, its checkpoints are damaged, or its
            config is no longer the one of its checkpoint, in a key that cannot change within a run.
        ConfigError: if its config cannot be read.
        KeyboardInterrupt: if it is interrupted; the message says how to go on.
    """
    directory = RunDirectory(path)
    _refuse_missing_entries(directory, imported)
    restore_config(directory)
    before, config = (configs.load(directory.config_path, changes) for changes in ((), overrides))
    refuse_overrides(configs.to_dict(before), configs.to_dict(config), path)
    experiment, launch = configs.find_experiment(config.experiment), _find_launch(config)
    if launch.rank != 0:
        if directory.read_summary(_nobody) is None or _damage(directory) or _moves_the_end(directory, before, config):
            saved = _where_to_go_on(directory, config, _nobody)
            context = RunContext(config, launch, checkpoint=saved.path if saved else None)
            with _ending_quietly():
                _execute(experiment, context, _prepare(experiment, config))
        return Finished(None, [])
    # Locked before looking: a run that is still going changes what is there.
    with directory.lock(), _saying_how_to_continue(directory):
        if imported:
            directory.write_environment(own_entries.record(directory.read_environment(_nobody) or {}, imported))
        summary = directory.read_summary()
        moves_the_end = summary is not None and _moves_the_end(directory, before, config)
        if summary is not None:
            restore_curve(directory)
            lacks_something = _lacks_something(experiment, config, directory)
            if (damage := _damage(directory)) is not None:
                _refuse_edits(directory, config)
                say(f"{damage}; made again")
                summary = None
            elif moves_the_end:
                summary = None
            elif lacks_something or overrides:
                _refuse_edits(directory, config)
                _write_changes(directory, before, config)
            if summary is not None and not lacks_something:
                return Finished(directory, [])
        with Mirror(config.tracking) as mirror:
            mirror.resolve()
            if summary is not None:
                prepare_process(config.trainer.threads_per_process)
                failed = _look_at(experiment, config, directory, summary, _loggers(directory, mirror))
                return Finished(directory, failed)
            saved = _where_to_go_on(directory, config, say)
            prepared = _prepare(experiment, config)
            if moves_the_end:
                directory.forget_what_was_made()  # first: what a complete run lacks is made again
            directory.forget_summary()  # before the config changes: a summary is of the config beside it
            _write_changes(directory, before, config)
            if saved is not None:
                directory.forget_checkpoints_after(saved.step)
                directory.restore_metrics(saved.step, saved.metrics)
            else:
                directory.forget_metrics_after(-1)
            say(f"resuming from step {saved.step}" if saved else "no checkpoint yet: starting over")
            loggers, checkpoint = _loggers(directory, mirror), saved.path if saved else None
            failed = _execute(experiment, RunContext(config, launch, directory, loggers, checkpoint), prepared)
    return Finished(directory, failed)


def _damage(directory: RunDirectory) -> str | None:
    """Return which file of a complete run has to be made again, and why; ``None`` if none has."""
    for name in (WEIGHTS, PREDICTIONS):
        if (wrong := directory.problem_with(name)) is not None:
            return f"{directory.path / name}: {wrong}"
    return None


def _moves_the_end(directory: RunDirectory, before: ExperimentConfig, config: ExperimentConfig) -> bool:
    """Say whether a complete run is to end at another step than the one where it has ended.

    Args:
        directory: the run's.
        before: its config as it is written there, whose end may have been edited.
        config: its config from now on.

    Raises:
        RunDirectoryError: if it has no checkpoint any more from which it could go on.
    """
    if not (isinstance(before.trainer, TrainerConfig) and isinstance(config.trainer, TrainerConfig)):
        return False
    if (last := directory.last_checkpoint()) is not None:
        return directory.step_of(last) != config.trainer.max_steps
    if before.trainer.max_steps != (end := config.trainer.max_steps):
        raise RunDirectoryError(
            f"{directory.checkpoints}: there is no checkpoint to go on from; start a new run with: "
            f"iclgd run {directory.path} trainer.max_steps={end}"
        )
    return False


def _write_changes(directory: RunDirectory, before: ExperimentConfig, config: ExperimentConfig) -> None:
    """Write a run's config if it has changed."""
    if config != before:
        directory.write_config(configs.to_yaml(config))


def tables(directory: RunDirectory, failures: Failures) -> list[Table]:
    """Return what is shown of a complete run: its headline numbers, and its analyses' tables.

    Args:
        directory: the run's.
        failures: collects what fails.

    Raises:
        ConfigError: if its config cannot be read.
    """
    experiment = recorded_experiment(directory)
    shown, records = [], directory.read_analyses()
    with failures.of("the table of the summary"):
        shown.append(experiment.table(directory.read_summary() or {}, directory.path.parent.name))
    for name, analysis in experiment.analyses.items():
        if name in records and analysis.table is not None:
            with failures.of(f"table {name}"):
                shown.append(analysis.table(records[name]))
    return shown


def _where_to_go_on(directory: RunDirectory, config: ExperimentConfig, tell: Tell) -> Saved | None:
    """Return the checkpoint from which a run goes on, ``None`` to start over.

    Raises:
        RunDirectoryError: if there is none that is whole and the config's.
    """
    saved = last_whole(directory, tell)
    if saved is not None:
        for line in refuse_changes(saved, configs.to_dict(config), directory.config_path):
            tell(line)
    elif not directory.is_config_as_begun():
        raise RunDirectoryError(
            f"{directory.config_path}: has changed since the run began, and no checkpoint says what it was; start a "
            f"new run with: iclgd run {directory.config_path}"
        )
    return saved


def _refuse_missing_entries(directory: RunDirectory, imported: Sequence[ImportedFile]) -> None:
    """Refuse to go on without a file of own entries; before the config is read, which may name one of them."""
    environment = directory.read_environment(_nobody) or {}
    again = f"iclgd resume {directory.path}"
    own_entries.compare(environment, imported, directory.path, again, is_first_process())


def _refuse_edits(directory: RunDirectory, config: ExperimentConfig) -> None:
    """Refuse to look at a complete run by another config than its own, as far as a checkpoint tells."""
    try:
        saved = last_whole(directory, _nobody)
    except RunDirectoryError:  # it is not needed any more
        return
    if saved is not None:
        refuse_changes(saved, configs.to_dict(config), directory.config_path)


def _nobody(line: str) -> None:
    """Leave it to the first process to tell."""


def _prepare(experiment: Experiment[C, P], config: C) -> P:
    """Load and build what the experiment needs; bad input is found here, before anything is written."""
    prepare_process(config.trainer.threads_per_process)
    try:
        return experiment.prepare(config)
    except Exception as error:
        if is_exhausted(error):
            raise TooLargeError(advice(experiment.needs_memory)) from error
        raise


def _execute(experiment: Experiment[C, P], context: RunContext[C], prepared: P) -> list[str]:
    """Do what the experiment does, and write the results; return what failed after the numbers."""
    stop_requests.answer()
    directory = context.directory
    if directory is not None:
        forget_failure(directory)
    try:
        summary = experiment.execute(context, prepared)
        if directory is None:
            return []
        may_be_undefined = experiment.may_be_undefined
        undefined = [name for name, value in summary.items() if not math.isfinite(value)]
        if unusable := [name for name in undefined if not name.rpartition("/")[2].startswith(may_be_undefined)]:
            others = f" and {len(unusable) - NUM_NAMED} more" if len(unusable) > NUM_NAMED else ""
            say(f"warning: not a finite number: {', '.join(unusable[:NUM_NAMED])}{others}")
        with stop_requests.deferred():
            directory.write_summary(summary)  # the run is complete; what follows adds to it
            directory.keep_checkpoints(1)
    except (KeyboardInterrupt, LaunchError, LostProcessError):
        close_tracking(context.loggers)
        raise
    except Exception as error:
        exhausted = OutOfMemoryError(advice(experiment.needs_memory)) if is_exhausted(error) else None
        if directory is not None:
            write_failure(directory, first_line(exhausted or error))
        if exhausted is not None:
            raise exhausted from error
        raise
    return _look_at(experiment, context.config, directory, summary, context.loggers)


def _look_at(
    experiment: Experiment[C, P],
    config: C,
    directory: RunDirectory,
    summary: dict[str, float],
    loggers: list[Logger],
) -> list[str]:
    """Add analyses and figures to a complete run, and finish its mirror; return what failed."""
    failures = Failures(directory.path / "failures.log")
    try:
        make_analyses(experiment, config, directory, experiment.chosen_analyses(config), failures)
        draw_figures(directory, summary, experiment.drawings(), failures)
        with stop_requests.deferred():
            for logger in loggers:
                if isinstance(logger, RunDirectoryLogger):
                    logger.mirror.finish()
    except KeyboardInterrupt:
        close_tracking(loggers)
        raise
    return failures.failed


def _lacks_something(experiment: Experiment[C, P], config: C, directory: RunDirectory) -> bool:
    """Say whether a complete run has not all of its analyses, or was interrupted before its figures."""
    return (
        not set(experiment.chosen_analyses(config)) <= set(directory.read_analyses()) or not directory.figures.is_dir()
    )


def _loggers(directory: RunDirectory, mirror: Mirror) -> list[Logger]:
    mirror.begin(directory)
    return [RunDirectoryLogger(directory, mirror)]


@contextlib.contextmanager
def _saying_how_to_continue(directory: RunDirectory) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"interrupted; continue with: iclgd resume {directory.path}") from None
    except LostProcessError as error:
        raise LostProcessError(f"{error}; continue with: iclgd resume {directory.path}") from None


@contextlib.contextmanager
def _ending_quietly() -> Iterator[None]:
    """Leave it to the first process to say that the run was interrupted."""
    try:
        yield
    except KeyboardInterrupt:
        raise SystemExit(EXIT_INTERRUPTED) from None
    except (LaunchError, LostProcessError):
        if PARENT in os.environ:
            raise SystemExit(1) from None
        raise


def _find_launch(config: ExperimentConfig) -> Launch:
    """Find out which process this is, and tell Lightning, which would later take other variables for its rank."""
    launch = find_launch(config.trainer.devices, config.trainer.num_nodes)
    set_rank(launch.rank)
    if config.trainer.devices * config.trainer.num_nodes > 1:
        check_meeting_place(launch.environment, launch.rank)
    return launch


def _device(config: ExperimentConfig) -> str:
    """Return the name of the computing device."""
    return torch.cuda.get_device_name() if config.trainer.lightning_accelerator == "gpu" else "cpu"
