"""How the page writes texts of strangers, and numbers."""

import math

from iclgd.report.comparisons import Estimate
from iclgd.review.document import Cell
from iclgd.terminal import escaped

LABEL, CELL, SENTENCE = 120, 300, 4000  # characters that are shown


def short(text: str, most: float) -> str:
    r"""Return a text as one line without control characters, the middle left out if it is long.

    Characters that turn the direction of writing are control characters; letters of any script are not.

    Args:
        text: any text.
        most: how many characters are shown.

    Example:
        >>> short("run\u202e1\n", LABEL)
        'run\\u202e1\\n'
    """
    return escaped(str(text), most)


def shown_number(value: float) -> str:
    """Write a number with four digits, whole ones whole.

    Example:
        >>> [shown_number(value) for value in (0.123456, 20000.0, 1e-7, -0.0, math.nan, -math.inf)]
        ['0.1235', '20000', '1e-07', '0', 'NaN', '-∞']
    """
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    if value == int(value) and abs(value) < 1e15:
        return str(int(value))
    return f"{value:.4g}"


def shown_cell(cell: Cell) -> tuple[str, str, float | None]:
    """Return how a cell is written, what stands behind it in a lighter colour, and the number to sort it by.

    Example:
        >>> shown_cell(Estimate(0.1863, 0.1712, 0.2))
        ('0.186', '[0.17, 0.20]', 0.1863)
        >>> shown_cell("one_layer")
        ('one_layer', '', None)
    """
    if cell is None:
        return "", "", None
    if isinstance(cell, Estimate):
        if not math.isfinite(cell.value):
            return shown_number(cell.value), "", cell.value
        value, bracket, interval = cell.text(0 if abs(cell.value) >= 10 else 2).partition(" [")
        return value, f"[{interval}" if bracket else "", cell.value
    if isinstance(cell, float | int):
        return shown_number(cell), "", float(cell)
    return short(cell, CELL), "", None
