"""Reading files that somebody else wrote: regular ones of a sane size, as text."""

import os
import stat
from pathlib import Path

from iclgd.checks import InputError

MOST_BYTES = 16 * 2**20  # of a file that is read whole as text


class FileError(InputError):
    """A file that cannot be read; the message names it and says why."""


def read_text(path: Path, most_bytes: int = MOST_BYTES, encoding: str = "utf-8") -> str:
    """Return a regular file's text.

    Args:
        path: the file.
        most_bytes: how large it may be.
        encoding: of the text.

    Raises:
        FileNotFoundError: if there is none; the caller knows what is near it.
        FileError: if it is no regular file (a named pipe would wait for ever), too large, unreadable, or no text.
    """
    try:
        # Without O_NONBLOCK, opening a named pipe waits for somebody to write into it.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:  # noqa: PTH123
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise FileError(f"{path}: expected a regular file")
            content = file.read(most_bytes + 1)
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        if isinstance(error, FileError):
            raise
        raise FileError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from None
    if len(content) > most_bytes:
        raise FileError(f"{path}: is larger than {most_bytes:,} bytes")
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise FileError(f"{path}: line {line}: is not {encoding.upper()} text") from None
