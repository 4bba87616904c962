"""Tables of how far a sweep is, and of its trials, the best first."""

import math
from collections import Counter

from optuna.trial import TrialState
from rich.table import Table

from iclgd.sweeps.progress.status import NUM_SHOWN_FAILURES, Progress, duration, progress_reader
from iclgd.sweeps.trials.claims import has_failed, raws_of
from iclgd.sweeps.trials.folder import SweepFolder
from iclgd.sweeps.trials.rebuilding import view_sweep

NUM_SHOWN = 20


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
    if progress.best is not None:
        shown.add_row("best so far", f"{progress.best.value:.6g}  {progress.best.setting}")
    if not progress.is_over and progress.seconds_left is not None:
        shown.add_row("time left", f"about {duration(progress.seconds_left)}")
    for failure in progress.failures[-NUM_SHOWN_FAILURES:]:
        shown.add_row("failure", failure)
    return shown


def results(folder: SweepFolder) -> Table:
    """Return a row for each of the best trials; where W&B has them, the counts of runs."""
    if folder.options.engine == "wandb":
        return table(folder, progress_reader(folder)())
    sweep, trials = view_sweep(folder)
    worst_last = -1.0 if sweep.metric is not None and sweep.metric.goal == "maximize" else 1.0
    latest = sorted(
        trials.latest(),
        key=lambda trial: (trial.state != TrialState.COMPLETE, worst_last * (trial.value or 0.0)),
    )
    metric = sweep.metric.name if sweep.metric else ""
    varied = [each for each in sweep.parameters if len({str(raws_of(trial).get(each.key)) for trial in latest}) > 1]
    shown = Table("trial", *_short([each.key for each in varied]), metric, "minutes")
    for trial in latest[:NUM_SHOWN]:
        raws = raws_of(trial)
        values = [str(each.value(raws[each.key])) if each.key in raws else "" for each in varied]
        outcome = "failed" if has_failed(trial) else trial.state.name.lower()
        if metric and trial.state == TrialState.COMPLETE and trial.value is not None:
            outcome = f"{trial.value:.6g}" if math.isfinite(trial.value) else "not finite"
        minutes = f"{trial.duration.total_seconds() / 60:.1f}" if trial.duration is not None else ""
        shown.add_row(f"{trial.user_attrs['point']:04d}", *values, outcome, minutes)
    if len(latest) > NUM_SHOWN:
        shown.caption = f"and {len(latest) - NUM_SHOWN} more"
    return shown


def _short(keys: list[str]) -> list[str]:
    """Return the last parts of keys where they say enough.

    Example:
        >>> _short(["model.name", "task.name", "training.learning_rate"])
        ['model.name', 'task.name', 'learning_rate']
    """
    last = Counter(key.rpartition(".")[2] for key in keys)
    return [key if last[name] > 1 else name for key in keys for name in [key.rpartition(".")[2]]]
