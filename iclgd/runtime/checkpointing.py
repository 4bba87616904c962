"""When checkpoints are written, and how many are kept; and the weights at the end."""

from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch import Tensor

from iclgd.tracking.checkpoints import write_sealed
from iclgd.tracking.run_directory import RunDirectory

NUM_KEPT = 2  # should the last one be damaged, the one before it is there


class SealedCheckpointIO(TorchCheckpointIO):
    """Checkpoints that are on the disk whole or not at all, with a checksum."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write, flush to the disk, then rename."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        write_sealed(checkpoint, Path(path))


class KeepCheckpoints(Checkpoint):
    """Writes a checkpoint after every epoch, and keeps the last ones.

    Args:
        directory: the run's; ``None`` on all processes but the first, which alone writes.
    """

    def __init__(self, directory: RunDirectory | None) -> None:
        super().__init__()
        self.directory = directory
        self._last_step = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Notice from where the training goes on: that checkpoint is there."""
        self._last_step = trainer.global_step

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write one; all processes take part."""
        if trainer.global_step == self._last_step:  # a resumed run closes the epoch of its checkpoint
            return
        self._last_step = trainer.global_step
        folder = self.directory.checkpoints if self.directory is not None else Path()
        trainer.save_checkpoint(folder / f"step={trainer.global_step}.ckpt")
        if self.directory is not None:
            self.directory.keep_checkpoints(NUM_KEPT)


class WholeWeights(Callback):
    """Keeps the weights at the end of a run, on the first process: others may have had parts of them."""

    def __init__(self) -> None:
        self.weights: dict[str, Tensor] = {}  # of the LightningModule

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Gather them; all processes take part, as long as they are connected."""
        self.weights = trainer.strategy.lightning_module_state_dict()
