"""Lightning data modules: batching, splits and seeds, nothing else."""

from collections.abc import Iterator
from typing import Any, Generic, TypeVar

import torch
from lightning.pytorch import LightningDataModule

from iclgd.data.background import in_background
from iclgd.data.regression import LinearRegressionTask, RegressionBatch
from iclgd.data.seeding import named_generator

NUM_DRAWN_TOGETHER = 5
NUM_BLOCKS_AHEAD = 2
NUM_EVALUATED_AT_ONCE = 16_384

T = TypeVar("T")


class TaskStream:
    """Freshly drawn batches from a generator that goes on from one stream to the next.

    Tasks are drawn for several batches at once, and on the CPU by a second thread while the model trains on earlier
    ones: drawing costs about as much as training, and the fewer calls, the less the two threads hinder each other.
    """

    def __init__(
        self,
        task: LinearRegressionTask,
        generator: torch.Generator,
        batch_size: int,
        num_batches: int,
        dtype: torch.dtype = torch.float32,
        shard: tuple[int, int] = (0, 1),
    ) -> None:
        self.task = task
        self.generator = generator
        self.batch_size = batch_size
        self.num_batches = num_batches
        self.dtype = dtype
        self.shard = shard

    def __iter__(self) -> Iterator[RegressionBatch]:
        blocks = self._blocks()
        if self.generator.device.type == "cpu":
            blocks = in_background(blocks, NUM_BLOCKS_AHEAD)
        for block in blocks:
            yield from block

    def _blocks(self) -> Iterator[list[RegressionBatch]]:
        start = 0
        while start < self.num_batches:
            # The first block is a single batch, for which training waits; then they grow.
            size = min(start + 1, NUM_DRAWN_TOGETHER, self.num_batches - start)
            start += size
            tasks = self.task.sample(size * self.batch_size, self.generator, self.dtype)
            # Every rank draws the whole batch and keeps its part: the result does not depend on their number.
            yield [tasks.shard(index, size).shard(*self.shard) for index in range(size)]


class Batches(Generic[T]):
    """A dataloader over ready batches: Lightning takes a bare list for several dataloaders."""

    def __init__(self, batches: list[T]) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[T]:
        return iter(self.batches)


class RegressionDataModule(LightningDataModule):
    """Endless training tasks and one fixed set of evaluation tasks.

    An epoch is the stretch between two evaluations. The training generator's state is part of the checkpoint.

    Args:
        task: what to draw.
        seed: the run's seed.
        batch_size: training tasks per step, over all devices together; a multiple of their number.
        steps_per_epoch: training steps between two evaluations.
        num_evaluation_tasks: size of the evaluation set.
    """

    def __init__(
        self,
        task: LinearRegressionTask,
        seed: int,
        batch_size: int,
        steps_per_epoch: int,
        num_evaluation_tasks: int,
    ) -> None:
        super().__init__()
        self.task = task
        self.seed = seed
        self.batch_size = batch_size
        self.steps_per_epoch = steps_per_epoch
        self.num_evaluation_tasks = num_evaluation_tasks
        self._generator_state: torch.Tensor | None = None
        self._training_generator: torch.Generator | None = None
        self._evaluation: Batches[RegressionBatch] | None = None

    def evaluation_batch(self, dtype: torch.dtype = torch.float32) -> RegressionBatch:
        """Draw the evaluation set (the same one each time), on the CPU."""
        return self.task.sample(self.num_evaluation_tasks, named_generator(self.seed, "evaluation"), dtype)

    def train_dataloader(self) -> Batches[TaskStream]:
        """Return the next epoch: a single "batch", the stream of all its steps."""
        trainer, (shard, device, dtype) = self.trainer, self._placement()
        assert trainer is not None
        if self._training_generator is None:
            self._training_generator = named_generator(self.seed, "training", device)
            if self._generator_state is not None:
                self._training_generator.set_state(self._generator_state)
        num_steps = min(self.steps_per_epoch, trainer.max_steps - trainer.global_step)
        stream = TaskStream(self.task, self._training_generator, self.batch_size, num_steps, dtype, shard)
        return Batches([stream])

    def val_dataloader(self) -> Batches[RegressionBatch]:
        """Return this rank's part of the evaluation tasks."""
        if self._evaluation is not None:
            return self._evaluation
        (rank, num_ranks), device, dtype = self._placement()
        start, end = (self.num_evaluation_tasks * index // num_ranks for index in (rank, rank + 1))
        tasks = [tensor[start:end].to(device) for tensor in self.evaluation_batch(dtype)]
        chunks = zip(*(torch.split(tensor, NUM_EVALUATED_AT_ONCE) for tensor in tasks), strict=True)
        self._evaluation = Batches([RegressionBatch(*chunk) for chunk in chunks])
        return self._evaluation

    def test_dataloader(self) -> Batches[RegressionBatch]:
        """Return the same tasks as :meth:`val_dataloader`."""
        return self.val_dataloader()

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Leave the batch where it was drawn: on the device."""
        return batch

    def state_dict(self) -> dict[str, Any]:
        """Return the training generator's state."""
        assert self._training_generator is not None
        return {"training_generator": self._training_generator.get_state()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue the training data where the checkpoint left them."""
        self._generator_state = state_dict["training_generator"].cpu()

    def _placement(self) -> tuple[tuple[int, int], torch.device, torch.dtype]:
        trainer = self.trainer
        assert trainer is not None
        dtype = torch.float64 if trainer.precision == "64-true" else torch.float32
        return (trainer.global_rank, trainer.world_size), trainer.strategy.root_device, dtype
