"""How far a comparison is: a bar on a terminal; elsewhere, if it takes long, a plain line now and then."""

import sys
import time
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from iclgd.streams import dropping
from iclgd.terminal import say

SECONDS_BETWEEN_LINES = 30.0


class TextProgress(Callback):
    """Counts finetunings tried, finetuning steps, and batches of queries on standard error; the first process its own.

    Args:
        seconds_between_lines: without a terminal.
    """

    def __init__(self, seconds_between_lines: float = SECONDS_BETWEEN_LINES) -> None:
        self.seconds_between_lines = seconds_between_lines
        self.bar: Progress | None = None
        self.task = TaskID(0)
        self.last_line = 0.0

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start counting finetunings of the search for a learning rate."""
        self._start(trainer, "finetunings tried", trainer.num_val_batches[0])

    def on_validation_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any, **kwargs: Any) -> None:
        """Count one."""
        self._count(trainer, "finetuning tried", args[2] + 1, trainer.num_val_batches[0])

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Close the bar."""
        self._close()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start counting steps."""
        self._start(trainer, "finetuning steps", trainer.num_training_batches)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        """Count a step."""
        self._count(trainer, "finetuning step", args[-1] + 1, trainer.num_training_batches)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start counting batches."""
        self._start(trainer, "batches of queries", trainer.num_test_batches[0])

    def on_test_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any, **kwargs: Any) -> None:
        """Count a batch."""
        self._count(trainer, "batch of queries", args[2] + 1, trainer.num_test_batches[0])

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Close the bar."""
        self._close()

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Close the bar."""
        self._close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Leave the terminal as it was."""
        self._close()

    def _start(self, trainer: Trainer, title: str, total: float) -> None:
        self.last_line = time.monotonic()
        if trainer.is_global_zero and sys.stderr.isatty():
            columns = TextColumn(title), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
            self.bar = Progress(*columns, console=Console(file=dropping(sys.stderr)))
            self.task = self.bar.add_task(title, total=total)
            self.bar.start()

    def _count(self, trainer: Trainer, title: str, completed: int, total: float) -> None:
        if self.bar is not None:
            self.bar.update(self.task, completed=completed)
        elif trainer.is_global_zero and time.monotonic() - self.last_line >= self.seconds_between_lines:
            say(f"{title} {completed}/{total:.0f}")
            self.last_line = time.monotonic()

    def _close(self) -> None:
        if self.bar is not None:
            self.bar.stop()
            self.bar = None
