"""How far the training is: a bar on a terminal, a plain line now and then elsewhere."""

import sys

from lightning.pytorch import Callback, LightningModule, Trainer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from iclgd.streams import dropping
from iclgd.terminal import say

NUM_PLAIN_LINES = 10


class TrainingProgress(Callback):
    """Reports on standard error after every epoch.

    Args:
        quantities: column titles and the names of the metrics to show.
    """

    def __init__(self, quantities: dict[str, str]) -> None:
        self.quantities = quantities
        self.bar: Progress | None = None
        self.task = TaskID(0)
        self.last_line = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the bar."""
        if trainer.is_global_zero and sys.stderr.isatty():
            self.bar = Progress(
                TextColumn("training"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[shown]}"),
                console=Console(file=dropping(sys.stderr)),
            )
            self.task = self.bar.add_task("training", total=trainer.max_steps, completed=trainer.global_step, shown="")
            self.bar.start()
        self.last_line = trainer.global_step

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the last evaluation."""
        metrics = trainer.callback_metrics
        if not trainer.is_global_zero or not metrics:  # none when a resumed run closes the epoch of its checkpoint
            return
        shown = "  ".join(f"{title} {metrics[name]:.4f}" for title, name in self.quantities.items())
        step = trainer.global_step
        if self.bar is not None:
            self.bar.update(self.task, completed=step, shown=shown)
        elif step - self.last_line >= trainer.max_steps / NUM_PLAIN_LINES or step == trainer.max_steps:
            say(f"step {step}/{trainer.max_steps}  {shown}")
            self.last_line = step

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Close the bar."""
        self._close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Leave the terminal as it was."""
        self._close()

    def _close(self) -> None:
        if self.bar is not None:
            self.bar.stop()
            self.bar = None
