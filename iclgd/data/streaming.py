"""What data modules share whose training batches are drawn without end, where they are used."""

from abc import ABC, abstractmethod
from collections.abc import Generator
from typing import Any, Generic, NamedTuple, TypeVar

import torch
from lightning.pytorch import LightningDataModule

T = TypeVar("T")


class Placement(NamedTuple):
    """Where one process draws, and what of it is its own."""

    shard: tuple[int, int]  # its rank and the number of processes
    device: torch.device
    dtype: torch.dtype


class StreamingDataModule(LightningDataModule, ABC, Generic[T]):
    """Endless training batches, and evaluation batches that are the same each time.

    An epoch is the stretch between two evaluations.

    Args:
        steps_per_epoch: training steps between two evaluations.
    """

    def __init__(self, steps_per_epoch: int) -> None:
        super().__init__()
        self.steps_per_epoch = steps_per_epoch
        self._stream: Generator[T] | None = None

    @abstractmethod
    def _begin(self, first_step: int, placement: Placement) -> Generator[T]:
        """Return the batches from a step on."""

    def _next_epoch(self) -> tuple[Generator[T], int]:
        """Return the stream, and how many steps of it are the next epoch."""
        trainer = self.trainer
        assert trainer is not None
        step = trainer.global_step
        if self._stream is None:
            self._stream = self._begin(step, self._placement())
        return self._stream, min(self.steps_per_epoch, trainer.max_steps - step)

    def teardown(self, stage: str) -> None:
        """Stop drawing."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def test_dataloader(self) -> Any:
        """Return the same as ``val_dataloader``."""
        return self.val_dataloader()

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Leave the batch where it was drawn: on the device."""
        return batch

    def _placement(self) -> Placement:
        trainer = self.trainer
        assert trainer is not None
        dtype = torch.float64 if trainer.precision == "64-true" else torch.float32
        return Placement((trainer.global_rank, trainer.world_size), trainer.strategy.root_device, dtype)
