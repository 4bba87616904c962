"""A training that is asked to stop: all processes end at the same place, after a checkpoint."""

import contextlib
import subprocess
from collections.abc import Iterator

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import Logger

from iclgd.modules.signals import stop_requests
from iclgd.tracking.logger import RunDirectoryLogger

EXIT_INTERRUPTED = 130  # as shells have it for Ctrl-C
SECONDS_TO_END = 10.0  # for the processes that Lightning has started


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
    """
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        _wait_for_children(trainer)
        raise KeyboardInterrupt from None
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()  # gloo's threads may abort an interpreter that ends before them


def _wait_for_children(trainer: Trainer) -> None:
    children: list[subprocess.Popen[bytes]] = getattr(trainer.strategy.launcher, "procs", [])
    ending = list(children)
    children.clear()  # Lightning would kill this process too, while W&B closes its files, for their exit codes
    for child in ending:
        try:
            child.wait(SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            child.kill()


def leave_signals_alone(trainer: Trainer) -> None:
    """Keep Lightning from handling SIGTERM: its handler broadcasts from where the signal happens to come.

    The other processes would wait elsewhere, for ever. There is no public way to say so.
    """
    trainer._signal_connector.register_signal_handlers = lambda: None  # type: ignore[method-assign]
