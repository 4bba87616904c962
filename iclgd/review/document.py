"""What a review says, whoever shows it: sections of verdicts, tables and charts, as plain data.

``contents`` makes it from run directories; ``page`` writes it as HTML, ``wandb_report`` as a W&B Report.
Texts may hold anything that a user wrote; whoever shows them escapes them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from iclgd.report.comparisons import Estimate

Cell = str | float | Estimate | None  # None: there is nothing; NaN: there is a number, and it is not defined
Role = Literal["transformer", "gd", "gd_plus_plus", "interpolated", "control", "chance", "paper", "other"]
Answer = Literal[
    "like",
    "unlike",
    "not told from its control",
    "lower perplexity",
    "higher perplexity",
    "better in context",
    "worse in context",
    "not told from plain",
    "yes",
    "no",
    "reproduced",
    "not reproduced",
    "cannot say",
]


@dataclass(frozen=True)
class Table:
    """Rows of cells.

    Args:
        title: of the table.
        columns: their names.
        rows: as many cells each as there are columns; numbers are sorted as numbers.
        note: what is to be known beside it.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    note: str = ""


@dataclass(frozen=True)
class Verdict:
    """An answer to one question, in a sentence computed from numbers and intervals.

    Args:
        question: such as "Is the trained transformer like gradient descent?".
        answer: one of those that there are.
        sentence: with the numbers that decide, the baseline, and the controls that it was held against.
    """

    question: str
    answer: Answer
    sentence: str


class Axis(NamedTuple):
    """An axis.

    Attributes:
        label: with its unit.
        is_log: logarithmic.
    """

    label: str
    is_log: bool = False


@dataclass(frozen=True)
class Series:
    """Points of one thing, joined to a line or not.

    Args:
        label: in the legend.
        x: numbers, or names of categories.
        y: as many; ``None`` leaves a gap.
        low: of the band or bar; empty for none.
        high: of the same.
        role: chooses colour, line and marker, the same in all charts.
        joined: by a line.
    """

    label: str
    x: Sequence[float | str]
    y: Sequence[float | None]
    low: Sequence[float | None] = ()
    high: Sequence[float | None] = ()
    role: Role = "other"
    joined: bool = True


class Mark(NamedTuple):
    """A line across a panel, such as chance, or the value in training.

    Attributes:
        at: where.
        label: what it is.
        across: the axis on which ``at`` lies.
    """

    at: float
    label: str
    across: Literal["x", "y"] = "y"


@dataclass(frozen=True)
class Plot:
    """A panel of lines, points or bars.

    Args:
        title: of the panel, may be empty.
        x: axis.
        y: axis.
        series: what is drawn.
        marks: lines across.
        bars: as bars, beside each other for each category.
    """

    title: str
    x: Axis
    y: Axis
    series: Sequence[Series]
    marks: Sequence[Mark] = ()
    bars: bool = False


@dataclass(frozen=True)
class HeatMap:
    """A panel of coloured cells, such as a weight matrix; blue below 0, red above, white at 0.

    Args:
        title: of the panel.
        rows: names.
        columns: names.
        values: of the cells, a list for each row.
    """

    title: str
    rows: Sequence[str]
    columns: Sequence[str]
    values: Sequence[Sequence[float | None]]


@dataclass(frozen=True)
class Parallel:
    """Parallel coordinates: a line for each run over several quantities.

    Args:
        title: of the panel.
        columns: names of the quantities; the last one, the metric, gives the colour.
        rows: of each run; texts are categories.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[float | str | None]]


class Live(NamedTuple):
    """What a tracker's own panel shows in a chart's place, from live runs.

    Attributes:
        kind: of the panel.
        metrics: logged or summary names; of ``parallel`` config keys too, as ``config.KEY``, and of ``scatter`` those
            against each of which the others are drawn.
        x: the logged name on the x axis.
    """

    kind: Literal["lines", "bars", "scatter", "parallel", "importance"]
    metrics: Sequence[str]
    x: str = "step"


@dataclass(frozen=True)
class Chart:
    """A figure.

    Args:
        name: short, such as ``learning_curve``.
        title: what it shows, with model or config, task, number of queries or tasks, and seeds.
        panels: side by side.
        text: what a reader who does not see it should know: computed from the numbers.
        live: how W&B shows it; ``None`` where it cannot.
    """

    name: str
    title: str
    panels: Sequence[Plot | HeatMap | Parallel]
    text: str
    live: Live | None = None


@dataclass(frozen=True)
class Section:
    """A group of runs: one experiment, or one sweep.

    Args:
        title: such as ``one_layer``.
        asked: what was asked, in a sentence or two: experiment, model, task, what differs between runs.
        verdicts: the answers; at least one, which may be that there is none.
        headline: ours, the published implementation's, the paper's.
        charts: the figures.
        tables: more of them: runs, settings, what differs.
        commands: exact, to repeat it.
        environment: name and value; where runs differ, all values.
        left_out: what could not be shown, and why, a line each.
        wandb_runs: ``entity/project/run_id`` of those that W&B has.
    """

    title: str
    asked: str
    verdicts: Sequence[Verdict]
    headline: Table
    charts: Sequence[Chart] = ()
    tables: Sequence[Table] = ()
    commands: Sequence[str] = ()
    environment: Sequence[tuple[str, str]] = ()
    left_out: Sequence[str] = ()
    wandb_runs: Sequence[str] = ()


@dataclass(frozen=True)
class Review:
    """All of it.

    Args:
        title: of the whole.
        made: when, in UTC, ``2026-01-31 12:00``.
        version: of the program that made it.
        sections: the groups.
        left_out: folders that could not be read, and why, a line each.
        sources: the paths that were asked for.
    """

    title: str
    made: str
    version: str
    sections: Sequence[Section] = ()
    left_out: Sequence[str] = ()
    sources: Sequence[str] = field(default_factory=tuple)
