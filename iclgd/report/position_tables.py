"""The table of a run on function classes: the errors of all learners after some numbers of examples."""

import re

from rich.table import Table

ERROR = re.compile(r"^(?P<learner>(?:new_functions/)?error/\w+)/at_(?P<position>\d+)$")


def error_table(summary: dict[str, float], title: str) -> Table:
    """Return the errors with their intervals, a row for each learner: the transformer first, then the best of the rest.

    Example:
        >>> numbers = {"error/gd/at_05": 0.5, "error/gd/at_05_low": 0.4, "error/gd/at_05_high": 0.61234}
        >>> table = error_table({**numbers, "error/gd": 0.7, "train/loss": 1.0}, "run")
        >>> [list(column.cells) for column in table.columns]
        [['error/gd'], ['0.7'], ['0.5 [0.4, 0.612]']]
    """
    found = [match for name in summary if (match := ERROR.match(name))]
    positions = sorted({match["position"] for match in found}, key=int)
    learners = sorted({match["learner"] for match in found}, key=lambda name: _order(name, summary))
    table = Table(title=title, title_justify="left", title_style="bold")
    table.caption = "squared error over the mean square of the functions [90% over prompts]"
    table.caption_justify = "left"
    table.add_column("learner")
    table.add_column("all positions", justify="right")
    for position in positions:
        table.add_column(f"after {int(position)}", justify="right")
    for learner in learners:
        table.add_row(
            learner, _number(summary, learner), *(_cell(summary, f"{learner}/at_{each}") for each in positions)
        )
    return table


def _order(name: str, summary: dict[str, float]) -> tuple[bool, bool, float]:
    """Return by what rows are sorted: functions of the task before new ones."""
    is_transformer = name.rpartition("/")[2] == "transformer"
    return not name.startswith("error/"), not is_transformer, summary.get(name, float("inf"))


def _cell(summary: dict[str, float], name: str) -> str:
    ends = [_number(summary, f"{name}_{end}") for end in ("low", "high")]
    return _number(summary, name) + (f" [{', '.join(ends)}]" if all(ends) else "")


def _number(summary: dict[str, float], name: str) -> str:
    return f"{summary[name]:.3g}" if name in summary else ""
