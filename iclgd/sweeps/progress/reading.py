"""A sweep's folder as plain data: its trials, and what those have found together that differ in seeds alone."""

import contextlib
import math
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from optuna.trial import FrozenTrial, TrialState

from iclgd import own_entries
from iclgd.checks import InputError, did_you_mean
from iclgd.messages import first_line
from iclgd.report.settings import SEEDS
from iclgd.shipped import names
from iclgd.sweeps.file import schema
from iclgd.sweeps.file.errors import SweepError
from iclgd.sweeps.file.schema import SweepFile
from iclgd.sweeps.progress.settings import Row, Setting, State, hashable, settings_of
from iclgd.sweeps.trials.claims import has_failed, raws_of
from iclgd.sweeps.trials.folder import SweepFolder
from iclgd.sweeps.trials.online_trials import OnlineTrials
from iclgd.sweeps.trials.rebuilding import view_sweep
from iclgd.sweeps.workers.liveness import Observer

STATES: dict[TrialState, State] = {
    TrialState.COMPLETE: "done",
    TrialState.PRUNED: "ended early",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}


@dataclass(frozen=True)
class SweepResults:
    """What a sweep has found so far.

    Args:
        folder: of the sweep.
        name: the sweep file's, without its ending.
        config: that all trials run, as the sweep file names it.
        command: starts the same sweep again.
        metric: its name; ``None`` if the sweep has none.
        goal: ``"minimize"`` or ``"maximize"``.
        keys: those with several values, without seeds.
        seed_keys: those of the sweep that are seeds.
        rows: the trials.
        settings: trials that differ in seeds alone.
    """

    folder: Path
    name: str
    config: str
    command: str
    metric: str | None
    goal: str
    keys: tuple[str, ...]
    seed_keys: tuple[str, ...]
    rows: tuple[Row, ...]
    settings: tuple[Setting, ...]

    @property
    def has_repetitions(self) -> bool:
        """Say whether any setting has several seeds."""
        return any(setting.planned > 1 for setting in self.settings)

    def text(self, setting: Setting) -> str:
        """Return what tells a setting from the others, as ``key=value``."""
        return setting.text(self.keys) or "all trials"


def read_sweep(folder: Path, over: Sequence[str] | None = None) -> SweepResults:
    """Read a sweep's folder, whoever chose its trials; nothing of it is changed but what is damaged and can be mended.

    Args:
        folder: of the sweep.
        over: keys of the sweep that are seeds; ``None`` for ``seed`` and ``demonstrations.seed``.

    Raises:
        SweepError: in one line, if it is no sweep's folder, or so damaged that nothing can be told of its trials.
    """
    try:
        opened = SweepFolder(folder)
        return reader(opened, over)(with_directories=True)
    except SweepError:
        raise
    except Exception as error:  # whatever damaged files make of our readers, Optuna's and a database's
        raise SweepError(f"{folder}: the sweep cannot be read ({type(error).__name__}: {first_line(error)})") from None


def reader(folder: SweepFolder, over: Sequence[str] | None = None) -> Callable[..., SweepResults]:
    """Return a function that reads how a sweep is now, again and again.

    Args:
        folder: of the sweep.
        over: as of :func:`read_sweep`.

    Raises:
        SweepError: if the sweep cannot be read, or has no key of ``over``.
    """
    if folder.options.engine == "wandb":
        file = schema.read(folder.sweep_file)
        online, observer = OnlineTrials(folder, file), Observer(folder.workers)
        check_over(file, over)

        def look(with_directories: bool = False) -> SweepResults:
            online.look()
            return results_of(folder, file, online_rows(folder, file, online, bool(observer.living())), over)

        return look
    sweep, trials = view_sweep(folder)
    check_over(sweep, over)

    def read(with_directories: bool = False) -> SweepResults:
        return results_of(folder, sweep, trial_rows(folder, sweep, trials.latest(), with_directories), over)

    return read


def check_over(sweep: SweepFile, over: Sequence[str] | None) -> None:
    """Refuse keys that the sweep does not have.

    Raises:
        SweepError: which names those that it has.
    """
    known = [parameter.key for parameter in sweep.parameters]
    for key in over or ():
        if key not in known and key not in SEEDS:  # which may be asked for of any sweep
            hint = did_you_mean(key, known)
            raise SweepError(f"--over {key}: the sweep has no such key; it has: {', '.join(known)}{hint}")


def results_of(folder: SweepFolder, sweep: SweepFile, rows: Sequence[Row], over: Sequence[str] | None) -> SweepResults:
    """Return what trials have found.

    Args:
        folder: of the sweep.
        sweep: its file.
        rows: the trials.
        over: as of :func:`read_sweep`.
    """
    seeds = SEEDS if over is None else over
    swept = [parameter.key for parameter in sweep.parameters]
    settings = settings_of(rows, seeds)
    return SweepResults(
        folder=folder.path,
        name=folder.options.name,
        config=str(sweep.config),
        command=command(folder, sweep),
        metric=sweep.metric.name if sweep.metric else None,
        goal=sweep.metric.goal if sweep.metric else "minimize",
        keys=tuple(key for key in swept if key not in seeds and _varies(key, settings)),
        seed_keys=tuple(key for key in swept if key in seeds),
        rows=tuple(rows),
        settings=tuple(settings),
    )


def trial_rows(
    folder: SweepFolder, sweep: SweepFile, trials: Iterable[FrozenTrial], with_directories: bool = False
) -> list[Row]:
    """Return the trials of a sweep without a server.

    Args:
        folder: of the sweep.
        sweep: its file.
        trials: the latest of each point.
        with_directories: look for their run directories too.
    """
    runs = {path.name: path for path in folder.runs.glob("*/[!.]*")} if with_directories else {}
    rows = []
    for trial in trials:
        point, raws = trial.user_attrs["point"], raws_of(trial)
        failed = has_failed(trial)
        end = trial.user_attrs.get("end") or {}
        rows.append(
            Row(
                number=point,
                values={each.key: each.value(raws[each.key]) for each in sweep.parameters if each.key in raws},
                metric=_metric(trial, sweep),
                state="failed" if failed else STATES.get(trial.state, "waiting"),  # FAIL: it is about to be copied
                run_directory=runs.get(folder.run_id(point)),
                failure=str(end.get("reason", "its reason is not known")) if failed else None,
                seconds=trial.duration.total_seconds() if trial.duration is not None else None,
            )
        )
    return rows


def online_rows(folder: SweepFolder, sweep: SweepFile, online: OnlineTrials, has_workers: bool) -> list[Row]:
    """Return the trials that W&B's server has given out, and those of a grid that it has yet to.

    Args:
        folder: of the sweep.
        sweep: its file.
        online: its trials, looked at.
        has_workers: whether any worker is alive.
    """
    complete = {path.name: value for path, value in online.values.items()}
    runs = sorted({*complete, *online.ended_early, *online.failed, *online.unfinished})
    there = {path.name: path for path in [*online.values, *online.unfinished.values()]}
    rows = []
    for number, run in enumerate(runs):
        directory = there.get(run) or online.run_directory(run)
        state, failure, metric = _online_state(run, online, complete, has_workers)
        try:
            values = online.values_of(directory) if directory is not None else {}
        except InputError as error:  # its values are lost, and with them the setting
            values, failure = {}, failure or str(error)
            state, metric = "failed", None
        rows.append(Row(number, values, metric if sweep.metric else None, state, directory, failure))
    if sweep.method == "grid" and folder.options.num_trials in (None, sweep.num_points):
        begun = {hashable(row.values) for row in rows}
        points = ({each.key: each.value(raws[each.key]) for each in sweep.parameters} for raws in sweep.grid())
        waiting = [values for values in points if hashable(values) not in begun]
        left = max(0, sweep.num_points - len(runs))
        rows += [Row(len(runs) + index, values, None, "waiting") for index, values in enumerate(waiting[:left])]
    return rows


def _online_state(
    run: str, online: OnlineTrials, complete: Mapping[str, float], has_workers: bool
) -> tuple[State, str | None, float | None]:
    """Return a run's state, why it has no result, and its metric."""
    if run in online.failed:
        return "failed", online.failed[run], None
    if run in complete:
        return "done", None, complete[run] if math.isfinite(complete[run]) else math.nan
    if run in online.ended_early:
        return "ended early", None, None
    return ("running", None, None) if has_workers else ("interrupted", online.why_unfinished(run), None)


def command(folder: SweepFolder, sweep: SweepFile) -> str:
    """Return the command that starts the same sweep again."""
    options = folder.options
    words = ["iclgd", "sweep", _name_or_path(folder)]
    planned = sweep.num_points if sweep.method == "grid" else sweep.run_cap
    words += ["--count", str(options.num_trials)] if options.num_trials not in (None, planned) else []
    words += ["--seed", str(options.seed)] if options.seed else []
    words += own_entries.arguments(own_entries.recorded_paths(folder.own_entries()))
    return shlex.join([*words, *options.overrides])


def _name_or_path(folder: SweepFolder) -> str:
    """Return the name of a sweep file that ships, if it is the same, or else the path of the folder's copy."""
    shipped = names("sweep").get(folder.options.name)
    with contextlib.suppress(OSError, ValueError):
        if shipped is not None and shipped.read_text(encoding="utf-8") == folder.sweep_file.read_text(encoding="utf-8"):
            return folder.options.name
    return str(folder.sweep_file)


def _metric(trial: FrozenTrial, sweep: SweepFile) -> float | None:
    """Return the metric of a trial that is done; storages have infinity for whatever is not finite."""
    if trial.state != TrialState.COMPLETE or trial.value is None or sweep.metric is None:
        return None
    return trial.value if math.isfinite(trial.value) else math.nan


def _varies(key: str, settings: Sequence[Setting]) -> bool:
    return len({hashable(setting.values[key]) for setting in settings if key in setting.values}) > 1
