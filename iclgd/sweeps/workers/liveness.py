"""Who is alive: each worker keeps a file that it locks and in which it counts; others look at both.

Optuna has heartbeats for databases only, not for its journal. On the worker's own machine the lock tells at once that
it is gone, as the system takes it back from a process that ends, however it ends. Other machines may not see locks
on some shared file systems; they take a worker for dead whose count stands still. Only differences on the observer's
own clock count: clocks of machines differ.
"""

import contextlib
import fcntl
import json
import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from iclgd.sweeps.trials.machine import machine_id

A_BEAT = re.compile(r"\d{12} \{")
SECONDS_BETWEEN_BEATS = 10.0
SECONDS_UNTIL_DEAD = 120.0  # above the time for which network file systems may show what was


@contextlib.contextmanager
def heartbeat(path: Path, seconds_between: float = SECONDS_BETWEEN_BEATS) -> Iterator[None]:
    """Keep a worker's file alive; it is removed at the end.

    Args:
        path: the file, of a name that no other worker has.
        seconds_between: two counts.

    Raises:
        OSError: if it cannot be written.
    """
    who = json.dumps({"machine": machine_id(), "host": socket.gethostname(), "pid": os.getpid()})
    with path.open("w", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # waits for an observer that just looks
        is_over = threading.Event()

        def write(count: int) -> None:
            file.seek(0)
            file.write(f"{count:012d} {who}\n")
            file.flush()

        def beat() -> None:
            count = 0
            while not is_over.wait(seconds_between):
                count += 1
                with contextlib.suppress(OSError):  # a full disk: what is there is as long, and may yet be written
                    write(count)

        write(0)
        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            is_over.set()
            thread.join()
            path.unlink(missing_ok=True)


class Observer:
    """Tells living workers from dead ones.

    Args:
        folder: of the workers' files.
        seconds_until_dead: how long a count may stand still.
    """

    def __init__(self, folder: Path, seconds_until_dead: float = SECONDS_UNTIL_DEAD) -> None:
        self.folder = folder
        self.seconds_until_dead = seconds_until_dead
        self._seen: dict[str, tuple[str, float]] = {}  # a worker's last count, and when it was first seen here

    def is_alive(self, worker: str) -> bool:
        """Say whether a worker lives."""
        path = self.folder / worker
        try:
            file = path.open("r", encoding="utf-8", errors="replace")
        except (FileNotFoundError, IsADirectoryError):
            return False
        with file:
            content = file.readline()  # written only after the file was locked
            if machine_id() in content and self._is_unlocked(file.fileno()):
                path.unlink(missing_ok=True)
                return False
        before, since = self._seen.get(worker, (None, 0.0))
        if content != before:
            self._seen[worker] = (content, time.monotonic())
            return True
        return machine_id() in content or time.monotonic() - since < self.seconds_until_dead

    def living(self) -> list[str]:
        """Return the names of the living workers; files that no worker has written are passed over."""
        paths = sorted(self.folder.iterdir()) if self.folder.is_dir() else []
        return [path.name for path in paths if self._is_a_workers(path) and self.is_alive(path.name)]

    @staticmethod
    def _is_a_workers(path: Path) -> bool:
        if path.name.startswith(".") or not path.is_file():
            return False
        try:
            with path.open("r", encoding="utf-8", errors="replace") as file:
                beginning = file.read(14)
        except OSError:
            return False
        return not beginning or A_BEAT.match(beginning) is not None  # empty: it is just being written

    @staticmethod
    def _is_unlocked(file: int) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
