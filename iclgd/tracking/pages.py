"""What a reviewer reads of a run beside its curves, as rows and lines, from the run directory alone.

Nothing here imports W&B or PyTorch: W&B's process, which shows it, starts without the latter.
"""

import itertools
import json
import math
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

NUM_QUERIES = 1000  # of the table; predictions.jsonl has all
NUM_CHARACTERS = 1000  # of a text in it
OF_A_PART = re.compile(r"^draw_\d+/|/(?:layer|seed)_\d+")  # of names that are no headlines
OF_A_LAYER = re.compile(r"(?!draw_\d+/)(.+)/layer_(\d+)((?:/seed_\d+)?)")
ENDS = ("_low", "_high")  # of an interval
BASELINE = "_random"  # a measure's random baseline is called so
SETTINGS = ("zero_shot", "in_context", "finetuned")
Cell = str | float | int | bool | None


class Sheet(NamedTuple):
    """A table.

    Attributes:
        columns: their names.
        rows: as many cells each; ``None`` for what is not there or not defined.
    """

    columns: list[str]
    rows: list[list[Cell]]


class Line(NamedTuple):
    """A quantity over layers.

    Attributes:
        name: of the summary, without the layer.
        layers: the numbers of the layers.
        values: as many, all finite.
    """

    name: str
    layers: list[int]
    values: list[float]


def headline(summary: dict[str, Any]) -> Sheet:
    """Return the numbers that are of no single layer or seed, with their 95 % intervals.

    Example:
        >>> headline({"a": 0.5, "a_low": 0.25, "a_high": 0.75, "a/layer_00": 0.5, "b": float("nan")}).rows
        [['a', 0.5, 0.25, 0.75], ['b', None, None, None]]
    """
    whole = [name for name in summary if not OF_A_PART.search(name)]
    ends = {f"{name}{end}" for name in whole for end in ENDS}
    names = [name for name in whole if name not in ends]
    rows: list[list[Cell]] = [[name, *(_finite(summary.get(f"{name}{end}")) for end in ("", *ENDS))] for name in names]
    return Sheet(["name", "value", "low", "high"], rows)


def by_layer(summary: dict[str, Any]) -> list[Line]:
    """Return what was measured in each layer; of several seeds the mean alone, gaps left out.

    Example:
        >>> by_layer({"kendall": 0.5, "kendall/layer_00": 0.25, "kendall/layer_01": 0.75})
        [Line(name='kendall', layers=[0, 1], values=[0.25, 0.75])]
    """
    found: dict[str, dict[int, float]] = defaultdict(dict)
    for name, value in summary.items():
        if (match := OF_A_LAYER.fullmatch(name)) and not match[3] and (number := _finite(value)) is not None:
            found[match[1]][int(match[2])] = number
    return [Line(name, *map(list, zip(*sorted(of.items()), strict=True))) for name, of in found.items()]


def layer_sheet(lines: Iterable[Line]) -> Sheet:
    """Return the same as a table: a row for each layer, a column for each quantity.

    Example:
        >>> layer_sheet([Line("kendall", [0, 1], [0.25, 0.75]), Line("sim_am", [1], [0.5])])
        Sheet(columns=['layer', 'kendall', 'sim_am'], rows=[[0, 0.25, None], [1, 0.75, 0.5]])
    """
    lines = list(lines)
    points = [dict(zip(line.layers, line.values, strict=True)) for line in lines]
    layers = sorted({layer for line in lines for layer in line.layers})
    return Sheet(
        ["layer", *(line.name for line in lines)], [[layer, *(of.get(layer) for of in points)] for layer in layers]
    )


def layer_charts(lines: Iterable[Line], controls: Collection[str]) -> dict[str, list[Line]]:
    """Return the lines that share a chart, by its name: a measure, its random baseline, and the controls of both.

    Args:
        lines: see :func:`by_layer`.
        controls: names of the run's, below which theirs have the same names.

    Example:
        >>> names = ["sim_aou", "sim_aou_random", "untrained/sim_aou", "loss/gd", "loss/transformer"]
        >>> charts = layer_charts([Line(name, [0], [0.5]) for name in names], ["untrained"])
        >>> [[line.name for line in lines] for lines in charts.values()]
        [['sim_aou', 'sim_aou_random', 'untrained/sim_aou'], ['loss/gd', 'loss/transformer']]
    """
    charts: dict[str, list[Line]] = {}
    of = {line.name: without_control(line.name, controls).partition("/")[0] for line in lines}
    for line in lines:
        measured = of[line.name].removesuffix(BASELINE)
        charts.setdefault(measured if measured in of.values() else of[line.name], []).append(line)
    return charts


def queries(predictions: Path) -> Sheet | None:
    """Return the first queries of a text run with its answers in each setting; ``None`` for a run without any.

    The comparison's come before its controls'. What is longer than a table takes is shortened, and says so.

    Args:
        predictions: the file ``predictions.jsonl``.
    """
    rows = []
    for (control, draw, number), group in itertools.islice(itertools.groupby(_lines(predictions), _query), NUM_QUERIES):
        settings = {str(line.get("setting")): line for line in group}
        first = next(iter(settings.values()))
        row: list[Cell] = [_text(control or ""), draw, number, _text(first.get("text")), _text(first.get("label"))]
        for setting in SETTINGS:
            row += _answer(settings.get(setting))
        rows.append(row)
    of_settings = [f"{setting} {what}" for setting in SETTINGS for what in ("choice", "right", "scores")]
    return Sheet(["control", "draw", "query", "text", "label", *of_settings], rows) if rows else None


def _answer(line: dict[str, Any] | None) -> list[Cell]:
    """Return choice, whether it is right, and the answers' scores."""
    if line is None:
        return [None, None, None]
    choice = line.get("choice")
    scores = json.dumps(line.get("scores"), ensure_ascii=False)
    return (
        [None, None, _text(scores)] if choice is None else [_text(choice), choice == line.get("label"), _text(scores)]
    )


def _query(line: dict[str, Any]) -> tuple[str | None, int, int]:
    draw = line.get("draw")  # older runs do not have it
    return line["control"], draw if isinstance(draw, int) else 0, line["query"]


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """Read as much as is asked for; a file may have millions of lines."""
    if path.is_file():
        with path.open(encoding="utf-8", errors="replace", newline="\n") as file:
            for text in file:
                try:
                    line = json.loads(text)
                except (ValueError, RecursionError):
                    continue  # whoever checks the file tells of it
                if isinstance(line, dict) and isinstance(line.get("query"), int) and "control" in line:
                    yield line


def _text(value: object) -> str:
    """Return a text that any table takes: not too long, and without halves of characters, which no file can hold."""
    text = str(value).encode("utf-8", "replace").decode("utf-8")
    return text if len(text) <= NUM_CHARACTERS else f"{text[:NUM_CHARACTERS]}... ({len(text)} characters)"


def without_control(name: str, controls: Collection[str]) -> str:
    """Return the name that a control's number has in the comparison itself.

    Example:
        >>> without_control("untrained/sim_aou", ["untrained"]), without_control("loss/gd", ["untrained"])
        ('sim_aou', 'loss/gd')
    """
    first, _, rest = name.partition("/")
    return rest if first in controls else name


def _finite(value: Any) -> float | None:
    is_number = isinstance(value, int | float) and math.isfinite(value)
    return value if is_number else None
