"""A trial's process: started beneath a guard, asked to stop, killed."""

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from iclgd.sweeps.workers.guard import Guard

# The trial begins only when it is told to, after the guard knows it: a worker that dies in between leaves nothing.
WAIT_FOR_GO = 'read -r go && exec "$@"'


class TrialProcess:
    """A command in a session of its own, and so in a process group of its own, with its output appended to a log.

    Args:
        command: program and arguments.
        environment: of the process.
        log: where its output goes.
        working_directory: of the process.
        guard: kills the group when this process dies.

    Raises:
        OSError: if the log cannot be written or no process can be started.
    """

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], log: Path, working_directory: Path, guard: Guard
    ) -> None:
        self._guard = guard
        self._ended = threading.Event()
        with log.open("ab") as output:
            self._log_start = (log, output.tell())
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", WAIT_FOR_GO, "trial", *command],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(environment),
                cwd=working_directory,
                start_new_session=True,
            )
        guard.watch(self._process.pid)
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # killed already
            self._process.stdin.write(b"go\n")
            self._process.stdin.close()
        threading.Thread(target=self._wait, daemon=True).start()

    def ended_within(self, seconds: float) -> bool:
        """Wait for the end, but no longer; say whether it has come. There is no polling: the end is seen at once."""
        self._guard.renew()
        return self._ended.wait(seconds)

    @property
    def pid(self) -> int:
        """Return the id of the process, of its group and of its session."""
        return self._process.pid

    @property
    def exit_code(self) -> int:
        """Return the exit code of a process that has ended; negative: the signal that killed it."""
        return self._process.returncode

    def ask_to_stop(self, number: signal.Signals = signal.SIGUSR1) -> None:
        """Ask for a checkpoint and the end."""
        self._signal(number)

    def kill(self) -> None:
        """Kill the whole group."""
        self._signal(signal.SIGKILL)

    def last_words(self) -> str:
        """Return the last line that this process printed."""
        path, start = self._log_start
        with path.open("rb") as file:
            file.seek(max(start, path.stat().st_size - 4096))
            lines = file.read().decode(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")

    def _wait(self) -> None:
        try:
            self._process.wait()
            self._kill_stragglers()
            self._guard.watch(None)
        finally:
            self._ended.set()

    def _kill_stragglers(self) -> None:
        """Kill what a trial that was killed has left of its group, such as other ranks."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        if not self._ended.is_set():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)
