"""A process of ours that holds W&B's client: whatever happens to it, a run sees no more than a message or an end."""

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

Message = dict[str, Any]

# Signals that a terminal or Slurm sends to all processes of a run are the run's to answer. They are ignored from the
# very start: Python would take a moment to say so. Not started by -m: a wandb.py of the working directory is not W&B's.
WITHOUT_SIGNALS = 'trap "" HUP INT TERM USR1; exec "$@"'
MAIN = "import sys; sys.path.append(sys.argv[1]); from iclgd.tracking.client import main; main()"
PACKAGE_PARENT = str(Path(__file__).parents[2])
ENDED = {"failed": "W&B's client has ended"}  # the last message of every process


class ClientProcess:
    """Starts :mod:`iclgd.tracking.client`; jobs go to it and messages come from it as dictionaries.

    It ends when this process does. One of its own failures is a message too, ``{"failed": why}``; nothing is raised.

    Args:
        take: called with every message in a thread of its own; says whether it need not be received any more.
    """

    def __init__(self, take: Callable[[Message], bool] = lambda _: False) -> None:
        self._messages: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._take = take
        self._process: subprocess.Popen[bytes] | None = None
        # WANDB_SERVICE would be a process of W&B's that belongs to somebody else.
        environment = {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"}
        command = ["/bin/sh", "-c", WITHOUT_SIGNALS, "mirror", sys.executable, "-P", "-c", MAIN, PACKAGE_PARENT]
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
            )
        except OSError as error:
            self._deliver({"failed": f"no process for W&B's client ({error.strerror})"})
            return
        threading.Thread(target=self._read, daemon=True).start()

    @property
    def pid(self) -> int | None:
        """Return the id of the process, if it could be started."""
        return None if self._process is None else self._process.pid

    def send(self, **message: Any) -> None:
        """Send a job, or more about the one in progress."""
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(OSError, ValueError):  # it is gone, which its last message says, or was closed
                self._process.stdin.write(json.dumps(message).encode() + b"\n")
                self._process.stdin.flush()

    def receive(self, seconds: float) -> Message:
        """Return the next message; kill the process if none comes in time."""
        try:
            return self._messages.get(timeout=seconds)
        except queue.Empty:
            self.kill()
            return {"failed": f"W&B's client did not answer within {seconds:g} s"}

    def end(self, seconds: float) -> None:
        """Let the process come to its end, and kill it if it has not in time or somebody presses Ctrl-C."""
        if self._process is None:
            return
        try:
            self._close()
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            pass
        finally:
            self.kill()

    def kill(self) -> None:
        """End the process now; W&B's own process, which looks after its parent, follows."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._close()

    def _close(self) -> None:
        """Say that there are no more jobs."""
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(OSError):  # nobody is there to read the rest
                self._process.stdin.close()

    def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                self._deliver(json.loads(line))
        self._deliver(dict(ENDED))

    def _deliver(self, message: Message) -> None:
        if not self._take(message):
            self._messages.put(message)
