"""One run from config to summary, whatever the experiment: the straight line to read first."""

import contextlib
import ctypes
import logging
import math
import os
import warnings
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
from iclgd.own_entries import ImportedFile
from iclgd.report.figures import draw_figures
from iclgd.runtime.launch import Launch, find_launch
from iclgd.runtime.meeting import LostProcessError, check_meeting_place
from iclgd.runtime.ranks import PARENT, LaunchError, is_first_process
from iclgd.runtime.signals import stop_requests
from iclgd.runtime.stopping import EXIT_INTERRUPTED, close_tracking
from iclgd.terminal import say
from iclgd.tracking.checkpoints import Saved, last_whole, refuse_changes, restore_config, restore_curve
from iclgd.tracking.environment import describe_environment
from iclgd.tracking.logger import RunDirectoryLogger
from iclgd.tracking.mirror import Mirror
from iclgd.tracking.run_directory import RunDirectory, RunDirectoryError, Tell
from iclgd.vendors.lightning import set_rank

WEIGHTS = "weights.safetensors"
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


def resume(path: Path, imported: Sequence[ImportedFile] = ()) -> Finished:
    """Continue an interrupted run from its last checkpoint.

    Of a complete run only analyses are made that it lacks, as they failed or were interrupted, and then all figures.
    Returns as :func:`run` does.

    Args:
        path: the run directory.
        imported: files of the user's own entries, which must be those that the run was made with.

    Raises:
        OwnEntriesError: if such a file is missing.
        RunDirectoryError: if it is no run directory, another process works on it, its checkpoints are damaged, or its
            config is no longer the one of its checkpoint.
        ConfigError: if its config cannot be read.
        KeyboardInterrupt: if it is interrupted; the message says how to go on.
    """
    directory = RunDirectory(path)
    _refuse_missing_entries(directory, imported)
    restore_config(directory)
    config = configs.load(directory.config_path)
    experiment, launch = configs.find_experiment(config.experiment), _find_launch(config)
    if launch.rank != 0:
        if directory.read_summary(_nobody) is None or directory.problem_with(WEIGHTS) is not None:
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
        if summary is not None:
            restore_curve(directory)
            if (wrong := directory.problem_with(WEIGHTS)) is not None:
                _refuse_edits(directory, config)
                say(f"{directory.path / WEIGHTS}: {wrong}; made again from the last checkpoint")
                summary = None
            elif not _lacks_something(experiment, config, directory):
                return Finished(directory, [])
            else:
                _refuse_edits(directory, config)
        with Mirror(config.tracking) as mirror:
            mirror.resolve()
            if summary is not None:
                prepared = _prepare(experiment, config)
                failed = _look_at(experiment, config, prepared, directory, summary, _loggers(directory, mirror))
                return Finished(directory, failed)
            saved = _where_to_go_on(directory, config, say)
            prepared = _prepare(experiment, config)
            directory.forget_summary()
            if saved is not None:
                directory.forget_checkpoints_after(saved.step)
                directory.restore_metrics(saved.step, saved.metrics)
            else:
                directory.forget_metrics_after(-1)
            say(f"resuming from step {saved.step}" if saved else "no checkpoint yet: starting over")
            loggers, checkpoint = _loggers(directory, mirror), saved.path if saved else None
            failed = _execute(experiment, RunContext(config, launch, directory, loggers, checkpoint), prepared)
    return Finished(directory, failed)


def tables(directory: RunDirectory, failures: Failures) -> list[Table]:
    """Return what is shown of a complete run: its headline numbers, and its analyses' tables.

    Args:
        directory: the run's.
        failures: collects what fails.

    Raises:
        ConfigError: if its config cannot be read.
    """
    experiment = configs.find_experiment(configs.load(directory.config_path).experiment)
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
        if is_exhausted(error):
            raise OutOfMemoryError(advice(experiment.needs_memory)) from error
        raise
    return _look_at(experiment, context.config, prepared, directory, summary, context.loggers)


def _look_at(
    experiment: Experiment[C, P],
    config: C,
    prepared: P,
    directory: RunDirectory,
    summary: dict[str, float],
    loggers: list[Logger],
) -> list[str]:
    """Add analyses and figures to a complete run, and finish its mirror; return what failed."""
    failures = Failures(directory.path / "failures.log")
    try:
        for name in experiment.chosen_analyses(config):
            with failures.of(f"analysis {name}", "analysis.num_tasks or analysis.num_resamples"):
                directory.write_analysis(name, experiment.analyze(name, config, prepared, directory))
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


def prepare_process(num_threads: int) -> None:
    """Set this process's threads, memory and messages."""
    torch.set_num_threads(num_threads)
    _keep_freed_memory()
    logging.raiseExceptions = False  # a log file that cannot be written is no reason to fill the terminal
    # Lightning's advice on hardware, services and dataloaders is not about our users' choices.
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"lightning\.(pytorch|fabric)")


def _keep_freed_memory() -> None:
    """Tell glibc not to give freed megabytes back to the system.

    It would map and clear new pages for every batch of tasks, which costs a third of the training time.
    """
    mmap_threshold, trim_threshold = -3, -1  # M_MMAP_THRESHOLD, M_TRIM_THRESHOLD of malloc.h
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # other C libraries have none
    if mallopt is not None:
        mallopt(mmap_threshold, 32 * 2**20)  # the largest value that glibc takes
        mallopt(trim_threshold, 2**31 - 1)
