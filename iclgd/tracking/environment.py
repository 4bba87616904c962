"""What a run ran on: enough to run it again, and nothing private."""

import importlib.metadata
import platform
import subprocess
from pathlib import Path
from typing import Any

PACKAGES = ("iclgd", "torch", "lightning", "torchmetrics", "omegaconf", "wandb", "numpy")


def describe_environment(device: str, world_size: int) -> dict[str, Any]:
    """Return versions, source commit and machine.

    Args:
        device: name of the device that computes.
        world_size: number of processes.
    """
    return {
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
        "commit": _source_commit(),
        "platform": platform.platform(),
        "device": device,
        "world_size": world_size,
    }


def _source_commit() -> str | None:
    """Return the commit of this package's source checkout, marked if files differ from it; ``None`` outside one."""
    source = Path(__file__).parents[1]
    try:
        described = subprocess.run(
            ["git", "-C", str(source), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            capture_output=True, text=True, timeout=10, check=True,
        )  # fmt: skip
        tracked = subprocess.run(
            ["git", "-C", str(source), "ls-files", "--error-unmatch", Path(__file__).name],
            capture_output=True, timeout=10, check=False, cwd=source,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    del tracked
    return described.stdout.strip()
