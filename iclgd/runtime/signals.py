"""Signals that ask for the end of a run: SIGUSR1, which Slurm sends before a time limit, SIGTERM, and SIGHUP, with
which a terminal goes, unless it is ignored (nohup).

Nothing slow is imported here: the signals are to be answered while everything else is being imported.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

STOP_SIGNALS = (signal.SIGUSR1, signal.SIGTERM)
ALL_SIGNALS = (*STOP_SIGNALS, signal.SIGHUP, signal.SIGINT)


class StopRequests:
    """Whether this process has been asked to stop; it does then as after Ctrl-C, at once or a little later."""

    def __init__(self) -> None:
        self.is_requested = False
        self.must_end_at_once = False  # without waiting for threads that wait for others
        self._is_awaited = False
        self._is_deferred = False

    @contextlib.contextmanager
    def handled(self) -> Iterator[None]:
        """Answer the first stop signal, and ignore those that follow it: ends are asked for several times.

        The answer is at once, but not within :meth:`deferred`, nor while other processes of the run wait for this one.

        Raises:
            KeyboardInterrupt: as the answer.
        """
        if threading.current_thread() is not threading.main_thread():  # which alone may handle signals
            yield
            return
        self.is_requested, self._is_awaited = False, _has_company()
        is_hung_up = signal.getsignal(signal.SIGHUP) != signal.SIG_IGN
        numbers = (*STOP_SIGNALS, signal.SIGHUP) if is_hung_up else STOP_SIGNALS
        before = {number: signal.signal(number, self._receive) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                # Ignored by the system, too: Python gives up its own handlers before a process has ended.
                signal.signal(number, signal.SIG_IGN if self.is_requested else handler or signal.SIG_DFL)

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """Let a stop signal wait until what is done here is done, or asks for ``is_requested`` itself.

        Raises:
            KeyboardInterrupt: at the end, if there was one.
        """
        self._is_deferred = True
        try:
            yield
        finally:
            self._is_deferred = False
        self.answer()

    def have_met(self) -> None:
        """Know that all processes of the run are there, and have seen who was asked to stop so far.

        Raises:
            KeyboardInterrupt: if there was a stop signal and no reason to wait is left.
        """
        self._is_awaited = False
        self.answer()

    def answer(self) -> None:
        """Stop if it is time to; code that swallows exceptions may have swallowed the first one.

        Raises:
            KeyboardInterrupt: if there was a stop signal and no reason to wait.
        """
        if self.is_requested and not (self._is_awaited or self._is_deferred):
            raise KeyboardInterrupt

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if not self.is_requested:
            self.is_requested = True
            self.answer()


@contextlib.contextmanager
def blocked() -> Iterator[None]:
    """Let signals wait: processes that are started here begin so, and answer none before they can do it well."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ALL_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def unblocked() -> Iterator[None]:
    """Answer signals that have waited since this process began."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ALL_SIGNALS)
    yield


def _has_company() -> bool:
    """Say whether a launcher has started several processes; one that left before they meet would keep them waiting."""
    by_hand = any(name in os.environ for name in ("RANK", "LOCAL_RANK", "NODE_RANK"))
    return by_hand or os.environ.get("SLURM_STEP_NUM_TASKS", "1") != "1"


stop_requests = StopRequests()  # one, as a process has one set of signal handlers
