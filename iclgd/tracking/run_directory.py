"""A run is its directory: ``config.yaml``, ``environment.json``, ``metrics.jsonl``, ``summary.json`` and the rest.

Reports and figures read nothing else, so runs made with and without internet give the same ones.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from iclgd.checks import InputError
from iclgd.files import FileError, made_whole, read_text, write_atomically
from iclgd.terminal import say

CHECKPOINT = re.compile(r"step=(0|[1-9][0-9]{0,17})\.ckpt")
SEAL = "# as the run began, sha256 of the lines above: "  # the last line of config.yaml
WEIGHTS, PREDICTIONS = "weights.safetensors", "predictions.jsonl"
MODEL_FOLDER = "model"  # a language model and its tokenizer, as transformers writes them
CHECKED = ("metrics.jsonl", WEIGHTS, PREDICTIONS)  # of a complete run, beside what is JSON
MADE_WITH = "made_with"  # of an analysis' record: the values of the config that it was made with
MOST_BYTES = 2**31  # of our own files
SECONDS_OF_A_LOOK = 0.2  # after which a lock is one of a process that works, not of one that asks whether it is locked
Tell = Callable[[str], None]


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


def runs_folder() -> Path:
    """Return where runs are: ``$ICLGD_RUNS`` or ``runs``."""
    return Path(os.environ.get("ICLGD_RUNS") or "runs").absolute()


class RunDirectory:
    """Reads and writes one run's files; every file is replaced whole or not at all.

    Args:
        path: an existing run directory.

    Raises:
        RunDirectoryError: if it is not one.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        if not (path / "config.yaml").is_file() and not self.all_checkpoints():  # which have the config too
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
        parent = runs_folder() / name
        path = parent / (chosen or f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(3)}")
        taken = RunDirectoryError(f"{path}: is there already; WANDB_RUN_ID must be new, or continue with: iclgd resume")
        if path.exists():  # a rename would replace an empty directory
            raise taken
        try:
            with made_whole(path) as unfinished:
                (unfinished / "config.yaml").write_text(_sealed(config_yaml), encoding="utf-8")
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
            until = time.monotonic() + SECONDS_OF_A_LOOK
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    if time.monotonic() > until:
                        raise RunDirectoryError(f"{self.path}: another process is working on this run") from None
                    time.sleep(SECONDS_OF_A_LOOK / 20)
                else:
                    break
            yield

    def all_checkpoints(self) -> list[Path]:
        """Return the checkpoints, the newest first, whole or not; files with other names are nobody's business."""
        try:
            found = [path for path in self.checkpoints.iterdir() if CHECKPOINT.fullmatch(path.name) and path.is_file()]
        except OSError:
            return []
        return sorted(found, key=self.step_of, reverse=True)

    def last_checkpoint(self) -> Path | None:
        """Return the newest checkpoint, if there is one."""
        return next(iter(self.all_checkpoints()), None)

    @staticmethod
    def step_of(checkpoint: Path) -> int:
        """Return the optimiser step of a checkpoint."""
        return int(checkpoint.stem.removeprefix("step="))

    def forget_checkpoints_after(self, step: int) -> None:
        """Drop checkpoints that are newer than the one from which a run goes on, and what killed writers have left."""
        newer = [path for path in self.all_checkpoints() if self.step_of(path) > step]
        for path in [*newer, *self.checkpoints.glob(".step=*.ckpt.*")]:
            path.unlink(missing_ok=True)

    def keep_checkpoints(self, number: int) -> None:
        """Drop all checkpoints but the newest ones."""
        for path in self.all_checkpoints()[number:]:
            path.unlink(missing_ok=True)

    def write_config(self, text: str) -> None:
        """Write ``config.yaml`` with its checksum."""
        self.write_text("config.yaml", _sealed(text))

    def is_config_as_begun(self) -> bool:
        """Say whether the config is the one with which the run began; of one without a checksum nothing is known."""
        text = read_text(self.config_path)
        return not self._has_seal(text) or text == _sealed(text.partition(SEAL)[0])

    def read_environment(self, tell: Tell = say) -> dict[str, Any] | None:
        """Return ``environment.json``, or ``None`` if it is missing or damaged, which is told."""
        content, wrong = self._read_json("environment.json")
        if wrong is not None:
            tell(f"{self.path / 'environment.json'}: {wrong}; going on without it")
        return content

    def write_environment(self, environment: dict[str, Any]) -> None:
        """Write ``environment.json``."""
        self.write_text("environment.json", _to_json(environment))

    def append_metrics(self, step: int, metrics: dict[str, float]) -> None:
        """Add a line to ``metrics.jsonl``; it is on the disk before the checkpoint that counts on it."""
        with (self.path / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **metrics}) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def read_metrics(self, tell: Tell = say) -> list[dict[str, float]]:
        """Return the lines of ``metrics.jsonl``; a last line that was cut off is left out, damaged ones are told."""
        path = self.path / "metrics.jsonl"
        try:
            lines = read_text(path, MOST_BYTES, encoding="latin-1").split("\n")[:-1]
        except FileNotFoundError:
            if (wrong := self.problem_with(path.name)) is not None:
                tell(f"{path}: {wrong}; put it back with: iclgd resume {self.path}")
            return []
        except FileError as error:
            tell(f"{error}; going on without it")
            return []
        records = [_record(line) for line in lines]
        if None not in records and (self.path / "summary.json").exists() and (wrong := self.problem_with(path.name)):
            tell(f"{path}: {wrong}; its numbers cannot be trusted")
        if bad := [number for number, record in enumerate(records, start=1) if record is None]:
            tell(f"{path}: {len(bad)} of {len(lines)} lines are damaged and left out (the first is line {bad[0]})")
        return [record for record in records if record is not None]

    def forget_metrics_after(self, step: int) -> None:
        """Drop the lines of ``metrics.jsonl`` that are newer than the checkpoint from which a run goes on."""
        self._write_metrics([record for record in self.read_metrics() if record["step"] <= step])

    def restore_metrics(self, step: int, records: list[dict[str, float]]) -> None:
        """Put back the lines of ``metrics.jsonl`` as a checkpoint has them; say so if any were not there.

        Args:
            step: of the checkpoint; newer lines are dropped.
            records: its lines.
        """
        there = [json.dumps(record) for record in self.read_metrics(tell=lambda _: None) if record["step"] <= step]
        expected = [json.dumps(record) for record in records]
        if there != expected:
            num_whole = len(set(there) & set(expected))
            say(
                f"{self.path / 'metrics.jsonl'}: damaged: of {len(expected)} lines up to step {step} only {num_whole} "
                "are whole; all are put back from the checkpoint"
            )
        self._write_metrics(records)

    def write_summary(self, summary: dict[str, float]) -> None:
        """Write ``summary.json``; its presence says that the run is complete."""
        others = {name: _sha256_of(self.path / name) for name in CHECKED if (self.path / name).is_file()}
        self._write_json("summary.json", dict(sorted(summary.items())), others)

    def read_summary(self, tell: Tell = say) -> dict[str, float] | None:
        """Return ``summary.json``, or ``None`` while the run is not complete; so it is if the file is damaged."""
        content, wrong = self._read_json("summary.json")
        if content is not None:
            wrong = wrong or self._foreign("summary.json")
            is_number = (value is None or type(value) in (int, float) for value in content.values())
            wrong = wrong if all(is_number) else "not names and numbers"
        if wrong is None:
            return content
        if (self.path / "summary.json").exists():
            tell(f"{self.path / 'summary.json'}: {wrong}; the run counts as not complete")
        return None

    def problem_with(self, name: str) -> str | None:
        """Return what is wrong with a file of a complete run, such as its weights or its curve."""
        return self._foreign(name)

    def forget_summary(self) -> None:
        """Drop a damaged ``summary.json`` of a run that goes on."""
        (self.path / "summary.json").unlink(missing_ok=True)

    def forget_what_was_made(self) -> None:
        """Drop analyses and figures of a complete run that goes on: they are of the weights that it had."""
        for name in ("analysis", "figures"):
            shutil.rmtree(self.path / name, ignore_errors=True)

    def remove(self) -> None:
        """Drop the whole directory, of a run that has not begun."""
        shutil.rmtree(self.path, ignore_errors=True)
        with contextlib.suppress(OSError):  # unless others have runs there
            self.path.parent.rmdir()

    def write_analysis(self, name: str, record: dict[str, Any], made_with: dict[str, Any]) -> None:
        """Write what an analysis found as ``analysis/NAME.json``, with the values that it was made with."""
        (self.path / "analysis").mkdir(exist_ok=True)
        self._write_json(f"analysis/{name}.json", {MADE_WITH: made_with, **record})

    def read_analyses(self, tell: Tell = say) -> dict[str, dict[str, Any]]:
        """Return what all analyses found, by name; what is damaged or none of ours is told."""
        records = {}
        for path in sorted((self.path / "analysis").glob("[!.]*.json")):
            content, wrong = self._read_json(f"analysis/{path.name}")
            wrong = wrong or self._foreign(f"analysis/{path.name}")
            if wrong is not None:
                tell(f"{path}: {wrong}; left out")
            elif content is not None:
                records[path.stem] = content
        return records

    def _write_metrics(self, records: list[dict[str, float]]) -> None:
        self.write_text("metrics.jsonl", "".join(json.dumps(record) + "\n" for record in records))

    def _write_json(self, name: str, content: dict[str, Any], others: dict[str, str] | None = None) -> None:
        """Write what a reader can check: its checksum is in ``environment.json`` before it is there itself.

        Args:
            name: of the file.
            content: of it.
            others: checksums of further files, by name.
        """
        text = _to_json(content)
        environment = self.read_environment(tell=lambda _: None) or {}
        checksums = {**environment.get("checksums", {}), **(others or {}), name: _sha256(text)}
        self.write_text("environment.json", _to_json({**environment, "checksums": checksums}))
        self.write_text(name, text)

    def _read_json(self, name: str) -> tuple[dict[str, Any] | None, str | None]:
        """Return a file of names and values, or else what is wrong with it."""
        try:
            content = json.loads(read_text(self.path / name, MOST_BYTES))
        except FileNotFoundError:
            return None, "missing"
        except FileError as error:
            return None, str(error).removeprefix(f"{self.path / name}: ")
        except (ValueError, RecursionError):
            return None, "damaged (not JSON)" if (self.path / name).stat().st_size else "empty"
        return (content, None) if isinstance(content, dict) else (None, "damaged (not names and values)")

    def _foreign(self, name: str) -> str | None:
        """Return what is wrong with a file of which ``environment.json`` must have the checksum."""
        environment, wrong = self._read_json("environment.json")
        if environment is None or wrong is not None or not self._has_seal():  # damaged itself, or of an older version
            return None
        checksums = environment.get("checksums")
        expected = checksums.get(name) if isinstance(checksums, dict) else None
        if expected is None:
            return "not of this run" if (self.path / name).exists() else None
        if not (self.path / name).is_file():
            return "missing"
        is_same = expected == _sha256_of(self.path / name)
        return None if is_same else "damaged (not the checksum that environment.json has)"

    def _has_seal(self, config: str | None = None) -> bool:
        try:
            return SEAL in (config if config is not None else read_text(self.config_path))
        except (FileNotFoundError, FileError):
            return False

    def write_text(self, name: str, text: str) -> None:
        """Write a text file in the directory."""
        self.write_bytes(name, text.encode())

    def write_bytes(self, name: str, content: bytes) -> None:
        """Write a file in the directory."""
        with write_atomically(self.path / name) as file:
            file.write(content)


def _record(line: str) -> dict[str, float] | None:
    """Return a line of ``metrics.jsonl``, ``None`` if it is damaged."""
    try:
        record = json.loads(line) if line.isascii() else None
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict) or type(record.get("step")) is not int:
        return None
    return record if all(type(value) in (int, float) for value in record.values()) else None


def _sealed(config: str) -> str:
    return f"{config}{SEAL}{_sha256(config)}\n"


def _sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _to_json(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=2) + "\n"
