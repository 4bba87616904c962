"""Fresh sequences for each training step, and a fixed set to evaluate on."""

import contextlib
import itertools
from collections.abc import Generator, Iterator

import torch

from iclgd.data.datamodules import Batches
from iclgd.data.prefetch import in_background
from iclgd.data.seeding import named_generator
from iclgd.data.sequences.batch import SequenceBatch
from iclgd.data.sequences.task import SequenceTask
from iclgd.data.streaming import Placement, StreamingDataModule

NUM_DRAWN_TOGETHER = 5
NUM_BLOCKS_AHEAD = 2
NUM_EVALUATED_AT_ONCE = 256


class SequenceStream:
    """Fresh training batches without end, which depend on seed and step alone.

    On the CPU a second thread draws them, for several steps at once: a state moves on by many small calls.

    Args:
        task: what to draw.
        seed: of the run.
        batch_size: sequences of a batch, over all processes together.
        first_step: the step of the first batch.
        device: where to draw.
        dtype: of all tensors; the sequences are the same in each.
        shard: this process's rank and the number of processes.
    """

    def __init__(
        self,
        task: SequenceTask,
        seed: int,
        batch_size: int,
        first_step: int = 0,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        shard: tuple[int, int] = (0, 1),
    ) -> None:
        self.task = task
        self.seed = seed
        self.batch_size = batch_size
        self.first_step = first_step
        self.device = torch.device(device)
        self.dtype = dtype
        self.shard = shard

    def __iter__(self) -> Generator[SequenceBatch]:
        blocks = self._blocks()
        if self.device.type == "cpu":
            blocks = in_background(blocks, NUM_BLOCKS_AHEAD)
        with contextlib.closing(blocks):
            for block in blocks:
                yield from block

    def _blocks(self) -> Generator[list[SequenceBatch]]:
        first, skipped = divmod(self.first_step, NUM_DRAWN_TOGETHER)
        rank, num_ranks = self.shard
        start, end = (self.batch_size * index // num_ranks for index in (rank, rank + 1))
        for index in itertools.count(first):
            # Every rank draws the whole batch and keeps its part: the result does not depend on their number.
            steps = [batch.part(slice(start, end)) for batch in self._draw(index).split(self.batch_size)]
            yield steps[skipped:] if index == first else steps

    def _draw(self, block: int) -> SequenceBatch:
        """Draw the batches of a block of steps."""
        generator = named_generator(self.seed, f"training/{block}", self.device)
        return self.task.sample(NUM_DRAWN_TOGETHER * self.batch_size, generator, self.dtype)


class StreamedSteps:
    """A dataloader over the next steps of a stream."""

    def __init__(self, stream: Iterator[SequenceBatch], num_steps: int) -> None:
        self.stream = stream
        self.num_steps = num_steps

    def __len__(self) -> int:
        return self.num_steps

    def __iter__(self) -> Iterator[SequenceBatch]:
        return itertools.islice(self.stream, self.num_steps)


class SequenceDataModule(StreamingDataModule[SequenceBatch]):
    """Endless training sequences, drawn where they are used, and one fixed set of evaluation sequences.

    Args:
        task: what to draw.
        seed: of the run.
        batch_size: training sequences per step, over all devices together; a multiple of their number.
        steps_per_epoch: training steps between two evaluations.
        num_evaluation_sequences: size of the evaluation set.
    """

    def __init__(
        self, task: SequenceTask, seed: int, batch_size: int, steps_per_epoch: int, num_evaluation_sequences: int
    ) -> None:
        super().__init__(steps_per_epoch)
        self.task = task
        self.seed = seed
        self.batch_size = batch_size
        self.num_evaluation_sequences = num_evaluation_sequences
        self._evaluation: Batches[SequenceBatch] | None = None

    def fixed_batch(self, purpose: str, num_sequences: int, dtype: torch.dtype = torch.float32) -> SequenceBatch:
        """Draw sequences that are the same each time, on the CPU.

        Args:
            purpose: such as ``"evaluation"``; those of another purpose are others.
            num_sequences: how many.
            dtype: of the result.
        """
        return self.task.sample(num_sequences, named_generator(self.seed, purpose), dtype)

    def _begin(self, first_step: int, placement: Placement) -> Generator[SequenceBatch]:
        shard, device, dtype = placement
        return iter(SequenceStream(self.task, self.seed, self.batch_size, first_step, device, dtype, shard))

    def train_dataloader(self) -> StreamedSteps:
        """Return the next epoch."""
        return StreamedSteps(*self._next_epoch())

    def val_dataloader(self) -> Batches[SequenceBatch]:
        """Return this rank's part of the evaluation sequences."""
        if self._evaluation is None:
            (rank, num_ranks), device, dtype = self._placement()
            start, end = (self.num_evaluation_sequences * index // num_ranks for index in (rank, rank + 1))
            batch = self.fixed_batch("evaluation", self.num_evaluation_sequences, dtype).part(slice(start, end))
            self._evaluation = Batches(batch.to(device).split(NUM_EVALUATED_AT_ONCE))
        return self._evaluation
