"""Rows of texts in aligned columns, one line each, as fast for ten thousand as for ten."""

from collections.abc import Sequence

from rich.cells import cell_len, set_cell_size

from iclgd.terminal import escaped

MOST_CHARACTERS = 200  # of a cell
NARROWEST = 12  # to which a column may be cut
GAP = "  "


def aligned(rows: Sequence[Sequence[str]], width: int | None = None, to_cut: Sequence[int] = ()) -> list[str]:
    """Return a line for each row; columns of numbers stand on the right.

    Args:
        rows: as many cells each; the first row is the heading. They may hold anything, and are escaped.
        width: of the terminal; ``None`` if lines may be of any length.
        to_cut: the columns that are cut to fit into it, in this order.

    Example:
        >>> aligned([["name", "loss"], ["gd", "0.25"], ["a\\n", ""]])
        ['name  loss', 'gd    0.25', 'a\\\\n']
    """
    shown = [[escaped(text, MOST_CHARACTERS) for text in row] for row in rows]
    widths = [max(map(cell_len, texts)) for texts in zip(*shown, strict=True)]
    if width is not None:
        too_wide = sum(widths) + len(GAP) * (len(widths) - 1) - width
        for place in to_cut:
            cut = min(too_wide, max(0, widths[place] - NARROWEST))
            if cut > 0:
                widths[place] -= cut
                too_wide -= cut
    is_right = [all(_is_number(row[place]) for row in shown[1:]) for place in range(len(widths))]
    return [_line(row, widths, is_right) for row in shown]


def _is_number(text: str) -> bool:
    try:
        float(text or "0")
    except ValueError:
        return False
    return True


def _line(row: Sequence[str], widths: Sequence[int], is_right: Sequence[bool]) -> str:
    cells = []
    for text, width, right in zip(row, widths, is_right, strict=True):
        if cell_len(text) > width:
            cells.append(set_cell_size(text, width - 1) + "…")
        else:
            space = " " * (width - cell_len(text))
            cells.append(space + text if right else text + space)
    return GAP.join(cells).rstrip()
