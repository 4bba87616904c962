"""Standard streams whose other end may be closed, full or gone: never a reason to fail."""

import contextlib
import os
import sys
from typing import IO, Any, cast


class _Dropping:
    """See :func:`dropping`."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write, if that is possible."""
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush, if that is possible."""
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def dropping(stream: IO[str]) -> IO[str]:
    """Return a stream that takes everything; what its reader, who may leave, does not take is dropped."""
    return cast(IO[str], _Dropping(stream))


def open_streams() -> None:
    """Open what a shell has closed (``2>&-``): the next file would get its number, and what libraries print there."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)  # the lowest number that is free, which is this one
            os.set_inheritable(opened, True)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115


def let_go_of_streams() -> OSError | None:
    """Write out what is left, or drop it: Python would fail at its end; return why standard output took no more."""
    problem = None
    for stream in (sys.stderr, sys.stdout):
        try:
            stream.flush()
        except (OSError, ValueError) as error:
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
            if stream is sys.stdout and isinstance(error, OSError):
                problem = error
    return problem
