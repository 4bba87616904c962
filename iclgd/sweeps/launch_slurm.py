"""The Slurm launcher: an array of workers, resubmitted while trials are left."""

import argparse
import math
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from iclgd.sweeps import slurm
from iclgd.sweeps.folder import SweepFolder
from iclgd.sweeps.start import worker_arguments
from iclgd.sweeps.status import Progress
from iclgd.sweeps.watching import Display

SECONDS_BETWEEN_LOOKS = 2.0
SECONDS_BETWEEN_QUEUE_LOOKS = 10.0


def script_text(folder: Path, arguments: argparse.Namespace) -> str:
    """Return the batch script of an array of workers."""
    jobs = slurm.SlurmJobs(
        workers=arguments.workers,
        nodes_per_trial=arguments.nodes_per_trial,
        gpus_per_node=arguments.gpus_per_node,
        options=tuple(arguments.sbatch),
        notice=math.ceil(arguments.grace) + 60,
    )
    return slurm.script(jobs, folder.absolute(), sys.executable, Path.cwd(), os.environ, worker_arguments(arguments))


def run_jobs(
    folder: SweepFolder, arguments: argparse.Namespace, read: Callable[[], Progress], display: Display
) -> str | None:
    """Submit workers and wait until the sweep is over or asked to stop; return what went wrong, if anything did.

    Raises:
        SlurmError: if nothing can be submitted.
        KeyboardInterrupt: on Ctrl-C; the jobs go on.
    """
    folder.slurm.mkdir(exist_ok=True)
    num_before, job = -1, ""
    looked = -math.inf
    try:
        while not (progress := read()).is_over:
            display.show(progress)
            if time.monotonic() - looked > SECONDS_BETWEEN_QUEUE_LOOKS and not (job and slurm.unfinished(job)):
                num_now = progress.done + progress.pruned + progress.failed
                if folder.stop_mode() is not None:
                    return None
                if num_now == num_before:  # a whole array of workers came to nothing
                    return f"jobs {job} ended and left trials; see {folder.logs}"
                num_before = num_now
                job = _submit(folder, arguments)
            if time.monotonic() - looked > SECONDS_BETWEEN_QUEUE_LOOKS:
                looked = time.monotonic()
            time.sleep(SECONDS_BETWEEN_LOOKS)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"no longer watching; job {job} goes on: see iclgd sweep status {folder.path}, or iclgd sweep stop"
        ) from None
    display.show(progress)
    return None


def _submit(folder: SweepFolder, arguments: argparse.Namespace) -> str:
    script = folder.slurm / f"workers-{len(list(folder.slurm.glob('*.sh')))}.sh"
    script.write_text(script_text(folder.path, arguments), encoding="utf-8")
    job = slurm.submit(script)
    with (folder.slurm / "jobs").open("a", encoding="utf-8") as file:
        file.write(f"{job}\n")
    print(f"submitted {script} as job {job}", file=sys.stderr, flush=True)  # noqa: T201
    return job
