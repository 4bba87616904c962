"""Commands that look at many runs, or at several beside each other."""

import argparse
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

from iclgd.checks import InputError
from iclgd.terminal import say, show

NUM_SHOWN = 50  # rows of a table
NUM_PROBLEMS = 5  # that are told, one a line
SECONDS_BETWEEN_LINES = 5.0  # about how far reading is


def runs(arguments: argparse.Namespace) -> int:
    """Print a list of runs."""
    from iclgd.runs.bases import Bases
    from iclgd.runs.filters import filtered
    from iclgd.runs.index import RunIndex
    from iclgd.runs.listed import check_keys, listed, ordered
    from iclgd.runs.listing import FURTHER, as_csv, as_json, counts, default_columns, table
    from iclgd.runs.records import find_records

    if arguments.limit is not None and arguments.limit < 0:
        raise InputError(f"--limit must be at least 0 (all of them), got {arguments.limit}")
    folders = arguments.dir or [Path(os.environ.get("ICLGD_RUNS") or "runs")]
    for folder in arguments.dir:
        if not folder.is_dir():
            raise InputError(f"--dir {folder}: no such folder")
    index = RunIndex(folders)
    records, left_out = find_records(folders, index, _progress())
    index.save()
    if not folders[0].exists():
        left_out = []
    known = listed(records, folders)
    columns = None if arguments.columns is None else [each.strip() for each in arguments.columns.split(",")]
    check_keys([arguments.sort], known)
    check_keys(columns or (), known, FURTHER)
    chosen = ordered(filtered(known, arguments.overrides), arguments.sort, arguments.reverse)
    is_table = not (arguments.json or arguments.csv)
    limit = (NUM_SHOWN if is_table else 0) if arguments.limit is None else arguments.limit
    shown = chosen[:limit] if limit > 0 else chosen
    bases = Bases(lambda: say("reading the configs that ship, once for this version ..."))
    if arguments.json:
        show_text(as_json(shown, columns, bases) + "\n")
    elif arguments.csv:
        show_text(as_csv(shown, columns, bases))
    elif shown:
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        for line in table(shown, columns or default_columns(shown, width), bases, width):
            show(line)
    elif known:
        say(f"none of {len(known):,} runs fits")
    else:
        where = " or ".join(str(folder) for folder in folders)
        say(f"no runs below {where}; iclgd run CONFIG makes one, --dir FOLDER looks elsewhere")
    bases.save()
    counts(shown, len(chosen), say)
    problems = [f"{run.name}: {run.record.state}: {run.record.problem}" for run in shown if run.record.problem]
    _tell([*problems, *(f"left out: {line}" for line in left_out)])
    return 0


def compare(arguments: argparse.Namespace) -> int:
    """Print how runs differ from the first of them."""
    from iclgd import own_entries
    from iclgd.runs.comparison import compare_runs
    from iclgd.runs.comparison_text import comparison_json, comparison_lines

    own_entries.load(arguments.imports)
    comparison = compare_runs(arguments.runs, everything=arguments.all or arguments.json)
    if arguments.json:
        show_text(comparison_json(comparison) + "\n")
    else:
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        for line in comparison_lines(comparison, width):
            show(line)
    for note in comparison.notes:
        say(note)
    return 0


def show_text(text: str) -> None:
    """Print what scripts read, as it is."""
    sys.stdout.write(text)
    sys.stdout.flush()


def _tell(lines: list[str]) -> None:
    for line in lines[:NUM_PROBLEMS]:
        say(line)
    if len(lines) > NUM_PROBLEMS:
        say(f"and {len(lines) - NUM_PROBLEMS:,} more that are damaged, failed or left out (see them with --json)")


def _progress() -> Callable[[int, int], None]:
    """Return what says now and then how many runs have been read."""
    last = time.monotonic()

    def tell(number: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last > SECONDS_BETWEEN_LINES:
            last = time.monotonic()
            say(f"read {number:,} of {total:,} runs; what has not changed is not read again")

    return tell
