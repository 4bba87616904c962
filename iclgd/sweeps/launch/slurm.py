"""The Slurm launcher: an array of workers, resubmitted while trials are left."""

import argparse
import math
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

from iclgd.sweeps.launch import slurm_script
from iclgd.sweeps.launch.slurm_script import SlurmJobs
from iclgd.sweeps.progress.display import Display
from iclgd.sweeps.progress.status import Progress
from iclgd.sweeps.trials.folder import SweepFolder
from iclgd.sweeps.workers import slurm_commands
from iclgd.sweeps.workers.options import worker_arguments
from iclgd.terminal import say

SECONDS_BETWEEN_LOOKS = 2.0
SECONDS_BETWEEN_QUEUE_LOOKS = 10.0
SECONDS_TO_TELL = 60  # for a worker, beside what a trial needs for its checkpoint
MAX_FRUITLESS = 3  # arrays of workers in a row that end without ending a trial


def find_slurm() -> None:
    """Raise a SlurmError if jobs cannot be submitted from here."""
    if shutil.which("sbatch") is None:
        raise slurm_commands.not_found("sbatch")


def jobs_of(arguments: argparse.Namespace, num_workers: int) -> SlurmJobs:
    """Return what Slurm is asked for.

    Raises:
        SlurmError: if it cannot be.
    """
    return SlurmJobs(
        workers=num_workers,
        nodes_per_trial=arguments.nodes_per_trial,
        gpus_per_node=arguments.gpus_per_node,
        options=tuple(arguments.sbatch),
        notice=math.ceil(arguments.grace) + SECONDS_TO_TELL,
    )


def script_text(folder: Path, arguments: argparse.Namespace, num_workers: int) -> str:
    """Return the batch script of an array of workers; errors as of :func:`jobs_of`."""
    jobs = jobs_of(arguments, num_workers)
    return slurm_script.script(
        jobs, folder.absolute(), sys.executable, Path.cwd(), os.environ, worker_arguments(arguments)
    )


def run_jobs(
    folder: SweepFolder, arguments: argparse.Namespace, read: Callable[[], Progress], display: Display
) -> str | None:
    """Submit workers and wait until the sweep is over or asked to stop; return what went wrong, if anything did.

    Raises:
        SlurmError: if nothing can be submitted.
        KeyboardInterrupt: on Ctrl-C; the jobs go on.
    """
    folder.slurm.mkdir(exist_ok=True)
    is_online = folder.options.engine == "wandb"
    job, num_ended, num_fruitless, next_look = "", -1, 0, 0.0
    try:
        while not (progress := read()).is_over or is_online:
            display.show(progress)
            if time.monotonic() >= next_look:
                if not job or not slurm_commands.unfinished(job):
                    if folder.stop_mode() is not None or (job and is_online):  # whose agents know when it is over
                        return None
                    num_fruitless = num_fruitless + 1 if progress.num_ended == num_ended else 0
                    if num_fruitless == MAX_FRUITLESS:
                        return f"job {job}, as others before it, ended without ending a trial; see {folder.logs}"
                    num_ended = progress.num_ended
                    job = _submit(folder, arguments, progress)
                next_look = time.monotonic() + SECONDS_BETWEEN_QUEUE_LOOKS
            time.sleep(SECONDS_BETWEEN_LOOKS)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"no longer watching; job {job} goes on: iclgd sweep status {folder.path}, or iclgd sweep stop"
        ) from None
    display.show(progress)
    if job:
        slurm_commands.cancel_pending(job)  # workers that would find nothing to do
    return None


def _submit(folder: SweepFolder, arguments: argparse.Namespace, progress: Progress) -> str:
    num_left = arguments.workers if progress.total is None else progress.total - progress.done - progress.pruned
    script = folder.slurm / f"workers-{len(list(folder.slurm.glob('*.sh')))}.sh"
    script.write_text(script_text(folder.path, arguments, min(arguments.workers, num_left)), encoding="utf-8")
    job = slurm_commands.submit(script)
    with (folder.slurm / "jobs").open("a", encoding="utf-8") as file:
        file.write(f"{job}\n")
    say(f"submitted {script} as job {job}")
    return job
