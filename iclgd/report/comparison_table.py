"""The table of a text run: every measure of the comparison, beside its controls."""

import re
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from iclgd.measures import CONTROLS, TEXT_METRICS
from iclgd.report.comparisons import REC2FTP, controls_of, estimate_text, why_no_rec2ftp
from iclgd.report.results import OF_A_LAYER

SPEED, MEMORY = "queries_per_second", "peak_memory_bytes"
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


def comparison_table(summary: dict[str, float], title: str) -> Table:
    """Return a text run's numbers: a row for each measure, a column for the comparison and for each control.

    Example:
        >>> table = comparison_table({"sim_aou": 0.5, "untrained/sim_aou": 0.1, "sim_aou/layer_00": 0.5}, "run")
        >>> [[str(cell) for cell in column.cells] for column in table.columns]
        [['sim_aou'], ['0.5'], ['0.1']]
    """
    controls = controls_of(summary)
    table = Table(title=title, title_justify="left", title_style="bold", caption=_caption(summary, controls))
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
        for name in summary
        if name not in (SPEED, MEMORY)
        and name not in TEXT_METRICS
        and not (OF_A_LAYER.search(name) or OF_AN_INTERVAL.search(name))
        and name.partition("/")[0] not in CONTROLS
    ]


def _caption(summary: dict[str, float], controls: list[str]) -> str | None:
    """Return speed and memory, and why Rec2FTP may be missing."""
    lines = []
    if SPEED in summary:
        lines.append(f"{summary[SPEED]:.3g} queries per second")
    if MEMORY in summary:
        lines.append(f"peak memory {summary[MEMORY] / MIB:,.0f} MiB")
    if reason := why_no_rec2ftp(summary, ("", *_below(controls))):
        lines.append(f"{REC2FTP} nan: {reason}")
    return "\n".join(lines) or None
