"""Batches of tokens for training steps, each of which depends on the seed and the step alone."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any

import torch
from lightning.pytorch import LightningDataModule

from iclgd.data.few_shot_language import TokenBatch


class TrainingBatches:
    """A dataloader over the training steps between two evaluations; a batch is drawn when it is asked for.

    Args:
        draw: returns the batch of a step.
        steps: which steps.
        accumulation: equal parts of a step's batch, one after the other.
    """

    def __init__(self, draw: Callable[[int], TokenBatch], steps: range, accumulation: int = 1) -> None:
        self.draw = draw
        self.steps = steps
        self.accumulation = accumulation

    def __len__(self) -> int:
        return len(self.steps) * self.accumulation

    def __iter__(self) -> Iterator[TokenBatch]:
        for batch in map(self.draw, self.steps):
            yield from batch.split(len(batch.tokens) // self.accumulation)


class TrainingSteps(LightningDataModule, ABC):
    """Training data whose epochs are the steps between two evaluations.

    Args:
        batch_size: training sequences per step, over all devices together; a multiple of their number.
        steps_per_epoch: training steps between two evaluations.
        accumulation: parts of a device's sequences of a step, which are trained on one after the other.

    Attributes:
        lengths: of the sequences that each evaluation dataloader has, in tokens to predict, where they are several.
    """

    lengths: tuple[int, ...] = ()

    def __init__(self, batch_size: int, steps_per_epoch: int, accumulation: int = 1) -> None:
        super().__init__()
        self.batch_size = batch_size
        self.steps_per_epoch = steps_per_epoch
        self.accumulation = accumulation

    @abstractmethod
    def training_batch(self, step: int) -> TokenBatch:
        """Return this rank's sequences of a step."""

    def train_dataloader(self) -> TrainingBatches:
        """Return the next epoch."""
        trainer = self.trainer
        assert trainer is not None
        first = trainer.global_step
        steps = range(first, min(first + self.steps_per_epoch, trainer.max_steps))
        return TrainingBatches(self.training_batch, steps, self.accumulation)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Leave the batch where it was made: on the device."""
        return batch

    def _placement(self) -> tuple[tuple[int, int], torch.device]:
        trainer = self.trainer
        assert trainer is not None
        return (trainer.global_rank, trainer.world_size), trainer.strategy.root_device
