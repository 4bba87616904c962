"""Run directories below folders, found without reading them; of each a stamp that changes when its files do.

10,000 folders are looked at in a fraction of a second: by their names, as objects of paths take longer than the system.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from iclgd.tracking.failure import FAILURE
from iclgd.tracking.run_directory import CHECKPOINT

# ruff: noqa: PTH100, PTH112, PTH116
FILES = ("config.yaml", "summary.json", "environment.json", FAILURE)  # all that a record is made of


class Found(NamedTuple):
    """A run directory before it is read.

    Attributes:
        path: of it, absolute.
        stamp: of its files: changes whenever one of them does.
        newest: the latest time at which one of them was changed, in seconds since 1970.
    """

    path: str
    stamp: str
    newest: float


def search(paths: Sequence[Path], left_out: list[str]) -> Iterator[Found]:
    """Yield each run directory once; through links only where there is no other way to it.

    Args:
        paths: where to look.
        left_out: is given a line for each folder that cannot be looked into.
    """
    seen: set[tuple[int, int]] = set()
    links: list[str] = []
    pending = [os.path.abspath(path) for path in reversed(paths)]
    asked = set(pending)
    while pending or links:
        folder = pending.pop() if pending else links.pop()
        try:
            status = os.stat(folder)
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            if (found := _run_at(folder, status)) is not None:
                yield found
                continue
            with os.scandir(folder) as entries:
                # The first of them is taken next: names in their order.
                for entry in sorted(entries, key=lambda each: each.name, reverse=True):
                    if entry.name.startswith("."):
                        continue
                    if entry.is_symlink():
                        links += [entry.path] if os.path.isdir(entry.path) else []
                    elif entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
        except (OSError, ValueError) as error:  # ValueError: a NUL in the name
            reason = getattr(error, "strerror", None) or str(error)
            if isinstance(error, FileNotFoundError) and folder not in asked:
                continue  # removed while we look
            left_out.append(f"{folder}: {'no such folder' if isinstance(error, FileNotFoundError) else reason}")


def _run_at(folder: str, status: os.stat_result) -> Found | None:
    """Return the run directory that a folder is; ``None`` if it is none."""
    stamps, newest = [f"{status.st_mtime_ns}"], status.st_mtime
    for name in FILES:
        try:
            each = os.stat(f"{folder}/{name}")
        except OSError:
            if name == "config.yaml" and not _has_checkpoints(folder):
                return None
            stamps.append("")
        else:
            stamps.append(f"{each.st_mtime_ns}.{each.st_size}.{each.st_ino}")
            newest = max(newest, each.st_mtime)
    return Found(folder, ",".join(stamps), newest)


def _has_checkpoints(folder: str) -> bool:
    """Say whether a folder without a config is a run's that has lost it."""
    try:
        with os.scandir(f"{folder}/checkpoints") as entries:
            return any(CHECKPOINT.fullmatch(entry.name) for entry in entries)
    except OSError:
        return False
