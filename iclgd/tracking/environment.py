"""What a run ran on: enough to run it again."""

import importlib.metadata
import json
import platform
import subprocess
from pathlib import Path
from typing import Any

from iclgd.tracking.run_directory import RunDirectory

PACKAGES = ("iclgd", "torch", "lightning", "torchmetrics", "transformers", "datasets", "omegaconf", "wandb", "numpy")


def describe_environment(device: str) -> dict[str, Any]:
    """Return versions, source commit and machine.

    Args:
        device: name of the device that computes.
    """
    return {
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
        "commit": _source_commit(),
        "platform": platform.platform(),
        "device": device,
    }


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
    directory.write_text("environment.json", json.dumps(environment, indent=2) + "\n")


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
