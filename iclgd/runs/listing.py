"""The list of runs that ``iclgd runs`` shows: a table in one line a run, JSON or CSV."""

import csv
import io
import json
import math
from collections.abc import Callable, Sequence
from typing import Any

from iclgd.runs.bases import DEFAULTS, Bases, differences
from iclgd.runs.columns import aligned
from iclgd.runs.listed import NO_KEY, Listed, age_text, value_text

# What is looked at first; of an experiment that is not named here, the first three numbers are.
HEADLINES = {
    "regression": ("loss/transformer", "loss/gd", "alignment/sensitivity_cosine"),
    "text": ("accuracy/zero_shot", "accuracy/in_context", "accuracy/finetuned", "rec2ftp", "sim_aou"),
    "few_shot": ("accuracy/0_demonstrations", "accuracy/4_demonstrations", "accuracy/32_demonstrations"),
    "language_modeling": ("val/loss", "val/perplexity"),
    "functions": ("error/transformer", "error/least_squares"),
    "sequences": ("loss/transformer", "loss/least_squares", "loss/gd"),
}
NUM_OTHERS = 3
WIDE = 100  # columns of a terminal
DIFFERS, NUMBERS = "differs", "numbers"
FURTHER = (DIFFERS, NUMBERS, "begun")  # columns that are no keys to filter or sort by


def headlines(run: Listed) -> dict[str, float]:
    """Return a run's headline numbers by name."""
    summary = run.record.summary
    known = [name for name in HEADLINES.get(run.record.experiment, ()) if name in summary]
    parts = ("/layer_", "/seed_")
    whole = known or [name for name in summary if not any(part in name for part in parts)][:NUM_OTHERS]
    return {name: summary[name] for name in whole}


def default_columns(runs: Sequence[Listed], width: int | None = None) -> list[str]:
    """Return the columns of a table: of runs of one experiment, each headline number has its own.

    Args:
        runs: that are shown.
        width: of the terminal; in a narrow one the config, which names begin with, has no column.
    """
    first = ["name", "state", *["config"] * (width is None or width >= WIDE)]
    experiments = {run.record.experiment for run in runs if run.record.summary}
    numbers = list(dict.fromkeys(name for run in runs for name in headlines(run)))
    return [*first, *(numbers if len(experiments) == 1 else [NUMBERS]), "age", DIFFERS]


def cell(run: Listed, column: str, bases: Bases) -> str:
    """Return what a table shows of a run in a column."""
    if column == DIFFERS:
        return _differs_text(run, bases)
    if column == NUMBERS:
        return ", ".join(f"{value:.4g} {name}" for name, value in headlines(run).items())  # a cut cell has its number
    if column == "begun":
        return f"{run.record.when:%Y-%m-%d %H:%M}" if run.record.when else ""
    value = run.value(column)
    if value is NO_KEY:
        return ""
    if column == "age":
        return age_text(run.age)
    if isinstance(value, float):
        return f"{value:.4g}" if column in run.record.summary else value_text(value)
    return value_text(value)


def table(runs: Sequence[Listed], columns: Sequence[str], bases: Bases, width: int | None) -> list[str]:
    """Return a heading and a line for each run.

    Args:
        runs: in their order.
        columns: see :func:`cell`.
        bases: what the runs were made from.
        width: of the terminal; what is too wide is cut, but for names, which are typed again. ``None``: nothing is.
    """
    rows = [[cell(run, column, bases) for column in columns] for run in runs]
    order = [column for column in (DIFFERS, NUMBERS, *reversed(columns)) if column in columns and column != "name"]
    places = dict.fromkeys(list(columns).index(column) for column in order)
    return aligned([list(columns), *rows], width, list(places))


def as_json(runs: Sequence[Listed], columns: Sequence[str] | None, bases: Bases) -> str:
    """Return a list of objects; numbers that are not finite are null, as JSON knows none.

    Args:
        runs: in their order.
        columns: of each object; ``None`` for all there is, of which ``differs`` has the run's value and its base's.
        bases: what the runs were made from.
    """
    objects = [
        _everything(run, bases) if columns is None else {name: _plain(run, name, bases) for name in columns}
        for run in runs
    ]
    return json.dumps(objects, indent=2, allow_nan=False)


def as_csv(runs: Sequence[Listed], columns: Sequence[str] | None, bases: Bases) -> str:
    """Return a line for each run below one of column names; ages are in seconds.

    Args:
        runs: in their order.
        columns: ``None`` for what the table shows, with the headline numbers of all experiments.
        bases: what the runs were made from.
    """
    numbers = dict.fromkeys(name for run in runs for name in headlines(run))
    columns = ["name", "state", "config", "experiment", "age", *numbers, DIFFERS] if columns is None else columns
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for run in runs:
        writer.writerow([_csv_cell(run, column, bases) for column in columns])
    return text.getvalue()


def _everything(run: Listed, bases: Bases) -> dict[str, Any]:
    base = bases.of(run.record)
    return {
        "name": run.name,
        "path": str(run.record.path),
        "state": run.record.state,
        "problem": run.record.problem or None,
        "config": run.record.config_name,
        "experiment": run.record.experiment or None,
        "begun": run.record.when.isoformat() if run.record.when else None,
        "age": run.age,
        "version": run.record.version or None,
        "differs_from": base.name if base else None,
        "differs": {key: _finite(pair) for key, pair in differences(run.record, base).items()} if base else None,
        "summary": {key: _finite(value) for key, value in run.record.summary.items()},
        "values": {key: _finite(value) for key, value in run.record.config.items()},
    }


def _plain(run: Listed, column: str, bases: Bases) -> Any:
    if column in FURTHER:
        return _everything(run, bases)[column] if column != NUMBERS else _finite(headlines(run))
    value = run.value(column)
    return None if value is NO_KEY else _finite(value)


def _csv_cell(run: Listed, column: str, bases: Bases) -> str:
    if column in FURTHER:
        return cell(run, column, bases)
    value = run.value(column)
    return "" if value is NO_KEY else repr(value) if isinstance(value, float) else value_text(value)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    return [_finite(each) for each in value] if isinstance(value, tuple) else value


def _differs_text(run: Listed, bases: Bases) -> str:
    """Write what differs from the run's config; where no such config ships, from what."""
    if not run.record.config:
        return ""
    base = bases.of(run.record)
    if base is None:
        return "(its experiment is not known here)"
    texts = [f"{key}={value_text(value)}" for key, (value, _) in differences(run.record, base).items()]
    return " ".join([*[f"(from {DEFAULTS})"] * (base.name == DEFAULTS), *texts])


def counts(runs: Sequence[Listed], num_all: int, tell: Callable[[str], None]) -> None:
    """Tell how many of the runs are shown, if not all are."""
    if len(runs) < num_all:
        tell(f"{len(runs):,} of {num_all:,} runs; --limit 0 shows all")
