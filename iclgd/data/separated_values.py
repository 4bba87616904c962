"""Rows of a data set from a file of separated values, as spreadsheets and ``pandas`` write them."""

import csv
from collections.abc import Iterator
from pathlib import Path

from iclgd.data.json_lines import Row, RowsError, text_lines
from iclgd.terminal import escaped

MOST_SHOWN = 100  # characters of a header in a message


def read_separated_values(path: Path, delimiter: str = ",") -> Iterator[Row]:
    """Yield the rows of a file whose first line names the columns; every value is a text.

    A cell with the delimiter, a quote or a line break stands in double quotes, its own quotes doubled (RFC 4180; also
    where tabs separate). Blank lines are skipped.

    Args:
        path: the file, in UTF-8.
        delimiter: between two cells.

    Raises:
        RowsError: as :func:`~iclgd.data.json_lines.text_lines`; for a header with a name twice, quotes that do not end,
            and a row with more or fewer cells than the header.
    """
    lines = csv.reader(text_lines(path), delimiter=delimiter, strict=True)
    header: list[str] | None = None
    while True:
        position = f"{path}, line {lines.line_num + 1}"  # where the row begins: it may have line breaks
        try:
            cells = next(lines, None)
        except csv.Error as error:
            raise RowsError(f"{position}: not valid, as cells in quotes are read ({error})") from None
        if cells is None:
            return
        if not cells:
            continue
        if header is None:
            header = _header(cells, position)
        elif len(cells) != len(header):
            there = escaped(", ".join(header), MOST_SHOWN)
            raise RowsError(f"{position}: has {len(cells)} cells, but the header names {len(header)}: {there}")
        else:
            yield Row(position, dict(zip(header, cells, strict=True)))


def _header(names: list[str], position: str) -> list[str]:
    for name in names:
        if names.count(name) > 1:
            raise RowsError(
                f"{position}: the column {escaped(repr(name), MOST_SHOWN)} occurs {names.count(name)} times"
            )
    return names
