"""No orphans: when a worker dies, however it dies, its trial dies with it."""

import subprocess
import threading
from typing import Self

# Reads process groups until its standard input ends, which it does when the worker is gone; then kills the last one.
# Slurm sends its signals to every process of a worker's, so to this one too.
SCRIPT = """\
trap "" HUP INT TERM USR1
while read -r line; do group=$line; done
if [ -n "$group" ]; then kill -s KILL -- "-$group"; fi
"""


class Guard:
    """A small process of its own session that outlives its worker for a moment."""

    command = ("/bin/sh", "-c", SCRIPT)

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._group: int | None = None

    def __enter__(self) -> Self:
        self._start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def watch(self, group: int | None) -> None:
        """Kill this process group, and no earlier one, should the worker die; ``None``: nothing to kill."""
        with self._lock:
            self._group = group
            try:
                self._tell()
            except BrokenPipeError:  # somebody has killed the guard
                self._process.wait()
                self._replace()

    def renew(self) -> None:
        """Replace the process if somebody has killed it."""
        with self._lock:
            if self._process.poll() is not None:
                self._replace()

    def _replace(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._start()
        self._tell()

    def _start(self) -> None:
        self._process = subprocess.Popen(
            self.command,
            stdin=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            start_new_session=True,
        )

    def _tell(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(b"%d\n" % self._group if self._group else b"\n")
