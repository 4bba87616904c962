"""W&B as the mirror of a run in progress, in a process of its own: it can be lost, and nothing else with it."""

import _thread
import shlex
import signal
import threading
import time
from typing import Self

from iclgd.terminal import say
from iclgd.tracking.client_process import ClientProcess, Message
from iclgd.tracking.rows import count_lines
from iclgd.tracking.run_copy import forget_arrival
from iclgd.tracking.run_directory import RunDirectory
from iclgd.tracking.wandb import WITHOUT_CLIENT, TrackingConfig, decide, look, wanted_mode

SECONDS_TO_START = 30.0  # of a W&B run, online, and then offline; the run does not wait for it
SECONDS_TO_FINISH = 60.0  # W&B's own default is to wait for a lost server for ever
SECONDS_OF_PATIENCE = 60.0  # beyond these with a process that watches its limits itself
SECONDS_TO_CLOSE = 10.0  # W&B's files of a run that is over
SECONDS_TO_INTERRUPT = 2.0  # the copy of a run that is to go on later: Slurm kills within seconds who does not end
EXIT_FAILED = 1


class Mirror:
    """Copies a run directory to W&B while the run goes on. It reads what the run writes; the run never waits for it.

    Within its context W&B's client has a process, unless tracking is disabled; none is left afterwards.

    Args:
        config: mode, project, tags and group.
    """

    def __init__(self, config: TrackingConfig) -> None:
        self._mode, self._reason = wanted_mode(config), "as configured"
        self._client: ClientProcess | None = None
        self._directory: RunDirectory | None = None
        self._lock = threading.Lock()
        self._has_started = False
        self._failure: str | None = None
        self._is_done = self._is_over = False  # all of it has arrived; nothing more is to be said

    def __enter__(self) -> Self:
        """Start the process; W&B's client takes a second to be imported, which others may use."""
        if self._mode != "disabled":
            self._client = ClientProcess(self._take)
        return self

    def __exit__(self, *_: object) -> None:
        self.close(EXIT_FAILED)

    def resolve(self) -> None:
        """Decide between online and offline.

        Raises:
            TrackingError: if online tracking is demanded without an API key, or W&B's settings cannot be read.
            RunDirectoryError: if ``WANDB_RUN_ID`` cannot be the run's id.
        """
        if self._client is not None and self._mode != "offline":
            self._mode, self._reason = decide(self._mode, look(self._client))

    def begin(self, directory: RunDirectory) -> None:
        """Begin to copy a run directory, whose ``metrics.jsonl`` has what earlier attempts have recorded."""
        forget_arrival(directory)
        if self._client is None:
            return
        self._directory = directory
        if self._mode == WITHOUT_CLIENT:
            self._lose(self._reason)
            return
        if self._failure:
            self._lose(self._failure)
            return
        self._client.send(
            do="copy",
            path=str(directory.path),
            mode=self._mode,
            reason=self._reason,
            follow=True,
            num_lines=count_lines(directory.path / "metrics.jsonl"),
            start_seconds=SECONDS_TO_START,
            finish_seconds=SECONDS_TO_FINISH,
        )

    def finish(self) -> None:
        """Let the copy of a complete run come to its end, and wait for it, but not for ever."""
        if self._client is None or self._is_over or self._failure:
            return
        self._client.send(exit_code=0)
        until = time.monotonic() + 2 * SECONDS_TO_START + SECONDS_TO_FINISH + SECONDS_OF_PATIENCE
        message: Message = {}
        while not {"done", "failed"} & set(message):
            message = self._client.receive(max(0.0, until - time.monotonic()))
        if "failed" in message:
            self._lose(message["failed"])
        elif message["problems"]:
            self._say(f"W&B has not got it all ({message['problems'][0]}); {self._advice}")
        self._is_over = True
        self._client.end(SECONDS_TO_CLOSE)

    def close(self, exit_code: int) -> None:
        """Close W&B's files of a run that is not complete; what they lack, it gets when the run goes on.

        It is not waited for a copy that has not started yet.

        Args:
            exit_code: that W&B is told.
        """
        was_over, self._is_over = self._is_over, True
        if self._client is None:
            return
        if was_over or self._failure or not self._has_started:
            self._client.kill()
        else:
            self._client.send(exit_code=exit_code)
            self._client.end(SECONDS_TO_INTERRUPT)

    def _take(self, message: Message) -> bool:
        """Deal with a message, in a thread of its own; say whether nobody else need see it."""
        if "started" in message:
            self._has_started = True
            is_online = message["started"] == "online"
            self._say(f"W&B {message['started']} ({message['reason']})" + ("" if is_online else f"; {self._advice}"))
        elif "stop" in message:  # somebody has pressed W&B's button
            _thread.interrupt_main(signal.SIGUSR1)
        elif "failed" in message:
            self._lose(message["failed"])
        else:
            self._is_done = self._is_done or "done" in message
            return False
        return "failed" not in message

    def _lose(self, reason: str) -> None:
        with self._lock:
            self._failure = self._failure or reason
            if self._directory is None or self._is_done or self._is_over:
                return
            how = "was lost" if self._has_started else "cannot start"
            self._say(f"W&B {how} ({self._failure}); the run goes on without it; {self._advice}")
            self._is_over = True

    def _say(self, line: str) -> None:
        if not self._is_over:
            say(f"tracking: {line}")

    @property
    def _advice(self) -> str:
        assert self._directory is not None
        return f"upload later with: iclgd track {shlex.quote(str(self._directory.path))}"
