"""What happens to the numbers of a training: every logger gets them, with the optimiser step as their axis."""

import time
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from iclgd.tracking.checkpoints import METRICS, Table


class MetricsRecorder(Callback):
    """Hands each evaluation's metrics, and the training loss, to the loggers.

    Lightning's own automatic logging counts batches, and a toy's batch is a stretch of many steps: log with
    ``logger=False`` and let this do it. Checkpoints have all of them, should ``metrics.jsonl`` be damaged.
    """

    def __init__(self) -> None:
        self.table = Table()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log after the metrics have been computed over all processes."""
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        self.table.append({"step": trainer.global_step, **metrics})
        for logger in trainer.loggers:
            logger.log_metrics(metrics, step=trainer.global_step)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Give the checkpoint all lines so far."""
        checkpoint[METRICS] = self.table.state()

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Take them back."""
        self.table = Table(checkpoint[METRICS])


def wait_for(device: torch.device) -> None:
    """Let a GPU finish, before a clock is read: Python is ahead of it, by up to a thousand operations."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class Stopwatch(Callback):
    """Measures optimiser steps per second of training alone, without evaluations and checkpoints.

    A few percent flattering, as the next tasks are drawn during those too; ``iclgd bench`` measures without a pause.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self.steps = 0
        self._since = (0.0, 0)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        wait_for(trainer.strategy.root_device)
        self._since = (time.perf_counter(), trainer.global_step)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: object) -> None:
        """Stop the clock after the last batch: evaluation comes next."""
        if trainer.is_last_batch:
            wait_for(trainer.strategy.root_device)
            self.seconds += time.perf_counter() - self._since[0]
            self.steps += trainer.global_step - self._since[1]

    @property
    def steps_per_second(self) -> float:
        """Return the mean rate, NaN before the first step."""
        return self.steps / self.seconds if self.seconds else float("nan")
