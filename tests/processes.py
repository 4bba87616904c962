"""Several processes of one run."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from iclgd.tracking.run_directory import RunDirectory

ICLGD = [sys.executable, "-m", "iclgd.cli"]
SECONDS = 150
NOT_FOR_READING = {"torch", "torchmetrics", "lightning", "transformers", "sklearn", "wandb"}  # seconds each
TWO_NODES = ["trainer.num_nodes=2", "trainer.strategy=ddp"]


def modules_after(*commands: list[str]) -> set[str]:
    """Return what a fresh process has imported that has done these commands."""
    script = (
        f"import sys; from iclgd.cli import main\nfor each in {commands}: assert main(each) == 0\nprint(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


def start_two_nodes(*commands: Sequence[object]) -> list[subprocess.Popen[str]]:
    """Start one process on each of two nodes, which are both this computer, as a user without a launcher would."""
    both = {**os.environ, "OMP_NUM_THREADS": "1", **free_address()}
    return [
        subprocess.Popen(
            [*ICLGD, *map(str, command)],
            env={**both, "NODE_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank, command in enumerate(commands * (2 // len(commands)))
    ]


def free_address() -> dict[str, str]:
    """Return where processes can meet that nobody else has started."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(found.getsockname()[1])}


def results(processes: Sequence[subprocess.Popen[str]]) -> list[tuple[int, str, str]]:
    """Wait for the processes; return each one's exit code, standard output and standard error."""
    try:
        outputs = [process.communicate(timeout=SECONDS) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [(process.returncode, *output) for process, output in zip(processes, outputs, strict=True)]


def run_two_nodes(*commands: Sequence[object]) -> RunDirectory:
    """Run to the end; return the run directory."""
    first, second = results(start_two_nodes(*commands))
    assert (first[0], second[0]) == (0, 0), (first, second)
    assert second[1] == "", "only the first process says something"
    return RunDirectory(Path(first[1].splitlines()[-1]))


def wait_for_metrics(runs: Path, number: int, processes: Sequence[subprocess.Popen[str]]) -> RunDirectory:
    """Return the only run below a folder once it has some lines of metrics."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        for path in runs.glob("*/[!.]*"):
            if len(RunDirectory(path).read_metrics()) >= number:
                return RunDirectory(path)
        assert all(process.poll() is None for process in processes), results(processes)
        time.sleep(0.01)
    raise AssertionError(f"no run in {runs} got as far as that: {results(processes)}")


def assert_interrupted(directory: RunDirectory, done: tuple[int, str, str], has_numbers: bool = False) -> None:
    """Check what the first process of an interrupted run says, and what it leaves."""
    code, out, err = done
    assert (code, out) == (130, ""), err
    assert err.splitlines()[-1] == f"iclgd: interrupted; continue with: iclgd resume {directory.path}"
    assert (directory.read_summary() is not None) == has_numbers
    assert [path for path in directory.path.rglob(".*") if path.name != ".lock"] == []


def signal_now(number: signal.Signals) -> None:
    """Send a signal to this process."""
    os.kill(os.getpid(), number)
