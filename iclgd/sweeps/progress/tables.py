"""Tables of how far a sweep is, and of its settings and trials, the best first."""

import math
from collections import Counter

from rich.table import Table

from iclgd.sweeps.file.parameter import to_text
from iclgd.sweeps.progress.reading import SweepResults, reader
from iclgd.sweeps.progress.settings import Row, is_finite, most_seeds, ranked
from iclgd.sweeps.progress.status import NUM_SHOWN_FAILURES, Progress, duration, progress_reader
from iclgd.sweeps.progress.texts import interval_text, mean_text
from iclgd.sweeps.trials.folder import SweepFolder

NUM_SHOWN = 20
OUTCOMES = {"done": "complete", "ended early": "pruned"}  # a trial without a metric, as Optuna names it
RULE = "compared are settings whose seeds are all done and finite, and of which none has twice as many as another"


def table(folder: SweepFolder, progress: Progress) -> Table:
    """Return a table of the progress."""
    shown = Table(title=f"{folder.options.name}: {folder.path}", title_justify="left", show_header=False)
    for name, value in (
        ("trials", progress.total),
        ("done", progress.done),
        ("running", progress.running),
        ("waiting", progress.waiting),
        ("ended early", progress.pruned),
        ("failed", progress.failed),
        ("workers", progress.workers),
    ):
        shown.add_row(name, "unknown: W&B decides" if value is None else str(value))
    if progress.best_setting is not None:
        shown.add_row("best setting", f"{progress.best_setting}")
    if progress.best is not None:
        which = "best so far" if progress.best_setting is None else "best trial"
        shown.add_row(which, f"{progress.best.value:.6g}  {progress.best.setting}")
    if not progress.is_over and progress.seconds_left is not None:
        shown.add_row("time left", f"about {duration(progress.seconds_left)}")
    for failure in progress.failures[-NUM_SHOWN_FAILURES:]:
        shown.add_row("failure", failure)
    return shown


def results(folder: SweepFolder) -> Table:
    """Return a row for each of the best settings, if any has several seeds, or else for each of the best trials.

    Where W&B has the trials, and no setting has several seeds, these are the counts of runs.
    """
    found = reader(folder)()
    if found.has_repetitions and found.metric:
        return settings_table(found)
    if folder.options.engine == "wandb":
        return table(folder, progress_reader(folder)())
    return trials_table(found)


def settings_table(results: SweepResults) -> Table:
    """Return a row for each of the best settings: the metric's mean over seeds, how sure it is, and how many seeds."""
    order, most = ranked(results.settings, results.goal), most_seeds(results.settings)
    notes = [setting.why_not_best(most) if results.has_repetitions else "" for setting in order[:NUM_SHOWN]]
    shown = Table(title=f"{results.metric}, {results.goal}d: mean over seeds", title_justify="left")
    shown.caption_justify = "left"
    for key in _short(list(results.keys)):
        shown.add_column(key, overflow="fold")
    for name in ("mean", "95 % interval", "deviation", "seeds"):
        shown.add_column(name, justify="right")
    if any(notes):
        shown.add_column("not compared")
    for setting, note in zip(order, notes, strict=False):
        values = [to_text(setting.values[key]) if key in setting.values else "" for key in results.keys]
        spread = setting.spread
        numbers = ["", "", ""]
        if spread is not None:
            deviation = f"{spread.deviation:.3g}" if math.isfinite(spread.deviation) else ""
            numbers = [mean_text(spread), interval_text(spread), deviation]
        shown.add_row(*values, *numbers, f"{setting.done} of {setting.planned}", *[note] * any(notes))
    left = f"and {len(order) - NUM_SHOWN} more settings; " if len(order) > NUM_SHOWN else ""
    shown.caption = f"{left}intervals by Student's t; {RULE}" if any(notes) else f"{left}intervals by Student's t"
    return shown


def trials_table(results: SweepResults) -> Table:
    """Return a row for each of the best trials."""
    sign = -1.0 if results.goal == "maximize" else 1.0
    order = sorted(results.rows, key=lambda row: (row.state != "done", not is_finite(row), sign * _number(row.metric)))
    varied = [key for key in (*results.keys, *results.seed_keys) if len({_value(row, key) for row in order}) > 1]
    shown = Table("trial", *_short(varied), results.metric or "", "minutes")
    for row in order[:NUM_SHOWN]:
        outcome = OUTCOMES.get(row.state, row.state)
        if row.metric is not None:
            outcome = f"{row.metric:.6g}" if math.isfinite(row.metric) else "not finite"
        minutes = f"{row.seconds / 60:.1f}" if row.seconds is not None else ""
        shown.add_row(f"{row.number:04d}", *[_value(row, key) for key in varied], outcome, minutes)
    if len(order) > NUM_SHOWN:
        shown.caption = f"and {len(order) - NUM_SHOWN} more"
    return shown


def _value(row: Row, key: str) -> str:
    return str(row.values[key]) if key in row.values else ""


def _number(value: float | None) -> float:
    return 0.0 if value is None or not math.isfinite(value) else value


def _short(keys: list[str]) -> list[str]:
    """Return the last parts of keys where they say enough.

    Example:
        >>> _short(["model.name", "task.name", "training.learning_rate"])
        ['model.name', 'task.name', 'learning_rate']
    """
    last = Counter(key.rpartition(".")[2] for key in keys)
    return [key if last[name] > 1 else name for key in keys for name in [key.rpartition(".")[2]]]
