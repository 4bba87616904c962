"""Texts of users in blocks of a W&B Report: one line, no control characters, and nothing in them is markup."""

import re
from collections.abc import Sequence

from iclgd.review.document import Cell, Table
from iclgd.review.page_texts import shown_cell
from iclgd.terminal import escaped

MOST_CHARACTERS = 2000  # of a text
MOST_CHARACTERS_OF_CELL = 200
MOST_ROWS = 50  # of a table: W&B shows all of them, and cannot fold or sort them
# A backslash does not help against HTML, nor, with W&B's formulas in mind, against $; in a table | ends the cell.
ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "$": "&#36;", "|": "&#124;", "@": "&#64;"}
MARKUP = re.compile(r"([\\`*_\[\]~!{}#]|^[-+=])|([&<>$|@])")


def plain(text: str, most: int = MOST_CHARACTERS) -> str:
    r"""Return a text as one line, its middle left out if it is long.

    Example:
        >>> plain("two\n lines\x1b[2J")
        'two lines\\x1b[2J'
    """
    return escaped(" ".join(text.split()), most)


def in_markdown(text: str, most: int = MOST_CHARACTERS) -> str:
    r"""Return a text as Markdown that shows it as it is.

    Example:
        >>> in_markdown("<b>|*x*")
        '&lt;b&gt;&#124;\\*x\\*'
    """
    return MARKUP.sub(lambda found: f"\\{found[1]}" if found[1] else ENTITIES[found[2]], plain(text, most))


def cell_text(cell: Cell) -> str:
    """Write a cell of a table as the page does.

    Example:
        >>> import math
        >>> from iclgd.report.comparisons import Estimate
        >>> [cell_text(each) for each in (None, "gd", 20000.0, 0.123456, math.nan, Estimate(0.5, 0.25, 0.75))]
        ['', 'gd', '20000', '0.1235', 'NaN', '0.500 [0.25, 0.75]']
    """
    if isinstance(cell, str):
        return cell
    value, interval, _ = shown_cell(cell)
    return f"{value} {interval}".strip()


def markdown_table(table: Table) -> str:
    """Return a table with its title and note, the rows that are too many left out and said."""
    lines = [f"**{in_markdown(table.title)}**", ""] if table.title.strip() else []
    if table.columns:
        lines += [_line(table.columns), "|" + " --- |" * len(table.columns)]
        lines += [_line([cell_text(cell) for cell in row]) for row in table.rows[:MOST_ROWS]]
    notes = [in_markdown(table.note)] if table.note.strip() else []
    if len(table.rows) > MOST_ROWS:
        notes.append(f"{len(table.rows) - MOST_ROWS} more rows are left out here.")
    return "\n".join([*lines, *(part for note in notes for part in ("", note))])


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(in_markdown(cell, MOST_CHARACTERS_OF_CELL) for cell in cells) + " |"
