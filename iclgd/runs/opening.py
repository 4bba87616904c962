"""What a run directory has recorded, read and not changed."""

import contextlib
from pathlib import Path
from typing import Any

import yaml

from iclgd.files import FileError, checked_name, name_for_folder, read_text
from iclgd.shipped import find, runs_are_called
from iclgd.tracking.run_directory import RunDirectory, RunDirectoryError


def open_directory(path: Path) -> RunDirectory:
    """Return a run directory.

    Raises:
        RunDirectoryError: if there is no folder, or it is not one; the message names the newest run below it.
    """
    if not path.is_dir():
        raise RunDirectoryError(f"{path}: {'not a run directory, but a file' if path.exists() else 'no such folder'}")
    try:
        return RunDirectory(path)
    except RunDirectoryError as error:
        below = sorted(path.glob("[!.]*/config.yaml"), key=lambda each: each.parent.name)
        if not below:
            raise
        raise RunDirectoryError(f"{error}; {len(below)} below it, such as {below[-1].parent}") from None


def config_and_name(path: Path, name: str | None = None) -> tuple[Path, str]:
    """Return the config's file and what the run is called, whose folder is ``runs/NAME``.

    Args:
        path: a config, which may be known by its name, or a run directory, whose run is to be repeated.
        name: if it is not to be called as the config, or as the other run.

    Raises:
        InputError: if there is no such config, or no folder can be called so.
    """
    is_run = False
    with contextlib.suppress(OSError):  # a name that no file can have
        is_run = (path / "config.yaml").is_file()
    if is_run:
        directory = RunDirectory(path)
        path, called = directory.config_path, directory.path.parent.name
    else:
        path = find("config", path)
        if name is None:
            return path, name_for_folder(Path(_name_of_shipped(path) or path))
    try:
        return path, checked_name(called if name is None else name)
    except FileError as error:
        raise FileError(f"--name {error}") from None


def _name_of_shipped(path: Path) -> str | None:
    """Return what runs of a config that ships are called; ``None`` for any other."""
    if not path.exists():  # whoever reads it says so
        return None
    return next((name for name, file in runs_are_called().items() if file.samefile(path)), None)


def recorded_values(directory: RunDirectory) -> dict[str, Any]:
    """Return a run's config as it is written, nested.

    Raises:
        RunDirectoryError: if it cannot be read.
    """
    path = directory.config_path
    try:
        values = yaml.safe_load(read_text(path))
    except FileNotFoundError:
        raise RunDirectoryError(f"{path}: missing; put it back with: iclgd resume {directory.path}") from None
    except FileError as error:
        raise RunDirectoryError(str(error)) from None
    except (yaml.YAMLError, RecursionError):
        values = None
    if not isinstance(values, dict):
        raise RunDirectoryError(f"{path}: damaged (no keys and values)")
    return values


def complete_summary(directory: RunDirectory) -> dict[str, float]:
    """Return the final numbers of a run.

    Raises:
        RunDirectoryError: if it is not complete.
    """
    summary = directory.read_summary()
    if summary is None:
        raise RunDirectoryError(
            f"{directory.path}: the run is not complete; continue it with: iclgd resume {directory.path}"
        )
    return summary
