"""The config of a sweep's best setting, or of its best single trial, as YAML that can be run again."""

import math
import shlex
from collections.abc import Iterator, Sequence

from iclgd.files import read_text
from iclgd.sweeps.file.errors import SweepError
from iclgd.sweeps.file.parameter import to_text
from iclgd.sweeps.progress.reading import SweepResults, reader
from iclgd.sweeps.progress.settings import Row, Setting, best_row, best_setting, most_seeds, ranked
from iclgd.sweeps.progress.texts import against, cannot_be_best, found, interval_text, mean_text
from iclgd.sweeps.trials.folder import SweepFolder
from iclgd.terminal import escaped

NUM_NAMED = 5  # of settings that cannot be the best


def best_config(folder: SweepFolder, over: Sequence[str] | None = None, is_of_trial: bool = False) -> str:
    """Return the config of the best setting as YAML that can be run again; what is known of it stands in comments.

    The config has the setting's first seed, whatever that one found: the best one would be chosen by its luck.

    Args:
        folder: of the sweep.
        over: keys that are seeds; ``None`` for the usual ones.
        is_of_trial: return the config of the best single trial instead.

    Raises:
        SweepError: if there is none, or the sweep has no metric.
    """
    results = reader(folder, over)(with_directories=True)
    if results.metric is None:
        raise SweepError(f"{folder.sweep_file}: it names no metric, so that no trial is the best")
    row = best_row(results.rows, results.goal)
    setting = best_setting(results.settings, results.goal)
    if is_of_trial or not results.has_repetitions:
        lines = [] if row is None else list(_of_trial(results, row))
    else:
        row = None if setting is None else _shown(setting)
        lines = [] if row is None or setting is None else list(_of_setting(results, setting, row))
    if row is None or row.run_directory is None:
        done = sum(each.state == "done" for each in results.rows)
        none = (
            f"no {'trial' if is_of_trial else 'setting'} has a finite {results.metric}"
            if done
            else "no trial is done yet"
        )
        raise SweepError(f"{folder.path}: {none}, or the best one's run directory is gone")
    config = read_text(row.run_directory / "config.yaml")
    comments = [*lines, str(row.run_directory)]
    return "".join(f"# {escaped(line, math.inf)}\n" for line in comments) + config


def values_text(row: Row, keys: Sequence[str] | None = None) -> str:
    """Return a trial's values as ``key=value``, or those of some keys."""
    return " ".join(f"{key}={to_text(value)}" for key, value in row.values.items() if keys is None or key in keys)


def _of_trial(results: SweepResults, row: Row) -> Iterator[str]:
    yield f"{results.metric} = {row.metric!r} ({values_text(row)})"


def _of_setting(results: SweepResults, best: Setting, row: Row) -> Iterator[str]:
    assert best.spread is not None
    order, most = ranked(results.settings, results.goal), most_seeds(results.settings)
    yield f"best setting: {results.text(best)}"
    yield (
        f"{results.metric}: mean {mean_text(best.spread)}, 95 % interval {interval_text(best.spread) or 'unknown'}, "
        f"standard deviation {best.spread.deviation:.3g}, {best.done} of {best.planned} seeds"
    )
    if why := best.why_not_best(most):
        yield f"provisional, as no setting is complete: of this one {why}"
    runner_up = next((setting for setting in order[1:] if setting.is_finite), None)
    if runner_up is None:
        yield "runner-up: none with a finite mean"
    else:
        yield f"runner-up: {results.text(runner_up)}: {found(runner_up)}; {against(best, runner_up)}"
    excluded = [line for setting in order if setting is not best and (line := cannot_be_best(results, setting, most))]
    for line in excluded[:NUM_NAMED]:
        yield f"not compared: {line}"
    if len(excluded) > NUM_NAMED:
        yield f"not compared: {len(excluded) - NUM_NAMED} more settings"
    trial = best_row(results.rows, results.goal)
    if trial is not None:
        again = shlex.join(["iclgd", "sweep", "best", str(results.folder), "--trial"])
        yield f"best single trial: {trial.metric:.6g} ({values_text(trial)}); its config: {again}"
    seeds = values_text(row, results.seed_keys)
    yield f"this config is of trial {row.number:04d}{f' ({seeds})' if seeds else ''}, the setting's first, not its best"


def _shown(setting: Setting) -> Row | None:
    """Return the first trial of a setting that is done and has its run directory."""
    return next((row for row in setting.rows if row.state == "done" and row.run_directory is not None), None)
