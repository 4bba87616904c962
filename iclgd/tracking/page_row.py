"""Figures, tables and charts of a complete run as W&B takes them: the values of one row."""

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from iclgd.messages import all_lines
from iclgd.tracking.pages import Line, Sheet, by_layer, headline, layer_charts, layer_sheet, queries
from iclgd.tracking.run_directory import PREDICTIONS, RunDirectory

if TYPE_CHECKING:
    import wandb
    from wandb.plot.custom_chart import CustomChart


def page_row(
    directory: RunDirectory, summary: dict[str, Any], controls: Collection[str]
) -> tuple[dict[str, Any], list[str]]:
    """Return figures, tables and charts by W&B's names of them, and what cannot be read.

    Args:
        directory: the run's.
        summary: its final numbers.
        controls: names of a text run's.
    """
    import wandb

    row: dict[str, Any] = {}
    problems = []
    for path in sorted(directory.figures.glob("*.png")):
        try:
            row[f"figures/{path.stem}"] = wandb.Image(str(path))
        except Exception as error:
            problems.append(f"{path}: {all_lines(error)}")
    if summary:
        row["tables/headline"] = _table(headline(summary))
    if lines := by_layer(summary):
        row["tables/layers"] = _table(layer_sheet(lines))
        row |= {f"layers/{name}": _chart(name, chart) for name, chart in layer_charts(lines, controls).items()}
    try:
        if (wrong := directory.problem_with(PREDICTIONS)) is not None:
            problems.append(f"{directory.path / PREDICTIONS}: {wrong}")
        if sheet := queries(directory.path / PREDICTIONS):
            row["tables/queries"] = _table(sheet)
    except OSError as error:
        problems.append(f"{directory.path / PREDICTIONS}: {error.strerror}")
    return row, problems


def _table(sheet: Sheet) -> "wandb.Table":
    import wandb

    return wandb.Table(columns=[*sheet.columns], data=sheet.rows)


def _chart(title: str, lines: list[Line]) -> "CustomChart":
    import wandb

    return wandb.plot.line_series(
        [line.layers for line in lines],
        [line.values for line in lines],
        keys=[line.name for line in lines],
        title=title,
        xname="layer",
        split_table=True,
    )
