"""What a run ran on: enough to run it again."""

import contextlib
import importlib.metadata
import json
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

from iclgd.tracking.run_directory import RunDirectory

PACKAGES = ("iclgd", "torch", "lightning", "torchmetrics", "transformers", "datasets", "omegaconf", "wandb", "numpy")
OPTIONAL_PACKAGES = ("lm_eval",)  # named where they are installed

# How W&B files a run: whoever starts it says so, and a copy that is made later is filed alike.
WANDB_VARIABLES = (
    "WANDB_ENTITY",
    "WANDB_PROJECT",
    "WANDB_SWEEP_ID",
    "WANDB_RUN_GROUP",
    "WANDB_JOB_TYPE",
    "WANDB_TAGS",
)


def describe_environment(device: str) -> dict[str, Any]:
    """Return versions, source commit, machine, and how W&B files the run.

    Args:
        device: name of the device that computes.
    """
    return {
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES} | _installed(OPTIONAL_PACKAGES),
        "commit": _source_commit(),
        "platform": platform.platform(),
        "device": device,
        "wandb": {name: os.environ[name] for name in WANDB_VARIABLES if os.environ.get(name)},
    }


def use_wandb_variables(directory: RunDirectory) -> None:
    """Give this process the variables with which a run was started, so that W&B files it alike.

    The account is this process's if the run was started without one.

    Args:
        directory: the run's; one that has recorded nothing changes nothing.
    """
    recorded = None
    with contextlib.suppress(OSError, ValueError, AttributeError):
        environment = json.loads((directory.path / "environment.json").read_text(encoding="utf-8"))
        recorded = environment.get("wandb")
    if not isinstance(recorded, dict):
        return
    for name in WANDB_VARIABLES:
        if isinstance(recorded.get(name), str):
            os.environ[name] = recorded[name]
        elif name != "WANDB_ENTITY":
            os.environ.pop(name, None)


def record_processes(directory: RunDirectory, processes: list[dict[str, Any]]) -> None:
    """Write who took part into ``environment.json``: ``world_size`` and ``processes``.

    Of a run that was interrupted, they are those of its last part.

    Args:
        directory: the run's.
        processes: rank, host and device of each.

    Raises:
        OSError: if it cannot be written.
    """
    environment = directory.read_environment() or describe_environment(processes[0]["device"])
    environment |= {"world_size": len(processes), "processes": processes}
    directory.write_environment(environment)


def _installed(packages: tuple[str, ...]) -> dict[str, str]:
    return {name: version for name in packages if (version := _version(name)) is not None}


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:  # a run goes on without W&B
        return None


def _source_commit() -> str | None:
    """Return the commit of this package's own checkout, marked if files differ from it; ``None`` without one."""
    checkout = Path(__file__).parents[2]
    if not (checkout / ".git").exists():  # do not take an enclosing project's commit for ours
        return None
    command = ["git", "-C", str(checkout), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
