"""No orphans: when a worker dies, however it dies, its trial dies with it."""

import contextlib
import subprocess
from typing import Self

# Reads process groups until its standard input ends, which it does when the worker is gone; then kills the last one.
# Slurm sends its signals to every process of a worker's, so to this one too.
SCRIPT = 'trap "" HUP INT TERM USR1; while read -r line; do group=$line; done; if [ -n "$group" ]; then kill -s KILL -- "-$group"; fi'


class Guard:
    """A small process of its own session that outlives its worker for a moment."""

    def __enter__(self) -> Self:
        self._start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()

    def watch(self, group: int | None) -> None:
        """Kill this process group, and no earlier one, should the worker die; ``None``: nothing to kill."""
        line = b"%d\n" % group if group else b"\n"
        try:
            self._write(line)
        except BrokenPipeError:  # somebody has killed the guard
            self._process.wait()
            self._start()
            self._write(line)

    def _start(self) -> None:
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", SCRIPT],
            stdin=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            start_new_session=True,
        )

    def _write(self, line: bytes) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line)
