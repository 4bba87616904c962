"""What ``iclgd sweep`` and its actions do."""

import argparse
import os
import socket
import sys
import time
from pathlib import Path

from iclgd import own_entries
from iclgd.sweeps.file.errors import SweepError
from iclgd.sweeps.progress import status as progress
from iclgd.sweeps.progress.display import Display
from iclgd.sweeps.progress.reading import read_sweep
from iclgd.sweeps.progress.tables import settings_table, table
from iclgd.sweeps.trials.folder import SweepFolder
from iclgd.sweeps.workers.options import WorkerOptions
from iclgd.sweeps.workers.worker import Worker
from iclgd.terminal import say, show, show_table

SECONDS_BETWEEN_LOOKS = 1.0


def start(arguments: argparse.Namespace) -> int:
    """Start a sweep, or go on with one, and wait for its end."""
    from iclgd.sweeps.start import begin, print_plan

    if arguments.dry_run:
        print_plan(arguments)
        return 0
    return begin(arguments)


def status(arguments: argparse.Namespace) -> int:
    """Show how far a sweep is; on a terminal until it is over."""
    folder = SweepFolder(arguments.folder)
    read = progress.progress_reader(folder, arguments.over)
    if sys.stdout.isatty() and not arguments.once:
        with Display(folder) as display:
            while not (now := read()).is_over and now.workers:
                display.show(now)
                time.sleep(SECONDS_BETWEEN_LOOKS)
    show_table(table(folder, read()))
    return 0


def stop(arguments: argparse.Namespace) -> int:
    """Ask a sweep to stop."""
    folder = SweepFolder(arguments.folder)
    if _is_over(folder):
        say(f"finished: all trials have ended, there is nothing to stop; see: iclgd sweep status {folder.path}")
        return 0
    mode = "now" if arguments.now else "after"
    if folder.options.wandb is None:
        folder.request_stop(mode)
    else:
        from iclgd.sweeps.launch import online

        try:
            online.pause(folder.options.wandb)  # first: agents are to end when they get no more trials
        finally:
            folder.request_stop(mode)
    for job in folder.slurm_jobs():
        from iclgd.sweeps.workers import slurm_commands

        slurm_commands.cancel_pending(job)
    how = "are given back" if arguments.now else "end first"
    say(f"stopping: trials in progress {how}; go on later with --resume --dir {folder.path}")
    return 0


def _is_over(folder: SweepFolder) -> bool:
    try:
        return progress.progress_reader(folder)().is_over
    except (SweepError, OSError):  # what cannot be read can be stopped all the same
        return False


def best(arguments: argparse.Namespace) -> int:
    """Print the best config."""
    from iclgd.sweeps.progress.best import best_config

    sys.stdout.write(best_config(SweepFolder(arguments.folder), arguments.over, arguments.trial))
    return 0


def report(arguments: argparse.Namespace) -> int:
    """Print the settings of a sweep, draw its figures, and print their paths."""
    from iclgd.sweeps.progress.drawing import checked_formats, draw

    formats = checked_formats(arguments.format)
    results = read_sweep(arguments.folder, arguments.over)
    if results.metric is None:
        raise SweepError(f"{results.folder}: its sweep file names no metric, so that there is nothing to compare")
    if not any(row.metric is not None for row in results.rows):
        raise SweepError(f"{results.folder}: no trial is done yet")
    show_table(settings_table(results))
    for file in draw(results, formats):
        show(file)
    return 0


def upload(arguments: argparse.Namespace) -> int:
    """Upload all runs."""
    from iclgd.tracking.track import track

    report = track([SweepFolder(arguments.folder).runs])
    for line in str(report).splitlines():
        show(line)
    return 1 if report.failed else 0


def work(arguments: argparse.Namespace) -> int:
    """Be one worker."""
    folder = SweepFolder(arguments.folder)
    if arguments.worker is not None and Path(arguments.worker).name != arguments.worker:
        raise SweepError(f"--worker must be a name that a file can have, got {arguments.worker!r}")
    again = f"iclgd sweep work {folder.path}"
    own_entries.compare(folder.own_entries(), own_entries.describe(arguments.imports), folder.path, again)
    options = WorkerOptions(
        name=arguments.worker or f"{socket.gethostname()}-{os.getpid()}",
        position=arguments.position,
        launcher=arguments.launcher,
        nodes_per_trial=arguments.nodes_per_trial,
        gpus_per_node=arguments.gpus_per_node,
        retries=arguments.retries,
        time_limit=arguments.time_limit,
        grace=arguments.grace,
        parent=arguments.parent,
        imports=tuple(arguments.imports),
    )
    if folder.options.engine == "wandb":
        from iclgd.sweeps.workers.agent import AgentWorker

        AgentWorker(folder, options).work(arguments.count, arguments.retry_failed)
    else:
        Worker(folder, options).work()
    return 0
