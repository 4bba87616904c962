"""A run is its directory: ``config.yaml``, ``environment.json``, ``metrics.jsonl``, ``summary.json`` and the rest.

Reports and figures read nothing else, so runs made with and without internet give the same ones.
"""

import contextlib
import fcntl
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from iclgd.checks import InputError


class RunDirectoryError(InputError):
    """A run directory that cannot be used."""


def run_id_of_environment() -> str | None:
    """Return ``$WANDB_RUN_ID``, by which a sweep chooses the run directory's name; ``None`` if it is unset or empty.

    Raises:
        RunDirectoryError: if it cannot be both a directory's name and W&B's id of a run.
    """
    run_id = os.environ.get("WANDB_RUN_ID") or None
    if run_id and not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", run_id):
        raise RunDirectoryError(
            "WANDB_RUN_ID must be at most 128 letters, digits, '.', '_' and '-', "
            f"and begin with a letter, a digit or '_'; got {run_id!r}"
        )
    return run_id


class RunDirectory:
    """Reads and writes one run's files; every file is replaced whole or not at all.

    Args:
        path: an existing run directory.

    Raises:
        RunDirectoryError: if it is not one.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        if not (path / "config.yaml").is_file():
            raise RunDirectoryError(f"{path}: not a run directory (it has no config.yaml)")

    @classmethod
    def create(cls, name: str, config_yaml: str, environment: dict[str, Any]) -> "RunDirectory":
        """Make ``<runs>/<name>/<run id>/`` with its first two files; runs is ``$ICLGD_RUNS`` or ``runs``.

        The run id is ``$WANDB_RUN_ID``, or else ``<timestamp>-<random>``; W&B's id of the run is the same.

        Raises:
            RunDirectoryError: if ``$WANDB_RUN_ID`` cannot be a run id, or its run directory is there already.
            OSError: if it cannot be written; nothing is left behind then.
        """
        chosen = run_id_of_environment()
        parent = Path(os.environ.get("ICLGD_RUNS") or "runs").absolute() / name
        path = parent / (chosen or f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(3)}")
        taken = RunDirectoryError(f"{path}: is there already; WANDB_RUN_ID must be new, or continue with: iclgd resume")
        if path.exists():  # a rename would replace an empty directory
            raise taken
        try:
            with made_whole(path) as unfinished:
                (unfinished / "config.yaml").write_text(config_yaml, encoding="utf-8")
                (unfinished / "environment.json").write_text(_to_json(environment), encoding="utf-8")
        except OSError:
            if path.exists():  # another process was faster
                raise taken from None
            raise
        return cls(path)

    @property
    def config_path(self) -> Path:
        """Return the path of the resolved config."""
        return self.path / "config.yaml"

    @property
    def checkpoints(self) -> Path:
        """Return the checkpoints' folder."""
        return self.path / "checkpoints"

    @property
    def figures(self) -> Path:
        """Return the figures' folder."""
        return self.path / "figures"

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other processes from working on this run; the system lets go when the process ends, however it ends.

        Raises:
            RunDirectoryError: if another process works on it.
        """
        with (self.path / ".lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise RunDirectoryError(f"{self.path}: another process is working on this run") from None
            yield

    def last_checkpoint(self) -> Path | None:
        """Return the newest checkpoint, if there is one."""
        return max(self.checkpoints.glob("step=*.ckpt"), key=self.step_of, default=None)

    @staticmethod
    def step_of(checkpoint: Path) -> int:
        """Return the optimiser step of a checkpoint."""
        return int(checkpoint.stem.removeprefix("step="))

    def append_metrics(self, step: int, metrics: dict[str, float]) -> None:
        """Add a line to ``metrics.jsonl``; it is on the disk before the checkpoint that counts on it."""
        with (self.path / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **metrics}) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def read_metrics(self) -> list[dict[str, float]]:
        """Return the lines of ``metrics.jsonl``; a last line that was cut off is left out."""
        path = self.path / "metrics.jsonl"
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]

    def forget_metrics_after(self, step: int) -> None:
        """Drop the lines of ``metrics.jsonl`` that are newer than the checkpoint from which a run goes on."""
        kept = [json.dumps(record) + "\n" for record in self.read_metrics() if record["step"] <= step]
        self.write_text("metrics.jsonl", "".join(kept))

    def write_summary(self, summary: dict[str, float]) -> None:
        """Write ``summary.json``; its presence says that the run is complete."""
        self.write_text("summary.json", _to_json(dict(sorted(summary.items()))))

    def read_summary(self) -> dict[str, float] | None:
        """Return ``summary.json``, or ``None`` while the run is not complete."""
        path = self.path / "summary.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None

    def write_analysis(self, name: str, record: dict[str, Any]) -> None:
        """Write what an analysis found as ``analysis/NAME.json``."""
        (self.path / "analysis").mkdir(exist_ok=True)
        self.write_text(f"analysis/{name}.json", _to_json(record))

    def read_analyses(self) -> dict[str, dict[str, Any]]:
        """Return what all analyses found, by name."""
        paths = sorted((self.path / "analysis").glob("*.json"))
        return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in paths}

    def write_text(self, name: str, text: str) -> None:
        """Write a text file in the directory."""
        self.write_bytes(name, text.encode())

    def write_bytes(self, name: str, content: bytes) -> None:
        """Write a file in the directory."""
        with write_atomically(self.path / name) as file:
            file.write(content)


@contextlib.contextmanager
def made_whole(path: Path) -> Iterator[Path]:
    """Give a hidden folder that takes its place at ``path`` once it is filled; nothing is left of one that is not.

    Raises:
        OSError: if it cannot be made, or a folder that is not empty is there already.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(3)}")
    unfinished.mkdir()
    try:
        yield unfinished
        unfinished.rename(path)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise


@contextlib.contextmanager
def write_atomically(path: Path) -> Iterator[IO[bytes]]:
    """Open a file for writing that replaces ``path`` only once it is complete and on the disk."""
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(3)}")
    try:
        with unfinished.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except OSError as error:
        error.filename = error.filename or str(path)  # a full disk does not say which
        raise
    finally:
        unfinished.unlink(missing_ok=True)


def _to_json(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=2) + "\n"
