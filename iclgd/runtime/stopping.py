"""A training that is asked to stop: all processes end at the same place, after a checkpoint."""

import contextlib
import signal
import subprocess
import time
from collections.abc import Iterator

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import Logger

from iclgd.runtime.meeting import LostProcessError
from iclgd.runtime.signals import stop_requests
from iclgd.tracking.logger import RunDirectoryLogger
from iclgd.vendors.lightning import children_of
from iclgd.vendors.torch import is_lost

EXIT_INTERRUPTED = 130  # as shells have it for Ctrl-C
SECONDS_BY_THEMSELVES = 2.0  # for the processes that this one has started: Ctrl-C is for all of them
SECONDS_TO_END = 10.0  # once they are told


class StopTogether(Callback):
    """Ends the run on all processes at the same place if one of them was asked to stop.

    Such places: before training, after each epoch, all of whose steps are in its checkpoint then, and before testing.
    """

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Decide as Lightning begins something.

        Raises:
            KeyboardInterrupt: if a process was asked to stop.
        """
        if _is_any_requested(trainer):
            close_tracking(trainer.loggers)
            trainer.strategy.barrier()  # launchers may kill the others, and W&B with them, once one process has ended
            raise KeyboardInterrupt
        stop_requests.have_met()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Decide; the checkpoint's own callback comes after this one, and the next epoch after both."""
        trainer.should_stop = trainer.should_stop or _is_any_requested(trainer)


def close_tracking(loggers: list[Logger]) -> None:
    """Close W&B's files of a run that is to go on later."""
    for logger in loggers:
        if isinstance(logger, RunDirectoryLogger):
            logger.mirror.close(EXIT_INTERRUPTED)


def _is_any_requested(trainer: Trainer) -> bool:
    return trainer.strategy.reduce_boolean_decision(stop_requests.is_requested, all=False)


@contextlib.contextmanager
def interruptible(trainer: Trainer) -> Iterator[None]:
    """Raise KeyboardInterrupt where Lightning makes a SystemExit of it, and leave no other process behind.

    The processes are no longer connected afterwards, however it ends.

    Raises:
        LostProcessError: if another process has ended before its time.
    """
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        _end_children(trainer)
        raise KeyboardInterrupt from None
    except Exception as error:
        _end_children(trainer)
        if isinstance(error, RuntimeError) and trainer.world_size > 1 and is_lost(error):
            if stop_requests.is_requested:  # as the other was
                raise KeyboardInterrupt from None
            raise LostProcessError("another process of this run has ended, or cannot be reached") from None
        raise
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()  # gloo's threads may abort an interpreter that ends before them


def _end_children(trainer: Trainer) -> None:
    children = children_of(trainer)
    for tell, seconds in ((None, SECONDS_BY_THEMSELVES), (signal.SIGINT, SECONDS_TO_END), (signal.SIGKILL, None)):
        for child in children:
            if tell is not None:
                child.send_signal(tell)  # nothing happens to one that has ended
        deadline = time.monotonic() + (seconds or SECONDS_TO_END)
        for child in children:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(max(0.0, deadline - time.monotonic()))
    children.clear()
