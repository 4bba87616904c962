"""What a reproduction runs: the sweeps of a plan, each with its arguments, checked before anything starts."""

import argparse
import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.table import Table

from iclgd import own_entries
from iclgd.checks import InputError
from iclgd.files import FileError, read_text
from iclgd.reproduce.paper import Paper, Plan, PlannedSweep
from iclgd.sweeps.arguments import add_commands
from iclgd.sweeps.file.errors import SweepError
from iclgd.sweeps.file.schema import SweepFile
from iclgd.sweeps.start import checked_plan, trial_command

FOLDER = "reproduce"  # below runs/


@dataclass(frozen=True)
class Options:
    """How a reproduction is run.

    Attributes:
        overrides: ``KEY=VALUE``, each for the sweeps whose configs have the key.
        workers: runs at the same time.
        launcher: ``local`` or ``slurm``.
        imports: files of own entries.
        sbatch: options for Slurm.
        gpus_per_node: of a run, with Slurm.
    """

    overrides: tuple[str, ...] = ()
    workers: int = 1
    launcher: str = "local"
    imports: tuple[Path, ...] = ()
    sbatch: tuple[str, ...] = ()
    gpus_per_node: int = 0


@dataclass(frozen=True)
class SweepToRun:
    """A sweep of the plan.

    Attributes:
        planned: its name and times.
        file: read.
        points: of its grid, raw.
        arguments: as ``iclgd sweep`` has them.
    """

    planned: PlannedSweep
    file: SweepFile
    points: Sequence[Mapping[str, Any]]
    arguments: argparse.Namespace

    @property
    def name(self) -> str:
        """Return what the plan calls it."""
        return self.planned.name

    @property
    def folder(self) -> Path:
        """Return where it runs."""
        return Path(self.arguments.dir)

    @property
    def cpu_minutes(self) -> float:
        """Return how long all of its runs take on one core."""
        return len(self.points) * self.planned.cpu_minutes

    @property
    def gpu_minutes(self) -> float:
        """Return how long all of its runs take on one GPU."""
        return len(self.points) * self.planned.gpu_minutes


def folder_of(paper: Paper, plan: Plan, overrides: Sequence[str]) -> Path:
    """Return where a reproduction is, so that the same command finds it again.

    It is ``<runs>/reproduce/NAME``, with ``-quick`` if it is, and with a digest of ``KEY=VALUE`` if any are given.
    """
    runs = Path(os.environ.get("ICLGD_RUNS") or "runs")
    name = f"{paper.name}-quick" if plan.quick else paper.name
    if overrides:
        name += f"-{hashlib.sha256(repr(sorted(overrides)).encode()).hexdigest()[:6]}"
    return runs / FOLDER / name


def sweeps_to_run(paper: Paper, plan: Plan, folder: Path, options: Options) -> list[SweepToRun]:
    """Return the sweeps of a plan, checked with their configs and ``KEY=VALUE``.

    Args:
        paper: which.
        plan: of the paper.
        folder: of the reproduction; each sweep has a folder in it.
        options: how it is run.

    Raises:
        InputError: for anything that is wrong with them; nothing has been started then.
    """
    own_entries.load(options.imports)
    found: list[SweepToRun] = []
    homeless: dict[str, InputError] = dict.fromkeys(options.overrides, InputError("the plan has no sweep"))
    for planned in plan.sweeps:
        file, where = paper.sweep_file(plan, planned), folder / planned.name
        alone = [arguments_of(file, where, replace(options, overrides=(item,))) for item in options.overrides]
        fitting = []
        for item, arguments in zip(options.overrides, alone, strict=True):
            try:
                checked_plan(arguments)
            except InputError as error:  # a key of another experiment, say
                if item in homeless:
                    homeless[item] = error
            else:
                fitting.append(item)
        for item in fitting:
            homeless.pop(item, None)
        arguments = arguments_of(file, where, replace(options, overrides=tuple(fitting)))
        sweep, points = checked_plan(arguments)
        if sweep.method != "grid":
            raise SweepError(f"{file}: method: a paper's sweep must be a grid, so that its runs are known beforehand")
        found.append(SweepToRun(planned, sweep, points, arguments))
    for error in homeless.values():
        raise error
    for sweep_to_run in found:
        _check_same(sweep_to_run)
    return found


def arguments_of(file: Path, folder: Path, options: Options) -> argparse.Namespace:
    """Return what ``iclgd sweep`` would be given to run a sweep in a folder, or to go on with it if it is there.

    The local engine, as trials are to be there again when the same is asked for again; W&B mirrors their runs.
    """
    words = [str(file), "--engine=local", f"--dir={folder}", f"--workers={options.workers}"]
    words += [f"--launcher={options.launcher}", *(f"--sbatch={option}" for option in options.sbatch)]
    words += [f"--gpus-per-node={options.gpus_per_node}", *own_entries.arguments(options.imports)]
    words += ["--resume"] if (folder / "options.json").exists() else []
    parsers: dict[str, argparse.ArgumentParser] = {}

    def add(name: str, *_: object) -> argparse.ArgumentParser:
        return parsers.setdefault(name, argparse.ArgumentParser(name))

    add_commands(add)
    parsed = parsers["sweep"].parse_args(words)
    parsed.overrides = list(options.overrides)
    return parsed


def _check_same(sweep: SweepToRun) -> None:
    """Refuse to go on with a sweep that another file has begun.

    Raises:
        SweepError: with what to do.
    """
    try:
        begun = read_text(sweep.folder / "sweep.yaml")
    except (FileError, OSError):  # none, or the sweep mends it
        return
    if begun != sweep.file.text:
        raise SweepError(f"{sweep.folder}: was begun with another {sweep.file.path}; choose a new folder with --dir")


def plan_table(sweeps: Sequence[SweepToRun], options: Options) -> Table:
    """Return the runs of a plan with the times that are expected of them."""
    table = Table("sweep", "run", "CPU core", "GPU", title="runs, and how long each takes", title_justify="left")
    for sweep in sweeps:
        for point in sweep.points:
            command = trial_command(sweep.file, point, sweep.arguments)
            times = (minutes_text(sweep.planned.cpu_minutes), minutes_text(sweep.planned.gpu_minutes))
            table.add_row(sweep.name, command, *times)
        table.add_section()
    number = sum(len(sweep.points) for sweep in sweeps)
    times = [minutes_text(sum(getattr(sweep, f"{kind}_minutes") for sweep in sweeps)) for kind in ("cpu", "gpu")]
    table.add_row("all", f"{number} runs, one after the other", *times)
    if options.workers > 1:
        shared = [minutes_text(elapsed(sweeps, kind, options.workers)) for kind in ("cpu", "gpu")]
        table.add_row("all", f"{number} runs, {options.workers} at the same time", *shared)
    return table


def elapsed(sweeps: Sequence[SweepToRun], kind: str, workers: int) -> float:
    """Return the minutes that sweeps take, one after the other, each by so many workers with a core or GPU each."""
    return sum(-(-len(sweep.points) // workers) * getattr(sweep.planned, f"{kind}_minutes") for sweep in sweeps)


def minutes_text(minutes: float) -> str:
    """Write a time.

    Example:
        >>> minutes_text(0.4), minutes_text(12.4), minutes_text(90)
        ('24 s', '12 min', '1.5 h')
    """
    if minutes < 1:
        return f"{60 * minutes:.0f} s"
    return f"{minutes:.0f} min" if minutes < 60 else f"{minutes / 60:.1f} h"
