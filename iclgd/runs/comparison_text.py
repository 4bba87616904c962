"""A comparison of runs as lines of a terminal, or as JSON."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from rich.cells import cell_len

from iclgd.report.comparisons import SMALLEST_WIDTH, Estimate
from iclgd.runs.columns import aligned
from iclgd.runs.comparison import Difference, RunComparison
from iclgd.runs.listed import value_text

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
MISSING = "-"  # for a key that a run has not
CAVEAT = "* zero is outside the interval. Intervals over queries or tasks say nothing of other seeds of training."


def letter(number: int) -> str:
    """Return the short name of a run by its place.

    Example:
        >>> letter(0), letter(27)
        ('A', 'B1')
    """
    rounds, place = divmod(number, len(LETTERS))
    return LETTERS[place] + (str(rounds) if rounds else "")


def comparison_lines(comparison: RunComparison, width: int | None = None) -> list[str]:
    """Return what a terminal shows of a comparison.

    Args:
        comparison: of runs.
        width: of the terminal; ``None`` if lines may be of any length.
    """
    letters = [letter(number) for number in range(len(comparison.runs))]
    lines = [f"{short}  {path}" for short, path in zip(letters, comparison.runs, strict=True)]
    lines += ["", *_keys("config", comparison.config, letters, width)]
    lines += ["", *_keys("environment", comparison.environment, letters, width)]
    for short, differences in zip(letters[1:], comparison.differences, strict=True):
        lines += ["", *_numbers(short, differences, width)]
    return [*lines, "", CAVEAT]


def comparison_json(comparison: RunComparison) -> str:
    """Return a comparison as JSON; numbers that are not finite are null."""
    content = {
        "runs": [str(path) for path in comparison.runs],
        "config": comparison.config,
        "environment": comparison.environment,
        "differences": [
            {str(path): [_plain(each) for each in differences]}
            for path, differences in zip(comparison.runs[1:], comparison.differences, strict=True)
        ],
        "notes": comparison.notes,
    }
    return json.dumps(_finite(content), indent=2, allow_nan=False)


def _numbers(short: str, differences: Sequence[Difference], width: int | None) -> list[str]:
    """Return the table of a run's numbers beside the first one's; in a narrow terminal its last column stands below."""
    rows = [["number", "A", short, f"{short} - A [95 %]", "", "how"], *(_row(each) for each in differences)]
    lines = aligned(rows)
    if width is None or max(map(cell_len, lines)) <= width:
        return lines
    brief = [[*row[:-1], row[-1].partition(":")[0]] for row in rows]
    lines = aligned(brief)
    if max(map(cell_len, lines)) > width:  # the values of both runs are in their summaries
        lines = aligned([[row[0], *row[3:]] for row in brief])
    return [*lines, *dict.fromkeys(each.how for each in differences)]


def _keys(title: str, keys: Mapping[str, Sequence[Any]], letters: Sequence[str], width: int | None) -> list[str]:
    if not keys:
        return [f"{title}: no difference"]
    rows = [[title, *letters]]
    rows += [[key, *(MISSING if each is None else value_text(each) for each in values)] for key, values in keys.items()]
    return aligned(rows, width, to_cut=range(len(letters), 0, -1))


def _row(each: Difference) -> list[str]:
    if each.interval is None:
        text = f"{each.second - each.first:.4g}"
    elif each.interval.high - each.interval.low < SMALLEST_WIDTH:
        text = "{:.3g} [{:.3g}, {:.3g}]".format(*each.interval)
    else:
        text = Estimate(*each.interval).text(3)
    is_clear = each.interval is not None and (each.interval.low > 0 or each.interval.high < 0)
    return [each.name, f"{each.first:.4g}", f"{each.second:.4g}", text, "*" * is_clear, each.how]


def _plain(each: Difference) -> dict[str, Any]:
    ends = (math.nan, math.nan) if each.interval is None else each.interval[1:]
    difference = each.second - each.first if each.interval is None else each.interval.difference
    return {
        "name": each.name,
        "first": each.first,
        "second": each.second,
        "difference": difference,
        "low": ends[0],
        "high": ends[1],
        "how": each.how,
    }


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    return [_finite(each) for each in value] if isinstance(value, list | tuple) else value
