"""Start a sweep: everything that can be wrong is found first, then the folder is made, then workers start."""

import argparse
import itertools
import json
import math
import re
import secrets
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from iclgd import own_entries
from iclgd.own_entries import ImportedFile
from iclgd.shipped import find
from iclgd.sweeps.file import checking, schema
from iclgd.sweeps.file.errors import SweepError
from iclgd.sweeps.file.schema import SweepFile
from iclgd.sweeps.launch import online
from iclgd.sweeps.launch.local import LocalWorkers, run_workers
from iclgd.sweeps.progress.display import Display
from iclgd.sweeps.progress.status import NUM_SHOWN_FAILURES, Progress, progress_reader
from iclgd.sweeps.progress.tables import results
from iclgd.sweeps.trials.folder import IMPORTS, SweepFolder, SweepOptions, newest
from iclgd.sweeps.trials.plan import plan
from iclgd.sweeps.trials.rebuilding import repair, restore_complete_runs
from iclgd.sweeps.trials.search import draw
from iclgd.sweeps.trials.storage import new_storage, open_database, open_sweep
from iclgd.sweeps.workers.liveness import Observer
from iclgd.sweeps.workers.options import worker_arguments
from iclgd.terminal import say, show, show_table

Points = Sequence[Mapping[str, Any]]
NUM_TRIED_POINTS = 50  # of a search that chooses later
OF_THE_LOCAL_ENGINE = ("seed", "storage", "time_limit")
MOST = {"workers": 100_000, "count": 10_000_000, "seed": 2**32 - 1, "retries": 1_000_000}  # NumPy's seeds end there


def begin(arguments: argparse.Namespace) -> int:
    """Run a sweep to its end, and show what it has found; return the exit code.

    Raises:
        SweepError: for a bad file or bad arguments; nothing has been started then.
        KeyboardInterrupt: on Ctrl-C.
    """
    folder, final, problem = run_to_its_end(arguments)
    for failure in final.failures[-NUM_SHOWN_FAILURES:]:
        say(f"failed: {failure}")
    show_table(results(folder))
    show(final.line())
    if final.best:
        show(f"best config: iclgd sweep best {shlex.quote(str(folder.path))}")
        show(f"figures: iclgd sweep report {shlex.quote(str(folder.path))}")
    show(folder.path)
    if problem is None and (final.is_over or folder.stop_mode() is None):
        return 0
    say(f"iclgd: {problem or 'stopped as asked'}; {_how_to_go_on(folder, arguments)}")
    return 1 if problem else 130


def run_to_its_end(arguments: argparse.Namespace) -> tuple[SweepFolder, Progress, str | None]:
    """Run a sweep; return its folder, how it has ended, and what went wrong, if anything did.

    Raises:
        SweepError: for a bad file or bad arguments; nothing has been started then.
        KeyboardInterrupt: on Ctrl-C.
    """
    _check_arguments(arguments)
    sweep = schema.read(find("sweep", arguments.sweep))
    imported = own_entries.load(arguments.imports)
    folder = _again(sweep, arguments, imported) if arguments.resume else _new(sweep, arguments, imported)
    try:
        problem = _launch(folder, arguments)
    except KeyboardInterrupt as interrupt:
        raise KeyboardInterrupt(str(interrupt) or f"interrupted; {_how_to_go_on(folder, arguments)}") from None
    final = progress_reader(folder)()
    return folder, final, _what_went_wrong(folder, final, problem)


def _what_went_wrong(folder: SweepFolder, final: Progress, problem: str | None) -> str | None:
    """Return what is wrong with the end of a sweep, if anything is; that with its workers only if it is not over."""
    if problem is not None and not final.is_over:
        return problem
    if final.failed:
        return f"{final.failed}{'' if final.total is None else f' of {final.total}'} trials failed"
    if final.is_over or final.total is None or folder.stop_mode() is not None:
        return None
    if folder.options.wandb is not None and final.waiting:  # its server has lost them, say
        return f"{final.waiting} of {final.total} trials were not run"
    return "its workers were ended before it was over"


def print_plan(arguments: argparse.Namespace) -> None:
    """Print what would be started: batch scripts, or the trials' commands."""
    sweep, points = checked_plan(arguments)
    if arguments.launcher == "slurm":
        from iclgd.sweeps.launch.slurm import script_text

        where = Path(arguments.dir or f"runs/sweeps/{sweep.name}/TIMESTAMP-ID")
        print(script_text(where, arguments, arguments.workers), end="")  # noqa: T201
        return
    for point in points:
        show(trial_command(sweep, point, arguments))


def checked_plan(arguments: argparse.Namespace) -> tuple[SweepFile, Points]:
    """Return a sweep file and the points that are planned, raw; empty ones where the search chooses later.

    Raises:
        SweepError: for a bad file or bad arguments.
    """
    _check_arguments(arguments)
    own_entries.load(arguments.imports)
    sweep = schema.read(find("sweep", arguments.sweep))
    points = _points(sweep, arguments)
    checking.check(sweep, _typical(sweep, points), arguments.overrides)
    return sweep, points


def trial_command(sweep: SweepFile, point: Mapping[str, Any], arguments: argparse.Namespace) -> str:
    """Return the command of a planned point."""
    settings = sweep.overrides(point) if point else ["(chosen when the trial starts)"]
    command = ["iclgd", "run", str(sweep.config), *sweep.fixed, *settings, *arguments.overrides]
    return shlex.join([*command, *own_entries.arguments(arguments.imports)])


def _check_arguments(arguments: argparse.Namespace) -> None:
    for name, minimum in (("workers", 1), ("count", 1), ("seed", 0), ("retries", 0), ("grace", 0)):
        value = getattr(arguments, name)
        if value is not None and not value >= minimum:  # so that nan is refused, too
            raise SweepError(f"--{name} must be at least {minimum}, got {value}")
        if value is not None and not value <= MOST.get(name, math.inf):
            raise SweepError(f"--{name} must be at most {MOST[name]}, got {value}")
    if arguments.nodes_per_trial < 1 or arguments.gpus_per_node < 0:
        raise SweepError("--nodes-per-trial must be at least 1 and --gpus-per-node at least 0")
    if arguments.time_limit is not None and not arguments.time_limit > 0:
        raise SweepError(f"--time-limit must be positive, got {arguments.time_limit:g}")
    if arguments.launcher == "local" and (arguments.nodes_per_trial > 1 or arguments.gpus_per_node or arguments.sbatch):
        raise SweepError("--nodes-per-trial, --gpus-per-node and --sbatch need --launcher slurm")
    if arguments.launcher == "slurm":
        from iclgd.sweeps.launch.slurm import find_slurm, jobs_of

        jobs_of(arguments, arguments.workers)
        if not arguments.dry_run:
            find_slurm()


def _points(sweep: SweepFile, arguments: argparse.Namespace) -> Points:
    """Return the points that are planned, raw; empty ones where the search chooses later."""
    count = arguments.count or sweep.run_cap
    if sweep.method == "grid":
        return list(itertools.islice(sweep.grid(), count))
    if count is None:
        raise SweepError(f"{sweep.path}: a {sweep.method} search has no end: give --count K, or run_cap in the file")
    return draw(sweep, count, arguments.seed or 0) if sweep.method == "random" else [{}] * count


def _typical(sweep: SweepFile, points: Points) -> Points:
    """Return the planned points, or such as the search might choose."""
    return points if points and points[0] else draw(sweep, NUM_TRIED_POINTS, seed=0)


def _new(sweep: SweepFile, arguments: argparse.Namespace, imported: Sequence[ImportedFile]) -> SweepFolder:
    """Check everything and make the sweep's folder."""
    if arguments.dir is not None:
        SweepFolder.refuse_taken(arguments.dir)
    if arguments.storage is not None:
        open_database(arguments.storage)
    engine, reason = online.choose_engine(arguments.engine or "auto")
    if engine == "wandb":
        for name in OF_THE_LOCAL_ENGINE:
            if getattr(arguments, name) is not None:
                raise SweepError(f"--{name.replace('_', '-')} needs --engine local: W&B's server and agents have none")
    points = [] if engine == "wandb" and sweep.method != "grid" else _points(sweep, arguments)
    checking.check(sweep, _typical(sweep, points), arguments.overrides)
    say(reason)
    path = None
    if engine == "wandb":
        path = _create_online(sweep, arguments)
        say(f"sweep: {path}")
    options = SweepOptions(
        name=sweep.name,
        sweep_id=secrets.token_hex(3),
        engine=engine,
        working_directory=str(Path.cwd()),
        overrides=tuple(arguments.overrides),
        seed=arguments.seed or 0,
        storage=arguments.storage,
        wandb=path,
        num_trials=len(points) or arguments.count or sweep.run_cap,
    )

    def fill(folder: Path) -> None:
        if imported:
            (folder / IMPORTS).write_text(json.dumps(own_entries.record({}, imported), indent=2), encoding="utf-8")
        if engine == "local":
            with new_storage(options.storage, folder / "journal.log") as storage:
                plan(storage, sweep, options, points)

    return SweepFolder.create(arguments.dir, sweep.text, options, fill)


def _create_online(sweep: SweepFile, arguments: argparse.Namespace) -> str:
    if arguments.launcher == "slurm":
        from iclgd.sweeps.workers import slurm_commands

        shape = (arguments.nodes_per_trial, arguments.gpus_per_node)
        prefix, further = slurm_commands.trial_prefix(*shape), slurm_commands.trial_overrides(*shape)
    else:
        prefix, further = [], []
    further += own_entries.arguments(arguments.imports)
    command = online.trial_command(prefix, sweep.config, sweep.fixed, [*arguments.overrides, *further])
    content = {**sweep.content, "parameters": online.for_agents(sweep.content["parameters"])}
    content |= {"run_cap": arguments.count} if arguments.count else {}
    return online.create(content, command, content.get("project", "iclgd"), content.get("entity"))


def _again(sweep: SweepFile, arguments: argparse.Namespace, imported: Sequence[ImportedFile]) -> SweepFolder:
    """Return the folder of a sweep that goes on; its failed trials get another chance."""
    path = arguments.dir or newest(sweep.name)
    if path is None:
        raise SweepError(f"no sweep of {sweep.path} to go on with; start it without --resume, or give its --dir")
    folder = SweepFolder(path)
    if folder.sweep_file.read_text(encoding="utf-8") != sweep.text:
        raise SweepError(f"{folder.path}: {sweep.path} has changed since this sweep began; start a new one")
    _check_agreement(folder, arguments)
    command = ["iclgd", "sweep", str(arguments.sweep), "--resume", "--dir", str(folder.path)]
    own_entries.compare(folder.own_entries(), imported, folder.path, shlex.join(command))
    if folder.options.wandb is not None and folder.stop_mode() is not None:
        try:
            online.resume(folder.options.wandb)
        except online.OnlineSweepError as error:  # it is over, say, but for interrupted trials
            say(str(error))
    folder.forget_stop()
    if folder.options.engine == "local":
        observer = Observer(folder.workers)
        repair(folder, observer.living)
        _, trials = open_sweep(folder)
        if not observer.living():
            trials.recover(observer.is_alive, is_alone=True)
        restore_complete_runs(folder, trials)
        if revived := trials.revive():
            say(f"{revived} failed trials run again")
    return folder


def _check_agreement(folder: SweepFolder, arguments: argparse.Namespace) -> None:
    """Refuse options of the start that are not those which the sweep was started with.

    Raises:
        SweepError: which names both values.
    """
    options = folder.options
    began: dict[str, Any] = {"seed": options.seed, "storage": options.storage}
    if arguments.engine != "auto":
        began["engine"] = options.engine
    if arguments.count is not None:
        began["count"] = progress_reader(folder)().total
    for name, value in began.items():
        given = getattr(arguments, name)
        if given is not None and given != value:
            then = "none" if value is None else f"--{name} {_without_password(value)}"
            now = f"--{name} {_without_password(given)}"
            raise SweepError(f"{now}: this sweep was started with {then}, which holds for all of it")
    if arguments.overrides and tuple(arguments.overrides) != options.overrides:
        then = " ".join(options.overrides) or "no key=value"
        raise SweepError(f"{' '.join(arguments.overrides)}: this sweep was started with {then}; start a new one")


def _without_password(value: object) -> str:
    return re.sub(r"//([^:/@]*):[^@]*@", r"//\1:***@", str(value))  # of a database's URL


def _launch(folder: SweepFolder, arguments: argparse.Namespace) -> str | None:
    """Run workers until the sweep is over; return what went wrong, if anything did."""
    read = progress_reader(folder)
    if (now := read()).is_over and not now.failed:
        return None
    with Display(folder) as display:
        if arguments.launcher == "slurm":
            from iclgd.sweeps.launch.slurm import run_jobs

            return run_jobs(folder, arguments, read, display)
        num_left = arguments.workers if now.total is None else now.total - now.done - now.pruned
        wanted = min(arguments.workers, max(1, num_left))
        workers = LocalWorkers(folder, wanted, worker_arguments(arguments))
        return run_workers(workers, wanted, read, display)


def _how_to_go_on(folder: SweepFolder, arguments: argparse.Namespace) -> str:
    command = ["iclgd", "sweep", str(arguments.sweep), "--resume", "--dir", str(folder.path)]
    return "go on with: " + shlex.join([*command, *own_entries.arguments(arguments.imports)])
