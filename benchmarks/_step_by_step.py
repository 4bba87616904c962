"""Training loops that stand still between two steps, and their times in turns.

A machine that others use, too, is fast in one second and slow in the next. Loops that take turns, a few steps of each,
see the same seconds: their ratios hold still where their speeds do not.
"""

import ctypes
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from threading import Semaphore
from typing import Any

import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from torch import Tensor

from iclgd.runtime.recording import wait_for


@dataclass(frozen=True)
class Timing:
    """Seconds of some steps, and of the processor for them: what it does for others is not in those."""

    seconds: float
    processor: float


def share_memory_among_threads() -> None:
    """Tell glibc to give all threads memory from where the first one gets it.

    A training runs on the first thread, and keeps the memory that it has freed; here it runs on another, where glibc
    gives part of it back in every step: by chance, and it costs up to a tenth of the step.
    """
    arena_max = -8  # M_ARENA_MAX of malloc.h
    if (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)) is not None:  # other C libraries have none
        mallopt(arena_max, 1)


class StandStill(Callback):
    """Waits after each step until it is told to go on."""

    def __init__(self) -> None:
        self.go, self.stopped = Semaphore(0), Semaphore(0)
        self.is_over = False
        self.loss: Tensor

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *args: object) -> None:
        """Keep the step's loss and wait."""
        self.loss = outputs["loss"]
        self.stopped.release()
        self.go.acquire()
        trainer.should_stop |= self.is_over


def trainer_steps(
    trainer: Trainer, module: LightningModule, data: LightningDataModule, stand_still: StandStill
) -> Iterator[Tensor]:
    """Train with Lightning's Trainer, on a thread that runs only while a step is asked for; yield the losses.

    Args:
        trainer: knows how many steps; from :func:`iclgd.runtime.trainer.make_trainer`.
        module: what to train.
        data: on what.
        stand_still: among the Trainer's callbacks.
    """

    def train() -> None:
        stand_still.go.acquire()
        try:
            trainer.fit(module, data)
        finally:
            stand_still.is_over = True
            stand_still.stopped.release()

    with ThreadPoolExecutor(1) as pool:
        training = pool.submit(train)
        try:
            while True:
                stand_still.go.release()
                stand_still.stopped.acquire()
                if stand_still.is_over:
                    break
                yield stand_still.loss
        finally:
            stand_still.is_over = True
            stand_still.go.release()
    training.result()


def take_turns(
    loops: dict[str, Iterator[Tensor]], num_steps: int, num_turns: int, num_warm_up: int, device: torch.device
) -> dict[str, list[Timing]]:
    """Time some steps of each loop, one loop after the other, several times over.

    Args:
        loops: iterators that take a training step each time they are asked.
        num_steps: of a turn.
        num_turns: of each loop.
        num_warm_up: first steps, not timed: they fill caches of memory and kernels.
        device: is waited for before a clock is read.

    Returns:
        For each loop the times of its turns; those of the same position belong together.
    """
    timings: dict[str, list[Timing]] = {name: [] for name in loops}
    for loop in loops.values():
        _advance(loop, num_warm_up)
    for _ in range(num_turns):
        for name, loop in loops.items():
            wait_for(device)
            start = time.perf_counter(), time.process_time()
            _advance(loop, num_steps)
            wait_for(device)
            timings[name].append(Timing(time.perf_counter() - start[0], time.process_time() - start[1]))
    return timings


def _advance(loop: Iterator[Tensor], num_steps: int) -> None:
    taken = sum(1 for _ in islice(loop, num_steps))
    if taken < num_steps:
        raise RuntimeError(f"a loop has ended {num_steps - taken} steps too early")
