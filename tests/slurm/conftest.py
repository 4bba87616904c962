"""Tests on a real cluster of at least two nodes that share their files; see the script `run` beside this file."""

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from iclgd.sweeps.workers import slurm_commands

PATIENCE = 240.0  # seconds: on a real cluster a requeued job waits two minutes


@pytest.fixture(autouse=True, scope="session")
def _cluster() -> None:
    try:
        nodes = subprocess.run(["sinfo", "--noheader", "--format=%D"], capture_output=True, text=True)
    except FileNotFoundError:
        pytest.fail("no Slurm here: start these tests by tests/slurm/run")
    if nodes.returncode != 0:
        pytest.fail(f"no Slurm cluster answers; start these tests by tests/slurm/run ({nodes.stderr.strip()})")


@pytest.fixture
def jobs() -> Iterator[list[str]]:
    """List of jobs that are cancelled at the end of the test."""
    ids: list[str] = []
    yield ids
    for job in ids:
        subprocess.run(["scancel", job], capture_output=True, check=False)
    for job in ids:
        until(lambda job=job: not slurm_commands.unfinished(job), f"the end of job {job}")  # type: ignore[misc]


def until(condition: Callable[[], object], what: str, seconds: float = PATIENCE) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"waited in vain for {what}")
        time.sleep(0.1)


def lines(path: Path) -> list[str]:
    """Return the lines of a file that may come later."""
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []
