"""Complete runs to W&B, later or again: what is there already is not sent, and nothing arrives twice."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

from iclgd.tracking.client_process import ClientProcess, Message
from iclgd.tracking.run_directory import RunDirectory, RunDirectoryError
from iclgd.tracking.server import NO_API_KEY
from iclgd.tracking.wandb import TrackingError, look

RUNS_AT_ONCE = 4
SECONDS_TO_START = 30.0  # of a W&B run
SECONDS_TO_FINISH = 600.0  # of which most are for bringing a run to the server


class TrackError(TrackingError):
    """Runs that cannot be brought to W&B."""


@dataclass
class TrackReport:
    """What has become of the runs below some folders."""

    uploaded: int = 0
    already_there: int = 0
    not_complete: int = 0  # in progress, interrupted or failed
    failed: int = 0
    errors: list[str] = field(default_factory=list)  # a line for each that failed

    def __str__(self) -> str:
        counts = [
            f"{self.uploaded} uploaded",
            f"{self.already_there} there already",
            f"{self.not_complete} not complete",
            f"{self.failed} failed",
        ]
        return "\n".join([", ".join(count for count in counts if not count.startswith("0 ")), *self.errors])


def track(paths: Sequence[Path]) -> TrackReport:
    """Bring every complete run below some folders to W&B, from the run directories themselves.

    A run directory remembers where all of it has arrived. Of one that was interrupted on the way, the server knows how
    many rows it has, and gets the others. Runs that are not complete are left out: they can go on.

    Args:
        paths: run directories, sweeps' folders, or any others.

    Raises:
        TrackError: if there are no runs, no API key is configured, or the server does not answer or refuses the key.
        TrackingError: if W&B's settings cannot be read.
    """
    runs = [run for path in paths for run in _run_directories(path)]
    runs = sorted({run.path.resolve(): run for run in runs}.values(), key=lambda run: run.path)
    return _Upload(runs).report


def _run_directories(folder: Path) -> list[RunDirectory]:
    """Find run directories; folders in them and unfinished ones, whose names begin with a dot, are not looked at."""
    found = []
    for path, folders, files in os.walk(folder):
        if {"config.yaml", "environment.json"} <= set(files):
            found.append(RunDirectory(Path(path)))
            folders.clear()
        folders[:] = sorted(name for name in folders if not name.startswith("."))
    if not found:
        raise TrackError(f"{folder}: there are no runs here" if folder.is_dir() else f"{folder}: no such folder")
    return found


class _Upload:
    """Several processes of W&B's client, which take the runs one by one."""

    def __init__(self, runs: Sequence[RunDirectory]) -> None:
        self.report = TrackReport()
        self._lock = Lock()
        self._lost: str | None = None  # why no other runs are tried
        self._names: dict[str, Path] = {}
        self._pending = iter(runs)
        client = ClientProcess()
        try:
            found = look(client, account=True)
            if missing := _missing(found):
                raise TrackError(f"nothing was uploaded: {missing}")
            self._account = found["account"]
        except BaseException:
            client.kill()
            raise
        self._clients = [client]
        num_threads = min(RUNS_AT_ONCE, len(runs))
        with ThreadPoolExecutor(num_threads) as pool:
            try:
                list(pool.map(self._work, [client, *[None] * (num_threads - 1)]))
            except BaseException:  # Ctrl-C
                self._pending = iter(())
                for each in self._clients:
                    each.kill()
                raise
        self.report.errors.sort()

    def _new_client(self) -> ClientProcess:
        client = ClientProcess()
        self._clients.append(client)
        return client

    def _next(self) -> RunDirectory | None:
        with self._lock:
            return next(self._pending, None)

    def _work(self, client: ClientProcess | None) -> None:
        """Take runs until there are no more."""
        try:
            while (run := self._next()) is not None:
                client = self._take(run, client)
        finally:
            if client is not None:
                client.end(0)

    def _take(self, run: RunDirectory, client: ClientProcess | None) -> ClientProcess | None:
        """Bring a run to W&B, locked so that nobody resumes or uploads it meanwhile; return the client for the next."""
        try:
            with run.lock():
                if run.read_summary() is None:
                    self._count("not_complete")
                    return client
                if self._lost is None and self._is_second(run):
                    self._fail(f"{run.path}: {self._names[run.path.name]} has the same name, which is W&B's id of it")
                    return client
                if self._lost is not None:
                    self._fail(self._lost)
                    return client
                client = client or self._new_client()
                message = self._copy(run, client)
        except RunDirectoryError:
            self._count("not_complete")
            return client
        except (OSError, ValueError) as error:  # a damaged summary, or a folder that is not ours
            self._fail(f"{run.path}: {error}")
            return client
        return self._judge(run, client, message)

    def _copy(self, run: RunDirectory, client: ClientProcess) -> Message:
        client.send(
            do="copy",
            path=str(run.path),
            mode="online",
            reason="",
            follow=False,
            account=self._account,
            num_lines=0,
            start_seconds=SECONDS_TO_START,
            finish_seconds=SECONDS_TO_FINISH,
        )
        return client.receive(4 * SECONDS_TO_START + SECONDS_TO_FINISH)

    def _judge(self, run: RunDirectory, client: ClientProcess, message: Message) -> ClientProcess | None:
        if message.get("done") == "there already":
            self._count("already_there")
        elif "done" in message and not message["problems"]:
            self._count("uploaded")
        else:
            self._fail(f"{run.path}: {message['failed'] if 'failed' in message else message['problems'][0]}")
            client.kill()
            client = self._new_client()
            missing = _missing(look(client))
            self._lost = self._lost or missing
        return client

    def _is_second(self, run: RunDirectory) -> bool:
        with self._lock:
            return self._names.setdefault(run.path.name, run.path) != run.path

    def _count(self, what: str) -> None:
        with self._lock:
            setattr(self.report, what, getattr(self.report, what) + 1)

    def _fail(self, line: str) -> None:
        self._count("failed")
        with self._lock:
            if line not in self.report.errors:
                self.report.errors.append(line)


def _missing(found: Message) -> str | None:
    """Return what is missing for an upload and what to do."""
    if "failed" in found:
        return f"W&B's client cannot start ({found['failed']})"
    if found["missing"] == NO_API_KEY:
        return f"{NO_API_KEY}; run 'wandb login', or set WANDB_API_KEY"
    return found["missing"] and f"{found['missing']}; try again where there is internet"
