"""What can be typed after ``iclgd sweep``; nothing is imported until a command is chosen."""

import argparse
import difflib
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from iclgd.sweeps.file.errors import SweepError

ACTIONS = ("status", "stop", "best", "report", "upload", "work")  # iclgd sweep ACTION DIR
Add = Callable[[str, Callable[[argparse.Namespace], int], str, str], argparse.ArgumentParser]


def join_action(argv: list[str]) -> list[str]:
    """Make one word of ``sweep`` and what is done to one, as commands are named.

    Example:
        >>> join_action(["sweep", "stop", "runs/sweeps/x"])
        ['sweep stop', 'runs/sweeps/x']
        >>> join_action(["sweep", "smoke"])
        ['sweep', 'smoke']
    """
    is_action = argv[:1] == ["sweep"] and argv[1:2] and argv[1] in ACTIONS
    return [" ".join(argv[:2]), *argv[2:]] if is_action else argv


def add_commands(add: Add) -> None:
    """Add the commands of sweeps.

    Args:
        add: makes a command of a name, a function, a summary and an example.
    """
    command = add(
        "sweep",
        _start,
        "run all trials of a sweep file, with W&B's server or without",
        "iclgd sweep smoke --workers 2",
    )
    command.add_argument(
        "sweep", type=Path, metavar="SWEEP", help="a sweep file in W&B's schema: a path, or a name (iclgd list)"
    )
    command.add_argument(
        "overrides", nargs="*", default=[], metavar="key=value", help="keys of the config, for every trial"
    )
    command.add_argument(
        "--engine",
        choices=("auto", "wandb", "local"),
        default=None,
        help="who chooses trials: W&B's server, or this program without any; "
        "auto (default): W&B if an API key is configured and its server answers",
    )
    command.add_argument(
        "--launcher", choices=("local", "slurm"), default="local", help="where workers run (default: this machine)"
    )
    command.add_argument("--workers", type=int, default=1, metavar="N", help="trials at the same time (default: 1)")
    command.add_argument("--count", type=int, metavar="K", help="number of trials; of a grid, the first K points")
    command.add_argument("--seed", type=int, help="of drawn points (default: 0)")
    command.add_argument("--dir", type=Path, help="the sweep's folder (default: runs/sweeps/NAME/TIMESTAMP-ID)")
    command.add_argument("--storage", metavar="URL", help="a database for the trials instead of a file in the folder")
    command.add_argument(
        "--resume", action="store_true", help="go on with a sweep, or help with one: that of --dir, or the newest"
    )
    command.add_argument("--dry-run", action="store_true", help="print commands or batch scripts; start nothing")
    add_imports(command)
    slurm = command.add_argument_group("with --launcher slurm")
    slurm.add_argument("--sbatch", action="append", default=[], metavar="OPTION", help="e.g. --sbatch=--time=4:00:00")
    _add_worker_options(command)

    command = add(
        "sweep status", _command("status"), "show how far a sweep is", "iclgd sweep status runs/sweeps/smoke/DIR"
    )
    _add_folder(command)
    add_over(command, "trials")
    command.add_argument("--once", action="store_true", help="show it once, not until the sweep is over")
    command = add("sweep stop", _command("stop"), "stop a sweep cleanly", "iclgd sweep stop runs/sweeps/smoke/DIR")
    _add_folder(command)
    command.add_argument("--now", action="store_true", help="interrupt trials in progress: --resume continues them")
    command = add(
        "sweep best",
        _command("best"),
        "print the config of the best setting as YAML: that with the best mean over seeds",
        "iclgd sweep best runs/sweeps/smoke/DIR > best.yaml",
    )
    _add_folder(command)
    add_over(command, "trials")
    command.add_argument(
        "--trial", action="store_true", help="that of the best single trial, which may owe it to a seed"
    )
    command = add(
        "sweep report",
        _command("report"),
        "print a sweep's settings with their means over seeds, and draw the metric against each swept key",
        "iclgd sweep report runs/sweeps/smoke/DIR",
    )
    _add_folder(command)
    add_over(command, "trials")
    command.add_argument("--format", default="png", metavar="LIST", help="png, svg, pdf, with commas (default: png)")
    command = add(
        "sweep upload",
        _command("upload"),
        "upload all runs of an offline sweep to W&B",
        "iclgd sweep upload runs/sweeps/smoke/DIR",
    )
    _add_folder(command)
    command = add(
        "sweep work",
        _command("work"),
        "be one worker of a sweep (launchers start these; so may you)",
        "iclgd sweep work runs/sweeps/smoke/DIR",
    )
    _add_folder(command)
    add_imports(command)
    command.add_argument("--worker", metavar="NAME", help="of this worker, which no other one has (default: made up)")
    command.add_argument("--position", type=int, default=0, help="among the workers started together (default: 0)")
    command.add_argument("--parent", type=int, metavar="PID", help="end when this process does")
    command.add_argument("--launcher", choices=("local", "slurm"), default="local", help="how trials are started")
    command.add_argument("--count", type=int, metavar="K", help="of W&B's engine: the most trials to take")
    command.add_argument("--retry-failed", action="store_true", help="of W&B's engine: first run failed trials again")
    _add_worker_options(command)


def _start(arguments: argparse.Namespace) -> int:
    close = difflib.get_close_matches(str(arguments.sweep), ACTIONS, n=1)
    if close and not arguments.sweep.exists():
        raise SweepError(f"{arguments.sweep}: no such file or action; did you mean: iclgd sweep {close[0]}?")
    return _command("start")(arguments)


def add_imports(command: argparse.ArgumentParser) -> None:
    """Add the option that names files of the user's own entries."""
    command.add_argument(
        "--import",
        dest="imports",
        action="append",
        default=[],
        type=Path,
        metavar="FILE.py",
        help="a file of own entries (tasks, learners, analyses, experiments); may stand several times",
    )


def _add_worker_options(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--retries",
        type=int,
        default=3,
        metavar="R",
        help="of a trial whose process is killed, for memory, say (3)",
    )
    command.add_argument("--time-limit", type=float, metavar="MINUTES", help="of a trial; one that takes longer fails")
    command.add_argument(
        "--grace", type=float, default=60.0, metavar="SECONDS", help="for a trial to write a checkpoint and stop (60)"
    )
    command.add_argument("--nodes-per-trial", type=int, default=1, metavar="M", help="with --launcher slurm (1)")
    command.add_argument("--gpus-per-node", type=int, default=0, metavar="G", help="with --launcher slurm (0)")


def _add_folder(command: argparse.ArgumentParser) -> None:
    command.add_argument("folder", type=Path, metavar="DIR", help="the sweep's folder")


def add_over(command: argparse.ArgumentParser, what: str) -> None:
    """Add ``--over``.

    Args:
        command: to which.
        what: differs in seeds alone: runs, or trials.
    """
    command.add_argument(
        "--over",
        type=lambda text: tuple(text.split(",")),
        metavar="KEYS",
        help=f"keys that are seeds, with commas: {what} that differ in these alone are one setting "
        "(default: seed,demonstrations.seed)",
    )


def _command(name: str) -> Callable[[argparse.Namespace], int]:
    return lambda arguments: int(getattr(import_module("iclgd.sweeps.commands"), name)(arguments))
