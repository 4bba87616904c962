"""All runs below a folder to W&B, after a sweep without internet; what is there already is not sent again."""

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from iclgd.tracking.run_directory import RunDirectory, RunDirectoryError
from iclgd.tracking.wandb import NO_API_KEY, TrackingError, client_for_now, missing_for_online

RUNS_AT_ONCE = 32
EMPTY_BYTES = 7  # of one of W&B's files: its header, without a record
FEW_RETRIES = {  # W&B's client would ask a server that went away for hours
    "WANDB__GRAPHQL_RETRY_MAX": "5",
    "WANDB__FILE_STREAM_RETRY_MAX": "5",
    "WANDB__FILE_TRANSFER_RETRY_MAX": "5",
}


class UploadError(TrackingError):
    """Runs that cannot be uploaded."""


@dataclass
class UploadReport:
    """What became of the runs below a folder."""

    uploaded: int = 0
    already_there: int = 0
    without_wandb: int = 0  # tracking.mode=disabled
    not_complete: int = 0  # in progress, interrupted or failed
    failed: int = 0
    errors: list[str] = field(default_factory=list)  # what W&B's client said of those that failed

    def __str__(self) -> str:
        counts = [
            f"{self.uploaded} uploaded",
            f"{self.already_there} there already",
            f"{self.without_wandb} without W&B's files",
            f"{self.not_complete} not complete",
            f"{self.failed} failed",
        ]
        return "\n".join([", ".join(count for count in counts if not count.startswith("0 ")), *self.errors])


def upload(folder: Path) -> UploadReport:
    """Upload every complete run below a folder; a run is there when W&B's client has marked all its files.

    A run has one folder of W&B's files per attempt, which go up in order. An upload that was interrupted or failed goes
    on the next time; of what arrives twice, W&B keeps one, as every number carries its place in the run.

    Args:
        folder: a sweep's, or any other; may be a run directory.

    Raises:
        UploadError: if there are no runs, no API key is configured, or the server does not answer.
        TrackingError: if W&B's settings cannot be read.
    """
    runs = sorted(_run_directories(folder), key=lambda run: run.path)
    if not runs:
        raise UploadError(f"{folder}: there are no runs here")
    report = UploadReport()
    pending = [run for run in runs if _is_pending(run, report)]
    for start in range(0, len(pending), RUNS_AT_ONCE):
        if missing := _missing():
            if start == 0:
                raise UploadError(f"nothing was uploaded: {missing}")
            report.failed += len(pending) - start
            report.errors.append(missing)
            break
        _upload(pending[start : start + RUNS_AT_ONCE], report)
    report.errors = list(dict.fromkeys(report.errors))
    return report


def _run_directories(folder: Path) -> Iterator[RunDirectory]:
    """Find run directories; folders in them and unfinished ones, whose names begin with a dot, are not looked at."""
    for path, folders, files in os.walk(folder):
        if {"config.yaml", "environment.json"} <= set(files):
            yield RunDirectory(Path(path))
            folders.clear()
        folders[:] = [name for name in folders if not name.startswith(".")]


def _is_pending(run: RunDirectory, report: UploadReport) -> bool:
    """Say whether a run is to be uploaded; count it if not."""
    if run.read_summary() is None:
        report.not_complete += 1
    elif not _parts(run):
        report.without_wandb += 1
    elif all(_marker(part).exists() for part in _parts(run)):
        report.already_there += 1
    else:
        return True
    return False


def _parts(run: RunDirectory) -> list[Path]:
    """Return W&B's files of a run, one of each attempt, the oldest first; those in which nothing is are left out."""
    files = [file for file in run.path.glob("wandb/*run-*/*.wandb") if file.stat().st_size > EMPTY_BYTES]
    return sorted(files, key=lambda file: file.parent.name.removeprefix("offline-"))  # then comes the time


def _marker(part: Path) -> Path:
    """Return the file by which W&B's client says that a part is on the server."""
    return part.with_name(f"{part.name}.synced")


def _missing() -> str | None:
    """Return what is missing for an upload and what to do."""
    with client_for_now():
        missing = missing_for_online()
    if missing == NO_API_KEY:
        return f"{missing}; run 'wandb login', or set WANDB_API_KEY"
    return missing and f"{missing}; try again where there is internet"


def _upload(runs: list[RunDirectory], report: UploadReport) -> None:
    """Upload some runs at once, each locked so that nobody resumes or uploads it meanwhile."""
    with contextlib.ExitStack() as locks:
        files: dict[Path, list[Path]] = {}  # to be sent, by run
        for run in runs:
            try:
                locks.enter_context(run.lock())
            except RunDirectoryError:
                report.not_complete += 1
                continue
            if _is_pending(run, report):  # still, now that it is ours
                files[run.path] = _unmarked(run)
        if not files:
            return
        errors = _sync([file for parts in files.values() for file in parts])
        for parts in files.values():
            if all(_marker(part).exists() for part in parts):
                report.uploaded += 1
            else:
                report.failed += 1
                report.errors += errors


def _unmarked(run: RunDirectory) -> list[Path]:
    """Return a run's files from the first one on that is not on the server: the summary of the last must come last."""
    parts = _parts(run)
    first = next(index for index, part in enumerate(parts) if not _marker(part).exists())
    for part in parts[first:]:
        _marker(part).unlink(missing_ok=True)
    return parts[first:]


def _sync(files: list[Path]) -> list[str]:
    """Let W&B's client send its files; return what it says of errors, as its exit code does not."""
    command = [sys.executable, "-m", "wandb", "sync", "--include-online", *map(str, files)]
    with tempfile.TemporaryDirectory() as logs:
        environment = {**os.environ, **FEW_RETRIES, "WANDB_DIR": logs}
        result = subprocess.run(
            command, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
        )
    lines = [line.removeprefix("wandb: ") for line in result.stderr.splitlines()]
    return [line for line in lines if line.upper().startswith("ERROR")] or [
        f"wandb sync: exit code {result.returncode}"
    ]
