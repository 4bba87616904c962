"""Prompts of functions: endless ones to train on, drawn by a second thread, and fixed ones to evaluate on."""

import contextlib
import itertools
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace

import torch

from iclgd.data.datamodules import Batches
from iclgd.data.functions import Curriculum, FunctionBatch, FunctionTask
from iclgd.data.prefetch import in_background
from iclgd.data.seeding import named_generator
from iclgd.data.streaming import Placement, StreamingDataModule

CPU = torch.device("cpu")
NUM_BATCHES_AHEAD = 8
NUM_EVALUATED_AT_ONCE = 128
NEW_FUNCTIONS = "new_functions/"  # begins the names of what is measured on functions that are not of the pool


@dataclass(frozen=True)
class FunctionStream:
    """Fresh training prompts without end, which depend on the seed and the step alone.

    Args:
        task: what to draw.
        curriculum: sizes of the prompts of each step.
        seed: of the run.
        batch_size: prompts of a step, over all processes together.
        first_step: the step of the first batch.
        device: where to draw; on the CPU a second thread draws while the model trains on earlier prompts.
        dtype: of all tensors; the prompts are the same in each, up to its rounding.
        shard: this process's rank and the number of processes.
    """

    task: FunctionTask
    curriculum: Curriculum
    seed: int
    batch_size: int
    first_step: int = 0
    device: torch.device = CPU
    dtype: torch.dtype = torch.float32
    shard: tuple[int, int] = (0, 1)

    def __iter__(self) -> Generator[FunctionBatch]:
        batches: Generator[FunctionBatch] = (self.batch(step) for step in itertools.count(self.first_step))
        if self.device.type == "cpu":
            batches = in_background(batches, NUM_BATCHES_AHEAD)
        with contextlib.closing(batches):
            yield from batches

    def batch(self, step: int) -> FunctionBatch:
        """Draw this process's prompts of a step."""
        size = self.curriculum.at(step, self.task)
        generator = named_generator(self.seed, f"training/{step}", self.device)
        prompts = self.task.sample(self.batch_size, generator, self.dtype, size.num_points, size.num_dims)
        # Every rank draws the whole batch and keeps its part: the result does not depend on their number.
        rank, num_ranks = self.shard
        if num_ranks == 1:
            return prompts
        return prompts.part(slice(self.batch_size * rank // num_ranks, self.batch_size * (rank + 1) // num_ranks))


class EvaluationPrompts:
    """Prompts to evaluate on: no tuple and no dataclass, into which Lightning would look.

    Args:
        prefix: of the names of what is measured on them.
        prompts: some of an evaluation set.
    """

    def __init__(self, prefix: str, prompts: FunctionBatch) -> None:
        self.prefix = prefix
        self.prompts = prompts


class FunctionDataModule(StreamingDataModule[FunctionBatch]):
    """Endless training prompts and fixed evaluation prompts, of a task with a pool also such of new functions.

    An epoch is the stretch between two evaluations; what Lightning calls a batch is all of it.

    Args:
        task: what to draw.
        curriculum: sizes of the prompts of each step.
        seed: of the run.
        batch_size: training prompts per step, over all devices together; a multiple of their number.
        steps_per_epoch: training steps between two evaluations.
        num_evaluation_prompts: size of each evaluation set, likewise a multiple.
    """

    def __init__(
        self,
        task: FunctionTask,
        curriculum: Curriculum,
        seed: int,
        batch_size: int,
        steps_per_epoch: int,
        num_evaluation_prompts: int,
    ) -> None:
        super().__init__(steps_per_epoch)
        self.task = task
        self.curriculum = curriculum
        self.seed = seed
        self.batch_size = batch_size
        self.num_evaluation_prompts = num_evaluation_prompts
        self._evaluation: Batches[EvaluationPrompts] | None = None

    def evaluation_tasks(self) -> dict[str, FunctionTask]:
        """Return what is evaluated on, by the beginnings of names: the task, and with a pool new functions."""
        if not self.task.num_tasks:
            return {"": self.task}
        # A small pool has no so many functions without repetition.
        return {"": replace(self.task, replacement=True), NEW_FUNCTIONS: replace(self.task, num_tasks=0)}

    def evaluation_batch(self, prefix: str = "", dtype: torch.dtype = torch.float32) -> FunctionBatch:
        """Draw an evaluation set (the same one each time), on the CPU."""
        generator = named_generator(self.seed, f"{prefix}evaluation")
        return self.evaluation_tasks()[prefix].sample(self.num_evaluation_prompts, generator, dtype)

    def _begin(self, first_step: int, placement: Placement) -> Generator[FunctionBatch]:
        shard, device, dtype = placement
        return iter(
            FunctionStream(self.task, self.curriculum, self.seed, self.batch_size, first_step, device, dtype, shard)
        )

    def train_dataloader(self) -> Batches[Iterator[FunctionBatch]]:
        """Return the next epoch: a single "batch", which yields those of all its steps."""
        return Batches([itertools.islice(*self._next_epoch())])

    def val_dataloader(self) -> Batches[EvaluationPrompts]:
        """Return this rank's part of the evaluation prompts."""
        if self._evaluation is None:
            (rank, num_ranks), device, dtype = self._placement()
            start, end = (self.num_evaluation_prompts * index // num_ranks for index in (rank, rank + 1))
            self._evaluation = Batches(
                [
                    EvaluationPrompts(prefix, prompts.part(slice(first, first + NUM_EVALUATED_AT_ONCE)))
                    for prefix in self.evaluation_tasks()
                    for prompts in [self.evaluation_batch(prefix, dtype).part(slice(start, end)).to(device)]
                    for first in range(0, end - start, NUM_EVALUATED_AT_ONCE)
                ]
            )
        return self._evaluation
