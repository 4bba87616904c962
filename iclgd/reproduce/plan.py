"""What a reproduction runs: the sweeps of a plan, each with its arguments, checked before anything starts."""

import argparse
import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from iclgd import own_entries
from iclgd.checks import InputError
from iclgd.files import read_text
from iclgd.reproduce.paper import Paper, Plan, PlannedSweep
from iclgd.sweeps.arguments import add_commands
from iclgd.sweeps.file.errors import SweepError
from iclgd.sweeps.file.schema import SweepFile
from iclgd.sweeps.start import checked_plan, trial_command
from iclgd.sweeps.trials.folder import SweepFolder

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
    refused: dict[str, InputError] = {}
    for planned in plan.sweeps:
        file, where = paper.sweep_file(plan, planned), folder / planned.name
        fitting = _fitting(file, where, options, refused)
        arguments = arguments_of(file, where, replace(options, overrides=fitting))
        sweep, points = checked_plan(arguments)
        if sweep.method != "grid":
            raise SweepError(f"{file}: method: a paper's sweep must be a grid, so that its runs are known beforehand")
        _check_same(where, sweep, fitting)
        found.append(SweepToRun(planned, sweep, points, arguments))
    taken = {item for sweep_to_run in found for item in sweep_to_run.arguments.overrides}
    for item, refusal in refused.items():
        if item not in taken:
            raise refusal
    return found


def _fitting(file: Path, folder: Path, options: Options, refused: dict[str, InputError]) -> tuple[str, ...]:
    """Return which ``KEY=VALUE`` a sweep can be given: all, or those that it takes one by one.

    Args:
        file: of the sweep.
        folder: of the sweep.
        options: with all of them.
        refused: gets why others are not taken.
    """
    try:
        checked_plan(arguments_of(file, folder, options))
    except InputError:  # a key of another experiment, say
        fitting = []
        for item in options.overrides:
            try:
                checked_plan(arguments_of(file, folder, replace(options, overrides=(item,))))
            except InputError as problem:
                refused.setdefault(item, problem)
            else:
                fitting.append(item)
        return tuple(fitting)
    return options.overrides


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


def _check_same(folder: Path, sweep: SweepFile, overrides: Sequence[str]) -> None:
    """Refuse to go on with a sweep that began as another one.

    Raises:
        SweepError: with what to do.
    """
    if not (folder / "options.json").exists():
        return
    begun = SweepFolder(folder)
    if read_text(begun.sweep_file) != sweep.text:
        raise SweepError(f"{folder}: was begun with another {sweep.path}; choose a new folder with --dir")
    if begun.options.overrides != tuple(overrides):
        then = " ".join(begun.options.overrides) or "no key=value"
        raise SweepError(f"{folder}: was begun with {then}; choose a new folder with --dir")


def plan_lines(sweeps: Sequence[SweepToRun], workers: int) -> list[str]:
    """Return the runs of a plan with the times that are expected of them, a line each."""
    lines = [f"{'CPU core':>9} {'GPU':>9}  run"]
    for sweep in sweeps:
        times = [minutes_text(minutes) for minutes in (sweep.planned.cpu_minutes, sweep.planned.gpu_minutes)]
        for point in sweep.points:
            lines.append(f"{times[0]:>9} {times[1]:>9}  {trial_command(sweep.file, point, sweep.arguments)}")
    number = sum(len(sweep.points) for sweep in sweeps)
    for at_once in sorted({1, workers}):
        cpu, gpu = (minutes_text(minutes) for minutes in elapsed(sweeps, at_once))
        lines.append(f"{cpu:>9} {gpu:>9}  all {number}, {at_once} at a time")
    return lines


def elapsed(sweeps: Sequence[SweepToRun], workers: int) -> tuple[float, float]:
    """Return the minutes that sweeps take one after the other, by so many workers: with a core, or a GPU, each."""
    turns = [(-(-len(sweep.points) // workers), sweep.planned) for sweep in sweeps]
    return sum(n * each.cpu_minutes for n, each in turns), sum(n * each.gpu_minutes for n, each in turns)


def minutes_text(minutes: float) -> str:
    """Write a time.

    Example:
        >>> minutes_text(0.4), minutes_text(12.4), minutes_text(90)
        ('24 s', '12 min', '1.5 h')
    """
    if minutes < 1:
        return f"{60 * minutes:.0f} s"
    return f"{minutes:.0f} min" if minutes < 60 else f"{minutes / 60:.1f} h"
