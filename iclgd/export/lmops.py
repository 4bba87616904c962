"""A text run's records in the files that the published analysis scripts read.

The scripts are those of Dai et al. 2023 (microsoft/LMOps, ``understand_icl/icl_ft``). A folder has one file
``record_info.jsonl`` for each of ``SETTINGS``, with one JSON object a line. ``zs``, ``icl`` and ``ftzs`` have a line
for each query, in the same order, with what was seen at its last token:

- ``self_attn_out_hiddens``: outputs of the attention blocks, before the residual, ``[layers][hidden]``;
- ``attn_map``: scores with the query's own tokens, before the softmax, ``[layers][heads][query length]``; 0 where a
  layer's window or chunk hides a token in one of the settings, which leaves it out of the scripts' cosines;
- ``attn_map_ctx``: scores with the context's tokens, summed over heads, ``[layers][context length]``; so far below
  all others that the softmax is 0 where one is hidden (the scripts still rank such tokens); for ``zs`` and
  ``ftzs`` the context is the start token (0 if there is none);
- ``attn_q``, only ``ftzs``: scaled query vectors, heads one after the other, ``[layers][hidden]``;
- ``gold_label`` and ``pred_label``: the right answer and the model's.

``ft`` has a line for each demonstration, in the order of the context:

- ``attn_q``: scaled query vectors of the start token (0 if there is none) and of all its own tokens,
  ``[layers][1 + length][hidden]``.

What the scripts take for granted of the context, and how others are brought into that form, is in
:func:`context_columns`.
"""

import contextlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from iclgd.files import made_whole

SETTINGS = {
    "zs": "each query alone",
    "icl": "each query after the demonstrations",
    "ftzs": "each query alone, with the finetuned weights",
    "ft": "each demonstration, as it is finetuned on",
}
FILE_NAME = "record_info.jsonl"
NOTHING = -1  # the column of a position that our context does not have

Record = Mapping[str, NDArray[Any] | int]


def context_columns(lengths: Sequence[int], num_start: int, num_separator: int) -> list[int]:
    """Return which of our context's tokens goes to each position of the published layout; ``NOTHING``: write 0 there.

    In the published layout position 0 is the start token. Then comes each demonstration with L recorded tokens (the
    start token and its L - 1 own, as in ``ft``), which fills L positions: its own tokens and one separator. The scripts
    use the first L - 1 of these. Our tokenizers may have no start token, and our separators none or several tokens:
    the position is then empty, or has the separator's first token. The scripts so use exactly the tokens that we
    compare: the demonstrations' own.

    Args:
        lengths: number of each demonstration's own tokens.
        num_start: tokens before the first demonstration.
        num_separator: tokens after each demonstration.

    Returns:
        ``1 + sum(length + 1)`` numbers.

    Example:
        >>> context_columns([2, 1], num_start=1, num_separator=2)
        [0, 1, 2, 3, 5, 6]
        >>> context_columns([2, 1], num_start=0, num_separator=0)
        [-1, 0, 1, -1, 2, -1]
    """
    columns, position = [0 if num_start else NOTHING], num_start
    for length in lengths:
        separator = position + length
        columns += [*range(position, separator), separator if num_separator else NOTHING]
        position = separator + num_separator
    return columns


def arrange_context(scores: NDArray[Any], columns: Sequence[int]) -> NDArray[Any]:
    """Bring scores with our context's tokens into the published layout.

    Args:
        scores: shape ``(..., N)``.
        columns: P of them, as from :func:`context_columns`.

    Returns:
        shape ``(..., P)``.

    Example:
        >>> arrange_context(np.array([3.0, 4.0]), [-1, 0, 1, -1]).tolist()
        [0.0, 3.0, 4.0, 0.0]
    """
    chosen = np.asarray(columns)
    return np.where(chosen == NOTHING, scores.dtype.type(0), scores[..., chosen])


class RecordFiles:
    """The files of :func:`write_records` while they are written: lines go to the disk as they come, in any order.

    Args:
        folder: where to write.
    """

    def __init__(self, folder: Path) -> None:
        self._paths = {setting: folder / setting / FILE_NAME for setting in SETTINGS}
        self._files: dict[str, IO[bytes]] = {}
        self._places: dict[str, dict[int, tuple[int, int]]] = {setting: {} for setting in SETTINGS}

    def write(self, setting: str, index: int, record: Record) -> None:
        """Add a line.

        Args:
            setting: one of ``SETTINGS``.
            index: of the line in its file, when all are there.
            record: whole numbers, and arrays of floating-point numbers of any shape.

        Raises:
            OSError: if it cannot be written.
        """
        line = (_to_json(record) + "\n").encode()
        file = self._files[setting]
        self._places[setting][index] = (file.tell(), len(line))
        file.write(line)

    def open(self) -> None:
        """Make the files; lines may come."""
        for setting, path in self._paths.items():
            path.parent.mkdir()
            self._files[setting] = path.with_suffix(".unordered").open("w+b")

    def close(self) -> None:
        """Close the files; nothing is said of what they lack."""
        for file in self._files.values():
            file.close()

    def order(self) -> None:
        """Bring the lines into order."""
        for setting, path in self._paths.items():
            unordered, places = self._files[setting], self._places[setting]
            with path.open("wb") as file:
                for start, length in (places[index] for index in sorted(places)):
                    unordered.seek(start)
                    file.write(unordered.read(length))
                file.flush()
                os.fsync(file.fileno())
            unordered.close()
            path.with_suffix(".unordered").unlink()


@contextlib.contextmanager
def write_records(folder: Path) -> Iterator[RecordFiles]:
    """Write a folder of records that is there whole or not at all.

    Args:
        folder: must not exist, but for an empty one.

    Raises:
        OSError: if it cannot be written, or has come into being with something in it; nothing is left behind then.
    """
    with made_whole(folder) as unfinished:
        files = RecordFiles(unfinished)
        with contextlib.closing(files):
            files.open()
            yield files
            files.order()


def _to_json(record: Record) -> str:
    """Return an object in one line.

    Numbers have the digits that their precision needs (9, or 17 in double precision): half of what ``json`` writes of
    single precision, and three times as fast. It counts: models of usual size make gigabytes.
    """
    entries = (
        f'"{key}": {json.dumps(value) if isinstance(value, int) else _array(value)}' for key, value in record.items()
    )
    return "{" + ", ".join(entries) + "}"


def _array(values: NDArray[Any]) -> str:
    template = "%.17g" if values.dtype == np.float64 else "%.9g"
    for size in reversed(values.shape):
        template = "[" + ", ".join([template] * size) + "]"
    text = template % tuple(values.ravel().tolist())
    return text if np.isfinite(values).all() else text.replace("nan", "NaN").replace("inf", "Infinity")
