"""The table of a text run: every measure of the comparison, beside its controls."""

import math
import re
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Column, Table
from rich.text import Text

from iclgd.measures import CONTROLS, TEXT_METRICS
from iclgd.report.comparisons import REC2FTP, controls_of, estimate_text, why_no_rec2ftp
from iclgd.report.results import OF_A_DRAW, OF_A_LAYER
from iclgd.report.tables import by_numbers

SPEED, MEMORY = "queries_per_second", "peak_memory_bytes"
SEARCH = "search/"  # of the learning rate: told below the table
MIB = 2**20
OF_AN_INTERVAL = re.compile(r"_(low|high)$")


@dataclass(frozen=True)
class Cell:
    """A number with its interval, which goes to a second line where the column is narrow."""

    text: str

    def __str__(self) -> str:
        return self.text

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        """Return the widths of the two lines and of the one."""
        return Measurement(max(map(len, self.text.split(" ", 1))), len(self.text))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Write one line or two."""
        fits = len(self.text) <= options.max_width
        yield Text(self.text if fits else self.text.replace(" ", "\n", 1))


class PartedTable(Table):
    """A table whose rows are never broken for want of width: the columns that find no place go to a table below.

    The first column, the names, stands in each of them.
    """

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Write the table, or those into which it has to be parted."""
        widths = [_width(column) + sum(self._padding_of_column()) + 1 for column in self.columns]
        parts: list[list[int]] = [[]]
        for index, width in enumerate(widths[1:], 1):
            taken = 1 + widths[0] + sum(widths[each] for each in parts[-1])
            if parts[-1] and taken + width > options.max_width:
                parts.append([])
            parts[-1].append(index)
        for number, part in enumerate(parts):
            whole = Table(title=self.title if number == 0 else None, title_justify="left", title_style="bold")
            whole.caption, whole.caption_justify = (self.caption if part is parts[-1] else None), "left"
            for index in (0, *part):
                column = self.columns[index]
                whole.add_column(
                    column.header, justify=column.justify, no_wrap=column.no_wrap, overflow=column.overflow
                )
            for cells, row in zip(
                zip(*(self.columns[each].cells for each in (0, *part)), strict=True), self.rows, strict=True
            ):
                whole.add_row(*cells, end_section=row.end_section)
            yield whole

    def _padding_of_column(self) -> tuple[int, int]:
        return self.padding[1], self.padding[3]


def _width(column: Column) -> int:
    """Return how wide a column is whose cells have a line each."""
    return max(len(str(each)) for each in (column.header, *column.cells))


def comparison_table(summary: dict[str, float], title: str) -> Table:
    """Return a text run's numbers: a row for each measure, a column for the comparison and for each control.

    Where not all columns have place beside each other, those of controls stand below.

    Example:
        >>> table = comparison_table({"sim_aou": 0.5, "untrained/sim_aou": 0.1, "sim_aou/layer_00": 0.5}, "run")
        >>> [[str(cell) for cell in column.cells] for column in table.columns]
        [['sim_aou'], ['0.5'], ['0.1']]
    """
    controls = controls_of(summary)
    table = PartedTable(title=title, title_justify="left", title_style="bold", caption=_caption(summary, controls))
    table.caption_justify = "left"
    table.add_column("name", no_wrap=True)
    table.add_column("value", justify="right")
    for name in controls:
        table.add_column(CONTROLS[name].label, justify="right", overflow="fold")
    for names in [*_groups(), _others(summary)]:
        for name in names:
            if name in summary:
                table.add_row(name, *[_cell(summary, f"{prefix}{name}") for prefix in ("", *_below(controls))])
        table.add_section()
    return table


def _cell(summary: dict[str, float], name: str) -> Cell:
    return Cell(estimate_text(summary, name))


def _below(controls: list[str]) -> list[str]:
    return [f"{name}/" for name in controls]


def _groups() -> list[list[str]]:
    """Return the measures whose rows stand together."""
    groups: dict[str, list[str]] = {}
    for name, entry in TEXT_METRICS.items():
        groups.setdefault(entry.group or name, []).append(name)
    return list(groups.values())


def _others(summary: dict[str, float]) -> list[str]:
    """Return what no measure and no control names, so that no measure is missed."""
    return [
        name
        for name in sorted(summary, key=by_numbers)
        if name not in (SPEED, MEMORY)
        and name not in TEXT_METRICS
        and not name.startswith(SEARCH)
        and not (OF_A_DRAW.search(name) or OF_A_LAYER.search(name) or OF_AN_INTERVAL.search(name))
        and name.partition("/")[0] not in CONTROLS
    ]


def _caption(summary: dict[str, float], controls: list[str]) -> str | None:
    """Return what intervals are over, speed and memory, and why Rec2FTP may be missing."""
    draws = {match[0] for name in summary if (match := OF_A_DRAW.search(name))}
    lines = [f"means over {len(draws)} draws of demonstrations"] * bool(draws)
    if any(OF_AN_INTERVAL.search(name) for name in summary):
        over = "draws and queries" if draws else "queries, of one draw of demonstrations"
        lines.append(f"95% intervals are over {over}")
    if (rate := summary.get(f"{SEARCH}learning_rate")) is not None:
        rows, right = (summary.get(f"{SEARCH}{name}", math.nan) for name in ("num_rows", "accuracy"))
        lines.append(f"learning rate {rate:g}: found on {rows:.0f} training rows, accuracy there {right:.3f}")
    if SPEED in summary:
        lines.append(f"{summary[SPEED]:.3g} queries per second")
    if MEMORY in summary:
        lines.append(f"peak memory {summary[MEMORY] / MIB:,.0f} MiB")
    if reason := why_no_rec2ftp(summary, ("", *_below(controls))):
        lines.append(f"{REC2FTP} nan: {reason}")
    return "\n".join(lines) or None
