"""The lines of ``metrics.jsonl`` as rows of W&B's, while they are written or afterwards."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class Rows:
    """Reads what is new in a ``metrics.jsonl``. A row's number is its line's, so it never comes under two.

    Args:
        path: of the file, which need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.count = 0  # of the lines so far
        self.last: dict[str, Any] = {}  # the newest value of each name
        self.damaged: list[int] = []  # numbers of lines that are none of ours
        self._position = 0

    def new(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Give the rows that are whole and have not been given yet, with their numbers."""
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            file.seek(self._position)
            for line in file:
                if not line.endswith(b"\n"):  # it is just being written, or was cut off
                    return
                number, self.count = self.count, self.count + 1
                self._position += len(line)
                row = _row(line)
                if row is None:
                    self.damaged.append(number)
                else:
                    self.last |= row
                    yield number, row


def count_lines(path: Path) -> int:
    """Return the number of whole lines of a file, 0 without one."""
    return path.read_bytes().count(b"\n") if path.exists() else 0


def _row(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
        return {"trainer/global_step" if name == "step" else name: value for name, value in row.items()}
    except (ValueError, RecursionError, AttributeError):  # AttributeError: not an object
        return None
