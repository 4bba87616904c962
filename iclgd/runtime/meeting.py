"""Processes of a run that meet: signals are answered while they wait for each other, and none waits for ever."""

import contextlib
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from typing import Any

from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment

from iclgd.messages import first_line
from iclgd.runtime.ranks import PARENT, LaunchError, is_orphan, number
from iclgd.runtime.signals import blocked, stop_requests
from iclgd.vendors.lightning import OwnDDPStrategy, OwnProcessesStrategy, OwnShardedStrategy, SubprocessLauncher

SECONDS_TO_MEET = 300.0
SECONDS_BETWEEN_LOOKS = 0.1
SECONDS_TO_END = 10.0  # after a stop signal, as the others may just be coming


class LostProcessError(ConnectionError):
    """Another process of the run has ended before its time."""


class Launcher(SubprocessLauncher):
    """Starts the other processes of this node; Lightning's would kill this one, without a word, once one has ended."""

    def launch(self, function: Callable[..., Any], *args: Any, trainer: Any = None, **kwargs: Any) -> Any:
        """Start them the first time, then call a function."""
        self.cluster_environment.validate_settings(num_devices=self.num_processes, num_nodes=self.num_nodes)
        if not self.cluster_environment.creates_processes_externally:
            os.environ[PARENT] = str(os.getpid())
            with blocked():  # signals wait until a process can answer them; before, Python has a trace for each
                self.start_others()
            del os.environ[PARENT]
        return function(*args, **kwargs)

    def kill(self, signum: Any) -> None:
        """Leave them to :func:`iclgd.runtime.stopping.interruptible`: they may be writing."""


class MeetingStrategy(OwnDDPStrategy):
    """Lightning's DDP, but for how the processes start and meet: its own leave signals unanswered meanwhile."""

    launcher_type = Launcher

    def setup_distributed(self) -> None:
        """Connect to the other processes.

        Raises:
            LaunchError: if they cannot meet, or do not within the time that they have.
            KeyboardInterrupt: if this process is asked to stop and still nobody comes.
        """
        _wait(super().setup_distributed, self.children, _address(self))


class ShardedStrategy(OwnShardedStrategy):
    """Lightning's FSDP2, with processes that start and meet as those of :class:`MeetingStrategy`."""

    launcher_type = Launcher

    def setup_distributed(self) -> None:
        """Connect to the other processes; errors as there."""
        _wait(super().setup_distributed, self.children, _address(self))


def _address(strategy: OwnProcessesStrategy) -> str:
    assert strategy.cluster_environment is not None
    return f"{strategy.cluster_environment.main_address}:{strategy.cluster_environment.main_port}"


def _wait(connect: Callable[[], None], children: list[subprocess.Popen[bytes]], address: str) -> None:
    """Connect in another thread, as what waits in C++ answers no signals, and watch what happens meanwhile."""
    errors: list[Exception] = []

    def work() -> None:
        try:
            connect()
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    since, asked_at = time.monotonic(), None
    try:
        while thread.is_alive():
            thread.join(SECONDS_BETWEEN_LOOKS)
            now = time.monotonic()
            if stop_requests.is_requested and asked_at is None:
                asked_at = now
            if is_orphan() or (asked_at is not None and now - asked_at > SECONDS_TO_END):
                raise KeyboardInterrupt
            if ended := [code for child in children if (code := child.poll()) is not None]:
                if 130 in ended:  # Ctrl-C is for all, and comes to this one in a moment
                    raise KeyboardInterrupt
                raise LaunchError(f"another process of this run has ended with exit code {ended[0]} before all had met")
            if now - since > SECONDS_TO_MEET:
                raise LaunchError(
                    f"not all processes of this run have come to {address} within {SECONDS_TO_MEET:.0f} seconds"
                )
    except BaseException:
        # The thread waits on; Python would wait for it, or abort as it comes back.
        stop_requests.must_end_at_once = thread.is_alive()
        raise
    if errors:
        (error,) = errors
        if isinstance(error, RuntimeError | ValueError | OSError):
            raise LaunchError(f"the processes of this run cannot meet at {address}: {first_line(error)}") from None
        raise error


def check_meeting_place(environment: ClusterEnvironment, rank: int) -> None:
    """Refuse an address or a port that is none, before anything is loaded or written.

    Raises:
        LaunchError: if this process could not meet others there.
    """
    if "MASTER_PORT" in os.environ and not 1 <= (port := number("MASTER_PORT", 1)) <= 65535:
        raise LaunchError(f"MASTER_PORT must be a port, 1 to 65535, got {port}")
    port, address = environment.main_port, environment.main_address
    try:
        socket.getaddrinfo(address or "(empty)", port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise LaunchError(f"MASTER_ADDR: no machine {address!r} is known here ({reason})") from None
    if rank == 0 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":  # which has taken it for us
        try:
            _listen(port).close()
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else error
            raise LaunchError(f"MASTER_PORT={port}: cannot be used here ({reason}); choose another one") from None


def _listen(port: int) -> socket.socket:
    if socket.has_dualstack_ipv6():
        with contextlib.suppress(OSError):  # the kernel may have no IPv6 after all
            return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", port))
