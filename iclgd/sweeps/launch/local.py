"""The local launcher: worker processes on this machine, which share its cores and GPUs; dead ones are replaced."""

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence

from iclgd.sweeps.progress.display import Display
from iclgd.sweeps.progress.status import Progress
from iclgd.sweeps.trials.folder import SweepFolder

SECONDS_BETWEEN_LOOKS = 0.5
MAX_DEATHS = 20  # of workers in a row, without a trial done in between
SECONDS_TO_END = 90.0  # for workers that are asked to stop, before they are killed


class LocalWorkers:
    """The worker processes of one launch.

    Args:
        folder: of the sweep.
        num_workers: how many.
        arguments: of ``iclgd sweep work``, beside those that differ between workers.
    """

    def __init__(self, folder: SweepFolder, num_workers: int, arguments: Sequence[str]) -> None:
        self.folder = folder
        self.arguments = arguments
        self.environments = [share(index, num_workers, os.environ, _num_gpus()) for index in range(num_workers)]
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self._logs = [folder.logs / f"worker-{index}.log" for index in range(num_workers)]

    def start(self, index: int) -> None:
        """Start a worker, in a session of its own: Ctrl-C is for us to pass on."""
        name = f"{socket.gethostname()}-{index}-{secrets.token_hex(3)}"
        command = [sys.executable, "-m", "iclgd.cli", "sweep", "work", str(self.folder.path), "--worker", name]
        command += ["--position", str(index), "--parent", str(os.getpid()), *self.arguments]
        with self._logs[index].open("ab") as log:
            self._processes[index] = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.environments[index],
                start_new_session=True,
            )

    def ended(self) -> dict[int, int]:
        """Return the exit codes of workers that have ended since the last call, by index."""
        codes = {index: code for index, process in self._processes.items() if (code := process.poll()) is not None}
        for index in codes:
            del self._processes[index]
        return codes

    @property
    def num_running(self) -> int:
        """Return how many are running."""
        return len(self._processes)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to all of them."""
        for process in self._processes.values():
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(number)

    def last_words(self, index: int) -> str:
        """Return the last line of a worker's log."""
        lines = self._logs[index].read_text(encoding="utf-8", errors="replace").splitlines()
        return next((line for line in reversed(lines) if line.strip()), "no message").removeprefix("iclgd: ")


def run_workers(workers: LocalWorkers, count: int, read: Callable[[], Progress], display: Display) -> str | None:
    """Keep workers at work until the sweep is over or asked to stop; return what went wrong, if anything did.

    Args:
        workers: of this launch.
        count: how many to start.
        read: tells how far the sweep is.
        display: shows it.

    Raises:
        KeyboardInterrupt: on Ctrl-C, once the trials in progress have been given back.
    """
    problem, num_deaths, num_ended = None, 0, 0
    try:
        for index in range(count):
            workers.start(index)
        while workers.num_running:
            time.sleep(SECONDS_BETWEEN_LOOKS)
            progress = read()
            display.show(progress)
            if progress.num_ended > num_ended:
                num_ended, num_deaths = progress.num_ended, 0
            for index, code in workers.ended().items():
                if code == 0:
                    continue
                if code > 0:
                    problem = workers.last_words(index)
                    continue
                if num_deaths >= MAX_DEATHS:
                    problem = f"{MAX_DEATHS} workers in a row were killed (signal {-code}) before any trial was done"
                    continue
                num_deaths += 1
                if workers.folder.stop_mode() is None and not progress.is_over:
                    workers.start(index)
    except BaseException:
        _end(workers)
        raise
    display.show(read())
    return problem


def share(index: int, num_workers: int, environment: Mapping[str, str], num_gpus: int) -> dict[str, str]:
    """Return a worker's environment with its part of the cores and GPUs.

    Two processes that both take all cores slow each other many times.

    Args:
        index: of the worker.
        num_workers: how many share the machine.
        environment: of this process.
        num_gpus: of this machine.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    shared = {**environment, "OMP_NUM_THREADS": str(max(1, cores // num_workers))}
    if num_gpus:
        visible = environment.get("CUDA_VISIBLE_DEVICES")
        gpus = visible.split(",") if visible else [str(gpu) for gpu in range(num_gpus)]
        own = gpus[index::num_workers] or [gpus[index % len(gpus)]]
        shared["CUDA_VISIBLE_DEVICES"] = ",".join(own)
    return shared


def _num_gpus() -> int:
    if not any(shutil.which(tool) for tool in ("nvidia-smi", "rocm-smi")):  # without a driver; torch takes seconds
        return 0
    import torch

    return torch.cuda.device_count()


def _end(workers: LocalWorkers) -> None:
    """Ask all workers to give their trials back; kill those that do not, and all of them on a second Ctrl-C."""
    workers.signal(signal.SIGTERM)
    deadline = time.monotonic() + SECONDS_TO_END
    try:
        while workers.num_running and time.monotonic() < deadline:
            time.sleep(SECONDS_BETWEEN_LOOKS)
            workers.ended()
    finally:
        workers.signal(signal.SIGKILL)
