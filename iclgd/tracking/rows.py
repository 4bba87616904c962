"""The lines of ``metrics.jsonl`` as rows of W&B's, while they are written or afterwards."""

import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from iclgd.tracking.pages import OF_A_PART, without_control

GLOBAL_STEP = "trainer/global_step"
STEPS = {  # of what is not measured over training; controls' have the same
    "finetune/loss": "finetune/step",
    **dict.fromkeys(("search/accuracy", "search/log_probability"), "search/learning_rate"),
}


class Axis(NamedTuple):
    """How W&B draws a number over time.

    Attributes:
        step: the number on the x axis.
        is_hidden: whether it has no chart until somebody makes one, as numbers of single layers and seeds.
    """

    step: str
    is_hidden: bool


class Axes:
    """Says how numbers are drawn, each name once.

    Args:
        controls: names of the run's, below which theirs have the comparison's names.
    """

    def __init__(self, controls: Collection[str]) -> None:
        self._controls = controls
        self._known: dict[str, Axis] = {}

    def new_names(self, row: dict[str, Any]) -> Iterator[tuple[str, Axis]]:
        """Give the names that come for the first time and are not drawn as all others."""
        for name in row.keys() - self._known.keys():
            step = STEPS.get(without_control(name, self._controls), GLOBAL_STEP)
            axis = self._known[name] = Axis(step, OF_A_PART.search(name) is not None)
            if axis != Axis(GLOBAL_STEP, is_hidden=False):
                yield name, axis

    def with_steps(self, row: dict[str, Any]) -> dict[str, Any]:
        """Return a row with the steps of all its numbers, whose names have been given before."""
        steps = {self._known[name].step for name in row}
        return {**{step: row[GLOBAL_STEP] for step in sorted(steps) if GLOBAL_STEP in row}, **row}


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
        return {GLOBAL_STEP if name == "step" else name: value for name, value in row.items()}
    except (ValueError, RecursionError, AttributeError):  # AttributeError: not an object
        return None
