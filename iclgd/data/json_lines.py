"""Rows of a data set from a file of JSON lines, each with where it stands for messages."""

import codecs
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from iclgd.messages import first_line
from iclgd.terminal import escaped

MOST_BYTES = 16 * 2**20  # of one line


class RowsError(ValueError):
    """Rows that cannot be read; the message is one line for the user."""


class Row(NamedTuple):
    """One row."""

    position: str  # such as "train.jsonl, line 3"
    values: dict[str, Any]


def read_json_lines(path: Path) -> Iterator[Row]:
    """Yield the rows of a file with a JSON object on each line; blank lines are skipped.

    Raises:
        RowsError: for a missing or unreadable file, and a line that is too long or is not a JSON object.
    """
    for number, line in enumerate(text_lines(path), start=1):
        if text := line.strip():
            position = f"{path}, line {number}"
            yield Row(position, _parse(text, position))


def text_lines(path: Path) -> Iterator[str]:
    """Yield the lines of a text file, each with its end, without a byte order mark; only one is in memory.

    Raises:
        RowsError: for a missing or unreadable file, and a line that is too long or is not UTF-8.
    """
    try:
        with path.open("rb") as lines:
            for number in itertools.count(1):
                line = lines.readline(MOST_BYTES + 1)
                if not line:
                    return
                if len(line) > MOST_BYTES:
                    raise RowsError(f"{path}, line {number}: is longer than {MOST_BYTES:,} bytes")
                yield _decoded(line.removeprefix(codecs.BOM_UTF8) if number == 1 else line, path, number)
    except FileNotFoundError:
        raise RowsError(f"{path}: no such file") from None
    except OSError as error:
        raise RowsError(f"{path}: cannot be read ({first_line(error)})") from None


def _decoded(line: bytes, path: Path, number: int) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        raise RowsError(f"{path}: cannot be read (line {number}: not UTF-8 at byte {error.start + 1})") from None


def _parse(line: str, position: str) -> dict[str, Any]:
    try:
        values = json.loads(line, object_pairs_hook=_once, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise RowsError(f"{position}, column {error.colno}: not valid JSON ({error.msg})") from None
    except (ValueError, RecursionError) as error:  # also numbers of more digits than Python reads
        raise RowsError(f"{position}: not valid JSON ({first_line(error)})") from None
    if not isinstance(values, dict):
        raise RowsError(
            f'{position}: expected an object, such as {{"text": "...", "label": 0}}, got {escaped(line, 40)}'
        )
    return values


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse two values of one key, of which the last would win in silence."""
    values = dict(pairs)
    if len(values) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice!r} occurs {keys.count(twice)} times")
    return values


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
