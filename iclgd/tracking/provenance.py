"""What a run ran on and how it is repeated, as W&B shows it: keys of its config, and files."""

import shlex
import shutil
from pathlib import Path
from typing import Any

from iclgd.tracking.run_directory import RunDirectory

KEY = "environment"  # of W&B's config: runs can be filtered and grouped by what is below it
FOLDER = "run_directory"  # of W&B's files of a run; W&B has a config.yaml of its own beside it
FILES = ("config.yaml", "environment.json")
SHOWN = ("python", "packages", "commit", "platform", "device", "world_size")


def provenance(directory: RunDirectory) -> dict[str, Any]:
    """Return versions, commit, device and the command that repeats a run; of a damaged record what there is."""
    environment = directory.read_environment(tell=lambda _: None) or {}
    return {**{name: environment[name] for name in SHOWN if name in environment}, "command": command(directory)}


def command(directory: RunDirectory) -> str:
    """Return what repeats a run, where its files are: its config has every value."""
    environment = directory.read_environment(tell=lambda _: None) or {}
    recorded = environment.get("imports")
    files = [file for file in recorded if isinstance(file, dict)] if isinstance(recorded, list) else []
    paths = [path for file in files if isinstance(path := file.get("path"), str)]
    words = ["iclgd", "run", f"{FOLDER}/{FILES[0]}", "--name", directory.path.parent.name]
    return shlex.join([*words, *(word for path in paths for word in ("--import", path))])


def copy_files(directory: RunDirectory, folder: Path) -> list[Path]:
    """Copy a run's records to where W&B's files of it are: a link would let W&B write into the run directory.

    Args:
        directory: the run's.
        folder: W&B's.
    """
    (folder / FOLDER).mkdir(exist_ok=True)
    there = [name for name in FILES if (directory.path / name).is_file()]
    return [Path(shutil.copyfile(directory.path / name, folder / FOLDER / name)) for name in there]
