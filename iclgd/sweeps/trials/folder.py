"""A sweep is its folder: the file it was started from, its journal, its workers' heartbeats, its trials' runs."""

import contextlib
import dataclasses
import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from iclgd.files import FileError, made_whole, read_text, write_atomically
from iclgd.sweeps.file.errors import SweepError
from iclgd.sweeps.trials.entries import entry_of
from iclgd.terminal import say
from iclgd.vendors.optuna import study_attributes

IMPORTS = "imports.json"  # which files of own entries its trials need
CHECKSUM = "checksum"  # of the other options, in options.json


@dataclass(frozen=True)
class SweepOptions:
    """What a sweep is, once and for all; how it is worked on may differ from start to start."""

    name: str  # stem of the sweep file
    sweep_id: str  # its runs' ids begin with it
    engine: str  # "local" or "wandb"
    working_directory: str  # to which paths in the sweep file and in key=value are relative
    overrides: tuple[str, ...] = ()  # key=value of every trial
    seed: int = 0  # of drawn points
    storage: str | None = None  # URL of a database instead of the journal
    wandb: str | None = None  # "entity/project/id" with W&B's engine
    num_trials: int | None = None  # where it is known beforehand
    sweep_file: str | None = None  # its text, should sweep.yaml be damaged

    @property
    def group(self) -> str:
        """Return W&B's group of all runs."""
        return f"{self.name}-{self.sweep_id}"


class SweepFolder:
    """Paths and small files of a sweep's folder.

    Args:
        path: an existing sweep's folder.

    Raises:
        SweepError: if it is not one.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.sweep_file = self.path / "sweep.yaml"  # as it was when the sweep began
        self.journal = self.path / "journal.log"  # Optuna's
        self.runs = self.path / "runs"  # the trials' run directories
        self.logs = self.path / "logs"  # what workers and trials print
        self.workers = self.path / "workers"  # their heartbeats
        self.slurm = self.path / "slurm"  # batch scripts and job ids
        self.options = self._read_options(path)
        self._restore_sweep_file()

    @classmethod
    def create(cls, path: Path | None, text: str, options: SweepOptions, fill: Callable[[Path], None]) -> "SweepFolder":
        """Make a folder whole or not at all, so that of two people who choose the same one only the first gets it.

        Args:
            path: the folder; ``None`` for ``<runs>/sweeps/<name>/<timestamp>-<sweep id>/``.
            text: of the sweep file.
            options: of the sweep.
            fill: called with the unfinished folder; makes the journal.

        Raises:
            SweepError: if the folder is taken.
            OSError: if it cannot be written; nothing is left behind then.
        """
        if path is None:
            runs = Path(os.environ.get("ICLGD_RUNS") or "runs")
            path = runs / "sweeps" / options.name / f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{options.sweep_id}"
        path = path.absolute()
        cls.refuse_taken(path)
        try:
            with made_whole(path) as unfinished:
                for name in ("logs", "workers", "runs"):
                    (unfinished / name).mkdir()
                (unfinished / "sweep.yaml").write_text(text, encoding="utf-8")
                content = _to_json(dataclasses.replace(options, sweep_file=text))
                (unfinished / "options.json").write_text(content, encoding="utf-8")
                fill(unfinished)
        except OSError:
            cls.refuse_taken(path)  # between the first look and now
            raise
        return cls(path)

    @staticmethod
    def refuse_taken(path: Path) -> None:
        """Raise a SweepError if something is there; an empty folder is not."""
        if (path / "options.json").exists():
            raise SweepError(f"{path}: a sweep is there already; go on with it by --resume, or choose another folder")
        if path.exists() and not (path.is_dir() and not any(path.iterdir())):
            raise SweepError(f"{path}: is there already and not a sweep's folder; choose another one")

    def _read_options(self, path: Path) -> SweepOptions:
        """Return ``options.json``; if it is damaged, the journal's copy, which takes its place."""
        file = path / "options.json"
        try:
            content = json.loads(read_text(file))
            options = _options(content)
            if content.get(CHECKSUM, _checksum(options)) != _checksum(options):
                raise ValueError("its checksum is another")
        except (FileError, OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            is_missing = isinstance(error, FileNotFoundError | NotADirectoryError) or not path.is_dir()
            if (copy := self._options_of_journal()) is None:
                if is_missing:
                    raise SweepError(f"{path}: not a sweep's folder (it has no options.json)") from None
                reason = str(error).removeprefix(f"{file}: ")
                raise SweepError(f"{file}: cannot be read ({reason})") from None
            with write_atomically(self.path / "options.json") as whole:
                whole.write(_to_json(copy).encode())
            say(f"{file}: {'missing' if is_missing else 'damaged'}; put back from the journal")
            return copy
        return options

    def _options_of_journal(self) -> SweepOptions | None:
        """Return the options as the journal has them, with the text of the sweep file; ``None`` if it has not."""
        try:
            with self.journal.open("rb") as file:
                for line in file:
                    with contextlib.suppress(ValueError, TypeError, KeyError, RecursionError):
                        options = _options(study_attributes(entry_of(line))["options"])
                        text = self.sweep_file.read_text(encoding="utf-8")
                        return dataclasses.replace(options, sweep_file=text)
        except OSError:
            return None
        return None

    def _restore_sweep_file(self) -> None:
        """Put back a ``sweep.yaml`` that is damaged."""
        text = self.options.sweep_file
        if text is None:  # of an older version
            return
        try:
            is_whole = read_text(self.sweep_file) == text
        except (FileError, FileNotFoundError):
            is_whole = False
        if not is_whole:
            with write_atomically(self.sweep_file) as file:
                file.write(text.encode())
            say(f"{self.sweep_file}: damaged; put back from options.json")

    def own_entries(self) -> dict[str, Any]:
        """Return which files of own entries the sweep was begun with, as ``environment.json`` has them."""
        try:
            content = json.loads(read_text(self.path / IMPORTS))
        except (FileNotFoundError, FileError, ValueError):  # damaged: each trial knows by itself
            return {}
        return content if isinstance(content, dict) else {}

    def slurm_jobs(self) -> list[str]:
        """Return the ids of the jobs that were submitted."""
        try:
            return (self.slurm / "jobs").read_text(encoding="utf-8", errors="replace").split()
        except FileNotFoundError:
            return []

    def run_id(self, point: int) -> str:
        """Return the id of a point's run, the same for every attempt."""
        return f"{self.options.sweep_id}-{point:04d}"

    def trial_log(self, point: int) -> Path:
        """Return the file with what a point's attempts printed."""
        return self.logs / f"trial-{point:04d}.log"

    def run_directory(self, point: int) -> Path | None:
        """Return a point's run directory if an attempt has made it."""
        return next(self.runs.glob(f"*/{self.run_id(point)}"), None)

    def request_stop(self, mode: str) -> None:
        """Ask all workers to stop: ``"after"`` trials in progress, or ``"now"``, which gives these back."""
        with write_atomically(self.path / "stop") as file:
            file.write(mode.encode())

    def stop_mode(self) -> str | None:
        """Return how workers are asked to stop, if they are."""
        try:
            return (self.path / "stop").read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return None

    def forget_stop(self) -> None:
        """Let workers start again."""
        with contextlib.suppress(FileNotFoundError):
            (self.path / "stop").unlink()


def _options(content: Any) -> SweepOptions:
    """Return options from what a file has; errors are those of a wrong shape."""
    known = {key: value for key, value in content.items() if key != CHECKSUM}
    options = SweepOptions(**{**known, "overrides": tuple(content["overrides"])})
    texts = (options.name, options.sweep_id, options.engine, options.working_directory, *options.overrides)
    if not all(isinstance(text, str) for text in texts) or not isinstance(options.seed, int):
        raise TypeError("a value is of another kind")
    return options


def _checksum(options: SweepOptions) -> str:
    return hashlib.sha256(json.dumps(dataclasses.asdict(options), sort_keys=True).encode()).hexdigest()


def _to_json(options: SweepOptions) -> str:
    return json.dumps({**dataclasses.asdict(options), CHECKSUM: _checksum(options)}, indent=2) + "\n"


def newest(name: str) -> Path | None:
    """Return the newest folder of a sweep file's stem among those in the usual place."""
    runs = Path(os.environ.get("ICLGD_RUNS") or "runs")
    return max((runs / "sweeps" / name).glob("[0-9]*/"), default=None)
