"""Time limits for calls that cannot be interrupted: whoever exceeds one is ended, with the reason said."""

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator

SECONDS_UNTIL_DEAD = 1.0  # that a child process has ended and nobody has asked for its exit code
SECONDS_UNTIL_GONE = 5.0  # that a call goes on although the process it began with has ended, unseen
SECONDS_BETWEEN_LOOKS = 0.05


class Watch:
    """Ends this process when a call takes too long, or one of its child processes has died on its own.

    W&B's client may wait for ever, for a lock that it holds itself, when W&B's own process dies.

    Args:
        say: is told why before the end.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._limits: dict[str, tuple[float, float]] = {}  # by what is done: until when, of how many seconds
        self._dead: tuple[int, float] | None = None  # child process, and since when
        self._last_child: float | None = None  # when there was one, during the call in progress
        threading.Thread(target=self._look, daemon=True).start()

    @contextlib.contextmanager
    def limit(self, seconds: float, what: str) -> Iterator[None]:
        """End the process if what is done within takes longer."""
        self._last_child = None
        self.end_within(seconds, what)
        try:
            yield
        finally:
            self._limits.pop(what, None)
            self._last_child = None

    def end_within(self, seconds: float, what: str) -> None:
        """End the process in some time, whatever it does."""
        self._limits[what] = (time.monotonic() + seconds, seconds)

    def _look(self) -> None:
        while True:
            time.sleep(SECONDS_BETWEEN_LOOKS)
            now = time.monotonic()
            for what, (until, seconds) in list(self._limits.items()):
                if now > until:
                    self._end(f"no {what} within {seconds:g} s")
            if self._has_lost_a_child(now):
                self._end("W&B's own process has died")

    def _has_lost_a_child(self, now: float) -> bool:
        """Say whether a child process has been dead for a while; whoever ends one asks for its exit code at once."""
        if not hasattr(os, "waitid"):  # macOS: the time limits are left
            return False
        try:
            found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            found = None
            last = self._last_child
            if last is not None and now - last > SECONDS_UNTIL_GONE:  # the client has seen it end, and waits for ever
                return True
        else:
            self._last_child = now if self._limits else None
        if found is None:
            self._dead = None
        elif self._dead is None or self._dead[0] != found.si_pid:
            self._dead = (found.si_pid, now)
        return self._dead is not None and now - self._dead[1] > SECONDS_UNTIL_DEAD

    def _end(self, reason: str) -> None:
        self._say(reason)
        os._exit(1)
