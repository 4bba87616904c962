"""``failure.txt`` of a run directory: the error by which a run has ended before it was complete."""

import contextlib

from iclgd.files import FileError, read_text
from iclgd.tracking.run_directory import RunDirectory

FAILURE = "failure.txt"


def write_failure(directory: RunDirectory, reason: str) -> None:
    """Write why a run has ended, in a line; a full disk may be the reason, and then there is no such file."""
    with contextlib.suppress(OSError):
        directory.write_text(FAILURE, f"{reason}\n")


def read_failure(directory: RunDirectory) -> str | None:
    """Return why a run has ended; ``None`` if it was not by an error, or has gone on since."""
    try:
        lines = read_text(directory.path / FAILURE).strip().splitlines()
    except (FileNotFoundError, FileError):
        return None
    return lines[0] if lines else "ended with an error"


def forget_failure(directory: RunDirectory) -> None:
    """Drop the reason, of a run that goes on."""
    (directory.path / FAILURE).unlink(missing_ok=True)
