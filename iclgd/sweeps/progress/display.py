"""Show a sweep while it goes on: a live table on a terminal, a line whenever something has changed elsewhere."""

from types import TracebackType
from typing import Self

from rich.live import Live

from iclgd.sweeps.progress.status import Progress
from iclgd.sweeps.progress.tables import table
from iclgd.sweeps.trials.folder import SweepFolder
from iclgd.terminal import console


class Display:
    """Shows the progress of a sweep on standard error.

    Args:
        folder: of the sweep.
    """

    def __init__(self, folder: SweepFolder) -> None:
        self.folder = folder
        self._console = console(stderr=True)
        self._live = Live(console=self._console, refresh_per_second=2) if self._console.is_terminal else None
        self._counts: tuple[int, int, int] | None = None

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def show(self, progress: Progress) -> None:
        """Show how far the sweep is."""
        if self._live:
            self._live.update(table(self.folder, progress))
            return
        counts = (progress.done, progress.pruned, progress.failed)
        if counts != self._counts:
            self._counts = counts
            self._console.print(progress.line(), highlight=False, soft_wrap=True)
