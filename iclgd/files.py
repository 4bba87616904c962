"""Files: those that somebody else wrote are read as text, regular ones of a sane size; ours are written whole."""

import contextlib
import difflib
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from iclgd.checks import InputError

MOST_BYTES = 16 * 2**20  # of a file that is read whole as text
MOST_BYTES_OF_NAME = 200  # systems take 255, and unfinished folders have longer names


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
        raise FileError(f"{path}: line {line}: is not {encoding.removesuffix('-sig').upper()} text") from None


def no_such_file(path: Path) -> FileError:
    """Return the error that there is no such file, with the name nearest to it of those beside it."""
    beside = [each.name for each in path.parent.glob(f"*{path.suffix or '.*'}")]
    close = difflib.get_close_matches(path.name, beside, n=1)
    return FileError(f"{path}: no such file" + (f"; did you mean {path.parent / close[0]}?" if close else ""))


def name_for_folder(path: Path) -> str:
    """Return a file's name without its ending, by which a folder of results is called.

    Raises:
        FileError: if no folder may be called so: ``...yaml`` would be the one above.

    Example:
        >>> name_for_folder(Path("configs/one_layer.yaml"))
        'one_layer'
    """
    try:
        return checked_name(path.stem)
    except FileError as error:
        raise FileError(f"{path}: results go to a folder of its name, which {error}; or give a --name") from None


def checked_name(name: str) -> str:
    """Return a name by which a folder of results may be called.

    Raises:
        FileError: if none may; the message says what it must be.

    Example:
        >>> checked_name("two/layers")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        iclgd.files.FileError: must not be empty or begin with a dot, must have no '/' or control characters and ...
    """
    is_usable = name and not name.startswith(".") and "/" not in name and name.isprintable()
    if not is_usable or len(name.encode()) > MOST_BYTES_OF_NAME:
        raise FileError(
            "must not be empty or begin with a dot, must have no '/' or control characters and at most "
            f"{MOST_BYTES_OF_NAME} bytes"
        )
    return name


@contextlib.contextmanager
def made_whole(path: Path) -> Iterator[Path]:
    """Give a hidden folder that takes its place at ``path`` once it is filled; nothing is left of one that is not.

    Raises:
        OSError: if it cannot be made, or a folder that is not empty is there already.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(3)}")
    unfinished.mkdir()
    try:
        yield unfinished
        unfinished.rename(path)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise


@contextlib.contextmanager
def write_atomically(path: Path) -> Iterator[IO[bytes]]:
    """Open a file for writing that replaces ``path`` only once it is complete and on the disk."""
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(3)}")
    try:
        with unfinished.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except OSError as error:
        error.filename = error.filename or str(path)  # a full disk does not say which
        raise
    finally:
        unfinished.unlink(missing_ok=True)
