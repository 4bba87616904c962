"""Commands in processes of their own without seconds of imports: forks of this one, which has imported everything.

Where the start of Python itself is what is tested, a test starts ``tests.processes.ICLGD``.
"""

import multiprocessing
import os
import signal
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from typing import IO

from iclgd import cli
from iclgd.runtime.signals import ALL_SIGNALS


class Forked:
    """``iclgd`` in a fork of this process, with which it ends at the latest.

    Args:
        arguments: of the command.
        environment: variables beside those of this process, for the command and what it starts.
        main: what takes the arguments.
    """

    def __init__(self, *arguments: object, main: Callable[[list[str]], int] = cli.main, **environment: str) -> None:
        self._streams = [tempfile.TemporaryFile("w+") for _ in range(2)]  # noqa: SIM115
        self.process = multiprocessing.get_context("fork").Process(
            target=_run, args=(main, list(map(str, arguments)), environment, self._streams), daemon=True
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads: those of libraries that idle
            self.process.start()

    def result(self, seconds: float = 150.0) -> tuple[int, str, str]:
        """Wait for its end; return the exit code, standard output and standard error."""
        self.process.join(seconds)
        code = self.process.exitcode
        self.process.kill()
        self.process.join()
        texts = []
        for stream in self._streams:
            with stream:
                stream.seek(0)
                texts.append(stream.read())
        out, err = texts
        assert code is not None, f"not done after {seconds} s: {out}{err}"
        return code, out, err


def _run(
    main: Callable[[list[str]], int], arguments: list[str], environment: dict[str, str], streams: Sequence[IO[str]]
) -> None:
    for number in ALL_SIGNALS:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    for descriptor, stream in enumerate(streams, start=1):
        os.dup2(stream.fileno(), descriptor)
    sys.stdout, sys.stderr = (open(descriptor, "w", closefd=False) for descriptor in (1, 2))  # noqa: SIM115
    os.environ.update(environment)
    sys.argv, sys.modules["__main__"] = ["iclgd", *arguments], cli  # what Lightning starts for the other ranks
    sys.exit(main(arguments))
