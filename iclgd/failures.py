"""What fails once a run's numbers stand: it is named, and costs nothing else."""

import contextlib
import traceback
from collections.abc import Iterator
from pathlib import Path

from iclgd.checks import InputError
from iclgd.memory import advice, is_exhausted
from iclgd.terminal import say


class Failures:
    """Collects what failed of the parts of a run that need nothing of each other.

    Args:
        log: where stack traces go, for whoever wants to mend what failed.
    """

    def __init__(self, log: Path) -> None:
        self.log = log
        self.failed: list[str] = []

    @contextlib.contextmanager
    def of(self, part: str, keys: str = "") -> Iterator[None]:
        """Name a part that fails, and go on behind it.

        Args:
            part: what is done here, such as ``"analysis iterated"``.
            keys: of the config, which to reduce if it is memory that is not enough.
        """
        try:
            yield
        except Exception as error:
            self.failed.append(part)
            with contextlib.suppress(OSError), self.log.open("a", encoding="utf-8") as file:
                file.write(f"{part}\n{traceback.format_exc()}\n")
            say(f"{part} failed: {advice(keys) if keys and is_exhausted(error) else _in_one_line(error)}")


def _in_one_line(error: Exception) -> str:
    """Return what an error says first, and which it is where that says little."""
    if isinstance(error, InputError):
        return str(error)
    text = next((line for line in str(error).splitlines() if line.strip()), "")
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
