"""Slurm's commands: submit workers, look after them, end them; and how a worker starts its trials with srun.

What Slurm does that its manual does not make plain (measured with 22.05):

- ``srun`` passes SIGUSR1 on to every task of the step, on all nodes. SIGTERM it does not pass on: it kills the step.
- Besides itself ``srun`` leaves a second process that kills the step when the first one dies. Whoever kills their whole
  process group kills both, and the tasks go on on all nodes: hence :func:`end_steps`.
- ``scancel JOB`` sends SIGTERM to the worker, to ``srun`` and to the tasks at once, so trials have no time to write a
  checkpoint. ``scancel --batch --signal=TERM`` reaches the worker alone.
- ``scancel --signal`` of an array that has pending tasks waits for them, and signals them once they have started.
- ``scontrol requeue`` ends the job at once, with SIGTERM; the task starts again after two minutes (``cred_expire``) and
  is COMPLETING, then PENDING until then.
"""

import os
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from iclgd.checks import InputError

STEP_NAME = "iclgd-trial"
SECONDS_BETWEEN_ATTEMPTS = (2.0, 8.0, 30.0)  # while the controller restarts
SECONDS_PER_COMMAND = 120.0
SECONDS_BETWEEN_LOOKS = 1.0
SECONDS_TO_END_STEPS = 90.0  # from SIGTERM to SIGKILL a step has 30 s with Slurm's default
OVER = ("Invalid job id specified", "already completing or completed")
VARIABLES = {  # of sbatch, where they have not the option's name
    "--array": "SBATCH_ARRAY_INX",
    "--mem": "SBATCH_MEM_PER_NODE",
    "--requeue": "SBATCH_NO_REQUEUE",
    "--time": "SBATCH_TIMELIMIT",
}
NEVER_FROM_OUTSIDE = {
    *("SBATCH_GRES", "SBATCH_GPUS", "SBATCH_GPUS_PER_NODE", "SBATCH_GPUS_PER_SOCKET", "SBATCH_GPUS_PER_TASK"),
    *("SBATCH_CLUSTERS", "SBATCH_ERROR", "SBATCH_GPU_BIND", "SBATCH_WAIT"),
}
DEFAULTS_OF_PEOPLE = ("SQUEUE_", "SCANCEL_")  # variables: other columns, questions


class SlurmError(InputError):
    """Something that Slurm cannot be asked for."""


@dataclass(frozen=True)
class ArrayTask:
    """A worker that Slurm has not done with."""

    index: int
    state: str  # such as PENDING, RUNNING, COMPLETING
    reason: str  # why it is pending; "None" otherwise


def submit(path: Path) -> str:
    """Submit a batch script and return the id of the job.

    Raises:
        SlurmError: if there is no ``sbatch``, or it refuses.
    """
    lines = path.read_text(encoding="utf-8").splitlines()
    options = [line.split()[1].partition("=")[0] for line in lines if line.startswith("#SBATCH --")]
    try:
        result = _run(["sbatch", "--parsable", str(path)], _environment_of_sbatch(options))
    except subprocess.TimeoutExpired:
        raise SlurmError(f"sbatch {path}: no answer within {SECONDS_PER_COMMAND:g} s; see squeue --me") from None
    job = result.stdout.strip().partition(";")[0]  # the name of the cluster may follow
    if result.returncode != 0 or not job.isdigit():
        raise SlurmError(f"sbatch refuses {path}: {_message(result)}")
    return job


def unfinished(job: str) -> list[ArrayTask]:
    """Return the workers that wait or run; none, if Slurm does not know the job any more.

    Raises:
        OSError: if Slurm does not answer.
    """
    output = _ask("squeue", "--noheader", "--array", f"--jobs={job}", "--format=%K|%T|%r")
    lines = [line.strip().split("|", maxsplit=2) for line in output.splitlines() if line.strip()]
    return [ArrayTask(int(index), state, reason) for index, state, reason in lines]


def cancel_pending(job: str) -> None:
    """Cancel the workers that have not started, or wait for starting again.

    Raises:
        OSError: if Slurm does not answer.
    """
    _ask("scancel", "--state=PENDING", job)


def requeue_self() -> None:
    """Put the array task of this process back into the queue; Slurm ends this process soon after.

    Raises:
        OSError: if Slurm refuses, or does not answer.
    """
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    _ask("scontrol", "requeue", f"{array}_{task}" if array and task else _own_job())


def trial_prefix(nodes_per_trial: int, gpus_per_node: int) -> list[str]:
    """Return what comes before a trial's command, so that it runs once per GPU of this job, or else once per node.

    Much is said that ``srun`` would otherwise take from variables of an outer job, or from Slurm's configuration.
    Nothing is said of GPUs: so every process sees those of its node. With ``--gpu-bind=none``, several processes on a
    node find no CUDA_VISIBLE_DEVICES, and take other jobs' GPUs where nothing else keeps them off.

    Args:
        nodes_per_trial: nodes of the job.
        gpus_per_node: of each of them.
    """
    processes = _processes_per_node(gpus_per_node)
    return [
        "srun",
        f"--job-name={STEP_NAME}",
        f"--nodes={nodes_per_trial}",
        f"--ntasks={nodes_per_trial * processes}",
        f"--ntasks-per-node={processes}",
        "--kill-on-bad-exit=1",  # the others would wait for it for ever; they get SIGTERM first
        "--wait=0",  # the first process still draws figures when the others have ended
        "--mpi=none",
        "--export=ALL",  # after sbatch --export=NONE, trials would get nothing either
        "--input=none",
    ]


def trial_overrides(nodes_per_trial: int, gpus_per_node: int) -> list[str]:
    """Return the config's keys that tell a trial of its processes; arguments as for :func:`trial_prefix`."""
    processes = _processes_per_node(gpus_per_node)
    overrides = ["trainer.accelerator=gpu"] if gpus_per_node else []
    if nodes_per_trial * processes > 1 or gpus_per_node:
        overrides += [f"trainer.num_nodes={nodes_per_trial}", f"trainer.devices={processes}"]
    if nodes_per_trial * processes > 1:
        overrides.append("trainer.strategy=ddp")
    return overrides


def end_steps() -> None:
    """End what is left of this job's trials on its nodes, after the death of an ``srun``, and wait for it.

    One worker per job is assumed, as all trials' steps have one name.

    Raises:
        OSError: if Slurm does not answer, or a step does not end.
    """
    job, deadline = _own_job(), time.monotonic() + SECONDS_TO_END_STEPS
    cancelled: set[str] = set()
    while steps := _steps(job):
        if time.monotonic() > deadline:
            raise OSError(f"steps of Slurm do not end: {', '.join(steps)}")
        for step in steps:
            if step not in cancelled:
                _ask("scancel", step)
                cancelled.add(step)
        time.sleep(SECONDS_BETWEEN_LOOKS)


def _processes_per_node(gpus_per_node: int) -> int:
    return max(gpus_per_node, 1)


def _own_job() -> str:
    try:
        return os.environ["SLURM_JOB_ID"]
    except KeyError:
        raise SlurmError("not in a job of Slurm: SLURM_JOB_ID is not set") from None


def _steps(job: str) -> list[str]:
    """Return the steps of trials, as ``scancel`` takes them: ``<job>.<number>``, for array tasks too."""
    output = _ask("squeue", "--steps", "--noheader", f"--jobs={job}", "--format=%i|%j")
    lines = [line.strip().partition("|") for line in output.splitlines()]
    return [f"{job}.{step.rpartition('.')[2]}" for step, _, name in lines if name == STEP_NAME]


def _environment_of_sbatch(options: list[str]) -> dict[str, str]:
    """Return this process's environment without what would change a job whose script has these options.

    Variables of sbatch, such as SBATCH_PARTITION, come before the script's options. When this process is itself in a
    job, the variables of that job would be left in the new one, such as SLURM_MEM_PER_CPU, which forbids --mem.
    """
    ours = {f"SBATCH_{option.removeprefix('--').replace('-', '_').upper()}" for option in options}
    ours |= {VARIABLES[option] for option in options if option in VARIABLES} | NEVER_FROM_OUTSIDE
    return {
        name: value
        for name, value in os.environ.items()
        if name not in ours and (name in ("SLURM_CONF", "SLURM_JWT") or not name.startswith(("SLURM_", "SLURMD_")))
    }


def _ask(*command: str) -> str:
    """Return the standard output of a command that may be run twice; nothing, if it is about a job that is over."""
    message = ""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(DEFAULTS_OF_PEOPLE)}
    for seconds in (*SECONDS_BETWEEN_ATTEMPTS, None):
        try:
            result = _run(command, environment)
        except subprocess.TimeoutExpired:
            message = f"no answer within {SECONDS_PER_COMMAND:g} s"
        else:
            if result.returncode == 0:
                return result.stdout
            message = _message(result)
            if any(words in message for words in OVER):
                return ""
        if seconds is not None:
            time.sleep(seconds)
    raise OSError(f"{' '.join(command)}: {message}")


def _run(command: list[str] | tuple[str, ...], environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            env=dict(environment),
            timeout=SECONDS_PER_COMMAND,
        )
    except (FileNotFoundError, PermissionError):
        raise not_found(command[0]) from None


def not_found(command: str) -> SlurmError:
    """Return the error that says that there is no Slurm."""
    return SlurmError(f"{command} not found: run this where Slurm's commands are, or use --launcher local")


def _message(result: subprocess.CompletedProcess[str]) -> str:
    """Return in one line what a command has complained of."""
    lines = [line.strip() for line in (result.stderr or result.stdout).splitlines() if line.strip()]
    words = "; ".join(line.partition("error: ")[2] or line for line in lines)
    return words or f"exit code {result.returncode}"
