"""Lightning data modules: batching, splits and seeds, nothing else."""

import contextlib
import itertools
from collections.abc import Generator, Iterator, Sequence
from typing import Generic, NamedTuple, TypeVar

import torch

from iclgd.data.prefetch import in_background
from iclgd.data.regression import RegressionBatch, RegressionTask
from iclgd.data.seeding import named_generator
from iclgd.data.streaming import Placement, StreamingDataModule

NUM_DRAWN_TOGETHER = 5
NUM_BLOCKS_AHEAD = 2
NUM_EVALUATED_AT_ONCE = 16_384

T = TypeVar("T")


class TaskStream:
    """Fresh training batches without end, one for each seed at a time; they depend on seed and step alone.

    Whoever continues at a step, whatever was evaluated in between, trains on the same tasks. They are drawn for several
    batches at once, and on the CPU by a second thread while the model trains on earlier ones: drawing costs about as
    much as training, and the fewer calls, the less the two threads hinder each other.

    Args:
        task: what to draw.
        seeds: one for each model that is trained.
        batch_size: tasks of a batch, over all processes together.
        first_step: the step of the first batch.
        device: where to draw.
        dtype: of all tensors; the tasks are the same in each.
        shard: this process's rank and the number of processes.
    """

    def __init__(
        self,
        task: RegressionTask,
        seeds: Sequence[int],
        batch_size: int,
        first_step: int = 0,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        shard: tuple[int, int] = (0, 1),
    ) -> None:
        self.task = task
        self.seeds = seeds
        self.batch_size = batch_size
        self.first_step = first_step
        self.device = torch.device(device)
        self.dtype = dtype
        self.shard = shard

    def __iter__(self) -> Generator[tuple[RegressionBatch, ...]]:
        blocks = self._blocks()
        if self.device.type == "cpu":
            blocks = in_background(blocks, NUM_BLOCKS_AHEAD)
        with contextlib.closing(blocks):
            for block in blocks:
                yield from block

    def _blocks(self) -> Generator[list[tuple[RegressionBatch, ...]]]:
        first, skipped = divmod(self.first_step, NUM_DRAWN_TOGETHER)
        for index in itertools.count(first):
            steps = list(zip(*(self._draw(seed, index) for seed in self.seeds), strict=True))
            yield steps[skipped:] if index == first else steps

    def _draw(self, seed: int, block: int) -> list[RegressionBatch]:
        """Draw one seed's batches of a block."""
        generator = named_generator(seed, f"training/{block}", self.device)
        tasks = self.task.sample(NUM_DRAWN_TOGETHER * self.batch_size, generator, self.dtype)
        # Every rank draws the whole batch and keeps its part: the result does not depend on their number.
        return [tasks.shard(part, NUM_DRAWN_TOGETHER).shard(*self.shard) for part in range(NUM_DRAWN_TOGETHER)]


class Batches(Generic[T]):
    """A dataloader over ready batches: Lightning takes a bare list for several dataloaders."""

    def __init__(self, batches: list[T]) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[T]:
        return iter(self.batches)


class SeedBatch(NamedTuple):
    """Evaluation tasks of one seed."""

    model: int  # which of the seeds
    part: int  # which part of its evaluation tasks
    tasks: RegressionBatch


class RegressionDataModule(StreamingDataModule[tuple[RegressionBatch, ...]]):
    """Endless training tasks, drawn where they are used, and one fixed set of evaluation tasks for each seed.

    An epoch is the stretch between two evaluations; what Lightning calls a batch is all of it.

    Args:
        task: what to draw.
        seeds: one for each model that is trained.
        batch_size: training tasks per step, over all devices together; a multiple of their number.
        steps_per_epoch: training steps between two evaluations.
        num_evaluation_tasks: size of the evaluation set.
    """

    def __init__(
        self,
        task: RegressionTask,
        seeds: Sequence[int],
        batch_size: int,
        steps_per_epoch: int,
        num_evaluation_tasks: int,
    ) -> None:
        super().__init__(steps_per_epoch)
        self.task = task
        self.seeds = seeds
        self.batch_size = batch_size
        self.num_evaluation_tasks = num_evaluation_tasks
        self._evaluation: Batches[SeedBatch] | None = None

    def evaluation_batch(self, seed: int, dtype: torch.dtype = torch.float32) -> RegressionBatch:
        """Draw a seed's evaluation set (the same one each time), on the CPU."""
        return self.task.sample(self.num_evaluation_tasks, named_generator(seed, "evaluation"), dtype)

    def _begin(self, first_step: int, placement: Placement) -> Generator[tuple[RegressionBatch, ...]]:
        shard, device, dtype = placement
        return iter(TaskStream(self.task, self.seeds, self.batch_size, first_step, device, dtype, shard))

    def train_dataloader(self) -> Batches[Iterator[tuple[RegressionBatch, ...]]]:
        """Return the next epoch: a single "batch", which yields those of all its steps."""
        return Batches([itertools.islice(*self._next_epoch())])

    def val_dataloader(self) -> Batches[SeedBatch]:
        """Return this rank's part of the evaluation tasks."""
        if self._evaluation is None:
            parts = [SeedBatch(model, *part) for model, seed in enumerate(self.seeds) for part in self._parts(seed)]
            self._evaluation = Batches(parts)
        return self._evaluation

    def _parts(self, seed: int) -> Iterator[tuple[int, RegressionBatch]]:
        (rank, num_ranks), device, dtype = self._placement()
        start, end = (self.num_evaluation_tasks * index // num_ranks for index in (rank, rank + 1))
        tasks = [tensor[start:end].to(device) for tensor in self.evaluation_batch(seed, dtype)]
        chunks = zip(*(torch.split(tensor, NUM_EVALUATED_AT_ONCE) for tensor in tasks), strict=True)
        return enumerate(RegressionBatch(*chunk) for chunk in chunks)
