"""Checkpoints that are checked before they are believed: sealed files, which carry the run's config and its metrics.

The seal is a checksum of the whole file, kept as the comment of the zip archive that PyTorch writes: the archive's own
checksums leave its headers and its directory out, and PyTorch does not look at them.
"""

import hashlib
import os
import re
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import torch
from omegaconf import OmegaConf

from iclgd.files import FileError, read_text, write_atomically
from iclgd.full_keys import flat
from iclgd.terminal import say
from iclgd.tracking.run_directory import RunDirectory, RunDirectoryError

MARK = b"iclgd sha256 "
SEAL_BYTES = len(MARK) + 64
NO_COMMENT, COMMENT = (0).to_bytes(2, "little"), SEAL_BYTES.to_bytes(2, "little")  # a zip archive's last two bytes
BLOCK_BYTES = 2**20
CONFIG, METRICS = "iclgd_config", "iclgd_metrics"  # of the checkpoint's dictionary
# What may differ when a run goes on: nothing that is in the checkpoint depends on it (but by rounding, on the number
# of processes).
MAY_CHANGE = re.compile(r"(tracking|analysis)\..*|trainer\.(max_steps|num_threads|devices|num_nodes|strategy)")


class _Hashing:
    """A file that is written once from its beginning to its end, and hashed on the way."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.digest = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        return self.file.write(data)

    def flush(self) -> None:
        self.file.flush()


def write_sealed(checkpoint: dict[str, Any], path: Path) -> None:
    """Write a checkpoint; it is on the disk whole or not at all.

    Raises:
        OSError: if it cannot be written.
    """
    with write_atomically(path) as file:
        hashing = _Hashing(file)
        torch.save(checkpoint, hashing)  # type: ignore[arg-type]  # it asks for no more than write and flush
        file.seek(-len(NO_COMMENT), os.SEEK_END)
        file.write(COMMENT + MARK + hashing.digest.hexdigest().encode())


def damage(path: Path) -> str | None:
    """Return what is wrong with a checkpoint's file, ``None`` if it is as it was written."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            left = os.fstat(file.fileno()).st_size - SEAL_BYTES - len(COMMENT)
            if left < 0:
                return "it is cut" if left + SEAL_BYTES + len(COMMENT) else "it is empty"
            while left > 0 and (block := file.read(min(left, BLOCK_BYTES))):
                digest.update(block)
                left -= len(block)
            end = file.read()
    except OSError as error:
        return f"it cannot be read ({error.strerror})"
    digest.update(NO_COMMENT)
    if not end.startswith(COMMENT + MARK):
        return "it has no checksum: cut, overwritten, or not one of ours"
    return None if end[len(COMMENT + MARK) :] == digest.hexdigest().encode() else "its checksum is another"


@dataclass(frozen=True)
class Saved:
    """What a checkpoint says of its run.

    Args:
        path: of its file.
        step: the optimiser's.
        config: the resolved config, nested.
        metrics: the lines of ``metrics.jsonl`` up to there.
    """

    path: Path
    step: int
    config: dict[str, Any]
    metrics: list[dict[str, float]]

    @classmethod
    def read(cls, path: Path) -> "Saved | str":
        """Read a checkpoint whose file is whole, or say what is wrong with it."""
        if (wrong := damage(path)) is not None:
            return wrong
        try:  # the tensors stay where they are
            content = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
            step, config, metrics = int(content["global_step"]), content[CONFIG], Table(content[METRICS]).records()
        except Exception as error:  # sealed, and yet not ours: whatever reading a stranger's archive may raise
            return f"it is not a checkpoint of this program ({type(error).__name__})"
        if step != RunDirectory.step_of(path):
            return f"it is of step {step}"
        return cls(path, step, config, metrics)


def last_whole(directory: RunDirectory, tell: Callable[[str], None] = say) -> Saved | None:
    """Return the newest whole checkpoint of a run, ``None`` if the run has not come to its first one.

    Args:
        directory: the run's.
        tell: is given a line for each damaged one.

    Raises:
        RunDirectoryError: if there are checkpoints, and all are damaged.
    """
    wrong: list[tuple[Path, str]] = []
    for path in directory.all_checkpoints():
        saved = Saved.read(path)
        if isinstance(saved, Saved):
            for each, why in wrong:
                tell(f"{each}: damaged ({why}); going on from the one before it, of step {saved.step}")
            return saved
        if path.exists():  # unless the first process has just cleared it away
            wrong.append((path, saved))
    if wrong:
        names = ", ".join(f"{path.name}: {why}" for path, why in wrong)
        raise RunDirectoryError(
            f"{directory.checkpoints}: no checkpoint is whole ({names}); to start over, remove that folder, then: "
            f"iclgd resume {directory.path}"
        )
    return None


def restore_config(directory: RunDirectory) -> None:
    """Put back a ``config.yaml`` that is gone, empty or no text, as the last checkpoint has it, and say so.

    Raises:
        RunDirectoryError: if that is damaged, too.
        OSError: if it cannot be written.
    """
    path = directory.config_path
    try:
        text = read_text(path)
        wrong = None if text.strip() and "\0" not in text else "empty or overwritten"
    except FileNotFoundError:
        wrong = "missing"
    except FileError as error:
        wrong = str(error).removeprefix(f"{path}: ")
    if wrong is not None and (saved := last_whole(directory, tell=lambda _: None)) is not None:
        directory.write_config(OmegaConf.to_yaml(OmegaConf.create(saved.config)))
        say(f"{path}: {wrong}; put back from {saved.path.name}")


def restore_curve(directory: RunDirectory) -> None:
    """Put back a ``metrics.jsonl`` of a complete run that is gone or damaged, as its checkpoint has it, and say so.

    Raises:
        RunDirectoryError: if that is damaged, too.
        OSError: if it cannot be written.
    """
    if directory.problem_with("metrics.jsonl") is not None and (saved := last_whole(directory)) is not None:
        directory.restore_metrics(saved.step, saved.metrics)


def refuse_changes(saved: Saved, config: dict[str, Any], path: Path) -> list[str]:
    """Compare a config with the one that a checkpoint was made with; return a line for each harmless difference.

    Args:
        saved: the checkpoint.
        config: the run's resolved config now, nested.
        path: of its file.

    Raises:
        RunDirectoryError: for a difference that would make one run of two.
    """
    before, now = flat(saved.config), flat(config)
    lines = []
    for key, value in now.items():
        if key not in before or before[key] == value:  # a key of a later version has its default
            continue
        what = f"{path}: {key} was {before[key]!r} in {saved.path.name}, and is {value!r} now"
        if not MAY_CHANGE.fullmatch(key):
            raise RunDirectoryError(f"{what}: this cannot change within a run; put it back, or start a new run")
        if key == "trainer.max_steps":
            if now.get("training.schedule", "constant") != "constant":
                raise RunDirectoryError(
                    f"{what}: with training.schedule={now['training.schedule']} the steps so far would have been "
                    "others; put it back, or start a new run"
                )
            if value < saved.step:
                raise RunDirectoryError(f"{what}: the run is at step {saved.step} already; put it back")
            if saved.step % (stretch := now["evaluation.every_num_steps"]):
                raise RunDirectoryError(
                    f"{what}: the run has ended at step {saved.step}, between two evaluations of a longer one "
                    f"(evaluation.every_num_steps={stretch}); put it back, or start a new run"
                )
        if not key.startswith("tracking."):
            lines.append(what)
    return lines


def refuse_overrides(before: dict[str, Any], now: dict[str, Any], path: Path) -> None:
    """Refuse what ``key=value`` changes in a run's config and would make another run of it.

    Args:
        before: the run's resolved config, nested.
        now: the same with the changes.
        path: of the run.

    Raises:
        RunDirectoryError: for the first key that may not change.
    """
    before = flat(before)
    for key, value in flat(now).items():
        if before.get(key) != value and not MAY_CHANGE.fullmatch(key):
            raise RunDirectoryError(
                f"{key}={value}: this cannot change within a run; start a new one with: iclgd run {path} {key}={value}"
            )


class Table:
    """The lines of ``metrics.jsonl`` as a few arrays, which cost a checkpoint next to nothing.

    Args:
        state: of another table.
    """

    def __init__(self, state: dict[str, Any] | None = None) -> None:
        state = state or {"names": [], "rows": torch.empty(0, dtype=torch.long), "values": torch.empty(0).double()}
        self._names: list[list[str]] = state["names"]  # of each kind of line: the first one has no training loss
        self._rows = array("q", state["rows"].tolist())  # the kind of each line
        self._values = array("d", state["values"].tolist())

    def append(self, record: dict[str, float]) -> None:
        """Add a line."""
        names = list(record)
        if names not in self._names:
            self._names.append(names)
        self._rows.append(self._names.index(names))
        self._values.extend(record.values())

    def state(self) -> dict[str, Any]:
        """Return what makes an equal table."""
        # Through bytes: torch keeps the buffer that it is given, and an array with such a guest cannot grow.
        rows, values = (
            torch.frombuffer(bytearray(each.tobytes()), dtype=dtype) if each else torch.empty(0, dtype=dtype)
            for each, dtype in ((self._rows, torch.long), (self._values, torch.double))
        )
        return {"names": self._names, "rows": rows, "values": values}

    def records(self) -> list[dict[str, float]]:
        """Return the lines."""
        values = iter(self._values)
        records = [{name: next(values) for name in self._names[row]} for row in self._rows]
        return [record | {"step": int(record["step"])} for record in records]
