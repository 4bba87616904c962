"""No orphans: when a worker dies, however it dies, its trial dies with it."""

import subprocess
from typing import Self

# Reads process groups until its standard input ends, which it does when the worker is gone; then kills the last one.
SCRIPT = 'while read -r line; do group=$line; done; if [ -n "$group" ]; then kill -s KILL -- "-$group"; fi'


class Guard:
    """A small process of its own session that outlives its worker for a moment."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", SCRIPT], stdin=subprocess.PIPE, start_new_session=True, stderr=subprocess.DEVNULL
        )
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def watch(self, group: int | None) -> None:
        """Kill this process group, and no earlier one, should the worker die; ``None``: nothing to kill."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"%d\n" % group if group else b"\n")
        self._process.stdin.flush()
