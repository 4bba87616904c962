"""``predictions.jsonl``: what a text run has answered, a line for each query in each setting."""

import json
from collections.abc import Iterable
from typing import Any

from iclgd.files import FileError, read_text
from iclgd.terminal import say
from iclgd.tracking.run_directory import MOST_BYTES, PREDICTIONS, RunDirectory, Tell


def write_predictions(directory: RunDirectory, rows: Iterable[dict[str, Any]]) -> None:
    """Write all rows, before the summary, whose checksums include theirs.

    Raises:
        OSError: if they cannot be written.
    """
    directory.write_text(PREDICTIONS, "".join(json.dumps(row) + "\n" for row in rows))


def read_predictions(directory: RunDirectory, tell: Tell = say) -> list[dict[str, Any]]:
    """Return the rows; none of a run that has made none, as all of an older version. What is damaged is told."""
    path = directory.path / PREDICTIONS
    wrong = directory.problem_with(PREDICTIONS) if directory.read_summary(lambda _: None) is not None else None
    try:
        lines = read_text(path, MOST_BYTES).splitlines()
    except FileNotFoundError:
        lines = []
    except FileError as error:
        tell(f"{error}; going on without it")
        return []
    if wrong is not None:
        tell(f"{path}: {wrong}; made again by: iclgd resume {directory.path}")
    rows = [row for line in lines if (row := _row(line)) is not None]
    if len(rows) < len(lines):
        tell(f"{path}: {len(lines) - len(rows)} of {len(lines)} lines are damaged and left out")
    return rows


def _row(line: str) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None
