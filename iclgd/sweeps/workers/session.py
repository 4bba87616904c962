"""Sessions of processes: one process, all that it starts, and all that these start, in whatever process groups.

W&B's agents put every trial in a process group of its own, and leave it behind when they are killed.
"""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from iclgd.sweeps.workers.guard import Guard

PROC = Path("/proc")  # of Linux


class SessionGuard(Guard):
    """A guard that kills the whole session of the process that it watches."""

    command = (sys.executable, "-m", "iclgd.sweeps.workers.session")


def members(session: int) -> list[int]:
    """Return the living processes of a session.

    Args:
        session: process that has begun it, and may have ended since.
    """
    found = []
    for process in _living():
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if os.getsid(process) == session:
                found.append(process)
    return found


def has_others(session: int) -> bool:
    """Say whether there are processes outside the process group of the one that has begun the session."""
    for process in members(session):
        with contextlib.suppress(ProcessLookupError):
            if os.getpgid(process) != session:
                return True
    return False


def kill(session: int) -> None:
    """Kill all processes of a session, those too that are started meanwhile."""
    killed: set[int] = set()
    while found := set(members(session)) - killed:
        for process in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        killed |= found


def _living() -> Iterator[int]:
    """Give all processes but those that have ended, and of which their parents have not taken notice yet."""
    if not PROC.exists():
        listed = subprocess.run(["ps", "-A", "-o", "pid=", "-o", "stat="], capture_output=True, text=True, check=True)
        yield from (int(line.split()[0]) for line in listed.stdout.splitlines() if line.split()[1][0] != "Z")
        return
    for path in PROC.glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it is gone
            state = path.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[0]
            if state not in "ZX":
                yield int(path.parent.name)


def _guard() -> None:
    """Read sessions until standard input ends, which it does when the worker is gone; then kill the last one."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    session = ""
    for line in sys.stdin:
        session = line.strip()
    if session:
        kill(int(session))


if __name__ == "__main__":
    _guard()
