"""What is said to the user: one line at a time on standard error, safe to show, and never a reason to fail."""

import contextlib
import os
import sys
from typing import IO, Any, cast

MOST_CHARACTERS = 2000  # of one line: what somebody typed or a file holds may be of any length


def escaped(text: str, most: int = MOST_CHARACTERS) -> str:
    r"""Return a text as one line without control characters, the middle left out if it is long.

    Names of files, keys and values come from strangers: raw, they could move the cursor or ring the bell.

    Args:
        text: any text.
        most: how many characters are shown.

    Example:
        >>> escaped("a\x1b[2Jb\n")
        'a\\x1b[2Jb\\n'
    """
    if len(text) > most:
        text = f"{text[: most // 2]} ... ({len(text) - most:,} characters left out) ... {text[-(most // 2) :]}"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def say(line: str) -> None:
    """Print a line on standard error, escaped; a reader who has left, or a full disk behind it, changes nothing."""
    with contextlib.suppress(OSError, ValueError):
        print(escaped(line), file=sys.stderr, flush=True)  # noqa: T201


def show(renderable: Any) -> None:
    """Print a table of rich's on standard output; rich itself ends the program if its reader has left."""
    from rich.console import Console

    console = Console()
    with console.capture() as captured:
        console.print(renderable)
    sys.stdout.write(captured.get())


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
