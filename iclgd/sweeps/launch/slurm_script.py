"""The batch script of a sweep's workers: an array, each of whose tasks is a worker with nodes and GPUs of its own.

We write it ourselves, as the user can read it then, and as a worker must be the batch script's own process and no task
of ``srun``: only so can it start a trial on all its nodes with ``srun``, and be told alone that time is running out.
"""

import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from iclgd.sweeps.workers.slurm_commands import SlurmError

# Another name after each requeue: of a lost node, the worker that Slurm has replaced may still be at work.
WORKER_NAME = "slurm-$SLURM_ARRAY_JOB_ID-$SLURM_ARRAY_TASK_ID-${SLURM_RESTART_COUNT:-0}"
SETTLED = {  # options of sbatch that are not the user's, by what they follow from
    "--workers": ("array",),
    "--nodes-per-trial": ("nodes",),
    "--gpus-per-node": (
        *("gpu-bind", "gpus", "gpus-per-node", "gpus-per-socket", "gpus-per-task"),
        *("ntasks", "ntasks-per-gpu", "ntasks-per-node", "tasks-per-node"),
    ),
    "what sweeps need": (
        *("chdir", "clusters", "error", "no-requeue", "open-mode", "output", "parsable", "requeue", "signal"),
        *("test-only", "wait", "wrap"),
    ),
}
SHOWN = ("ICLGD_", "WANDB_", "HF_")  # the beginnings of variables that decide what a worker does
SECRET = ("KEY", "TOKEN", "PASSWORD", "SECRET")
EARLY = 60  # seconds by which Slurm may send a signal before its time
SECONDS_TO_WORK = 120  # the least that is left to a worker


@dataclass(frozen=True)
class SlurmJobs:
    """What Slurm is asked for.

    Args:
        workers: how many; each is a job of its own, so they need not start together.
        nodes_per_trial: nodes of each worker, all of which its trial has.
        gpus_per_node: GPUs of each of them, with a process each; 0: one process without a GPU.
        options: more options of sbatch, such as ``--partition=gpu`` and ``--time=4:00:00``.
        notice: seconds before the time limit at which workers checkpoint their trials and queue up again.

    Raises:
        SlurmError: if a value is out of range, or an option is no option or settled by others.
    """

    workers: int
    nodes_per_trial: int = 1
    gpus_per_node: int = 0
    options: tuple[str, ...] = ()
    notice: int = 120

    def __post_init__(self) -> None:
        for name, least in (("workers", 1), ("nodes_per_trial", 1), ("gpus_per_node", 0)):
            if (value := getattr(self, name)) < least:
                raise SlurmError(f"--{name.replace('_', '-')} must be at least {least}, got {value}")
        if not 1 <= self.notice <= 65535:  # sbatch's own limit
            raise SlurmError(f"notice before the time limit must be between 1 and 65535 seconds, got {self.notice}")
        for option in self.options:
            self._check(option)

    def _check(self, option: str) -> None:
        match = re.fullmatch(r"--([a-z][a-z0-9-]*)(?:=(.+))?", option)
        if match is None or not _is_one_line(option):
            raise SlurmError(f"--sbatch {option!r}: must be one option of sbatch, written like --partition=gpu")
        name, value = match[1], match[2] or ""
        for reason, settled in SETTLED.items():
            for taken in settled:
                if name == taken or (len(name) > 1 and taken.startswith(name)):  # as sbatch takes abbreviations
                    raise SlurmError(f"--sbatch {option}: --{taken} cannot be chosen, as it follows from {reason}")
        if name == "gres" and (asked := _num_gpus(value)) != self.gpus_per_node:
            raise SlurmError(f"--sbatch {option}: asks for {asked} GPUs, but --gpus-per-node is {self.gpus_per_node}")
        least = self.notice + EARLY + SECONDS_TO_WORK
        if name == "time" and (seconds := _seconds(value)) is not None and seconds < least:
            raise SlurmError(
                f"--sbatch {option}: must be at least {-(-least // 60)} minutes, "
                f"as workers are stopped {self.notice} to {self.notice + EARLY} s earlier to keep their trials"
            )


def script(
    jobs: SlurmJobs,
    folder: Path,
    python: str,
    working_directory: Path,
    environment: Mapping[str, str],
    arguments: Iterable[str] = (),
) -> str:
    """Return the batch script.

    Args:
        jobs: what to ask for.
        folder: of the sweep, absolute.
        python: path of the interpreter.
        working_directory: of the workers.
        environment: of this process. sbatch passes it on; the script says what of it matters, but no secrets.
        arguments: of ``iclgd sweep work``, beside the folder, the worker's name and its position.

    Raises:
        SlurmError: if Slurm cannot be told of a path.
    """
    log = f"{_slurm_path(folder).replace('%', '%%')}/logs/worker-%a.log"
    options = [
        f"--job-name={_quoted(f'iclgd-{folder.name}')}",
        f"--array=0-{jobs.workers - 1}",
        f"--nodes={jobs.nodes_per_trial}",
        f"--ntasks-per-node={max(jobs.gpus_per_node, 1)}",
        f"--signal=B:USR1@{jobs.notice}",
        "--requeue",
        "--open-mode=append",  # a worker that was requeued goes on with its log
        f"--output={_quoted(log)}",
        f"--chdir={_quoted(_slurm_path(working_directory))}",
    ]
    if jobs.gpus_per_node and not any(option.startswith("--gres=") for option in jobs.options):
        options.append(f"--gres=gpu:{jobs.gpus_per_node}")  # older Slurms know no --gpus-per-node
    options += [_with_quoted_value(option) for option in jobs.options]
    command = [python, "-m", "iclgd.cli", "sweep", "work", str(folder), *arguments]
    return "\n".join(
        [
            "#!/bin/sh",
            *(f"#SBATCH {option}" for option in options),
            "# Slurm goes on in /tmp if it cannot enter a directory.",
            f"cd -- {shlex.quote(str(working_directory))} || exit",
            *(f"export {name}={shlex.quote(value)}" for name, value in sorted(environment.items()) if _is_shown(name)),
            "# srun itself heeds only this variable since 22.05.",
            '[ -z "${SLURM_CPUS_PER_TASK:-}" ] || export SRUN_CPUS_PER_TASK="$SLURM_CPUS_PER_TASK"',
            "# exec: the signal before the time limit reaches this process, and none below it.",
            f'exec {shlex.join(command)} --worker "{WORKER_NAME}" --position "$SLURM_ARRAY_TASK_ID"',
            "",
        ]
    )


def _is_shown(name: str) -> bool:
    return name.startswith(SHOWN) and not any(word in name for word in SECRET)


def _slurm_path(path: Path) -> str:
    text = str(path)
    if "\\" in text or not _is_one_line(text):
        raise SlurmError(f"{text!r}: Slurm takes no path with a backslash or a control character")
    return text


def _is_one_line(text: str) -> bool:
    return text.isprintable()


def _quoted(text: str) -> str:
    """Return a value as sbatch reads it, which knows double quotes and backslashes but no variables."""
    if re.fullmatch(r"[\w./:@%+=,^-]*", text, re.ASCII):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _with_quoted_value(option: str) -> str:
    name, equals, value = option.partition("=")
    return f"{name}{equals}{_quoted(value)}"


def _num_gpus(gres: str) -> int:
    """Return how many GPUs ``--gres`` asks for: ``gpu``, ``gpu:2`` and ``gpu:a100:2``, among other things."""
    number = 0
    for item in gres.split(","):
        kind, *rest = item.split(":")
        if kind == "gpu":
            number += int(rest[-1]) if rest and rest[-1].isdigit() else 1
    return number


def _seconds(limit: str) -> int | None:
    """Return the seconds of a time limit of sbatch; ``None`` if it is none, or not one that we can read.

    Example:
        >>> _seconds("90"), _seconds("1:30"), _seconds("2:00:00"), _seconds("1-12"), _seconds("0"), _seconds("never")
        (5400, 90, 7200, 129600, None, None)
    """
    match = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", limit)
    if match is None:
        return None
    days, *parts = match.groups()
    numbers = [int(part) for part in parts if part is not None]
    if days is None and len(numbers) < 3:  # minutes, or minutes:seconds
        numbers = [0, *numbers]
    hours, minutes, seconds = (*numbers, 0, 0, 0)[:3]
    return (((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + seconds) or None
