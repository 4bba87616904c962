"""What every process of ours sets before it computes."""

import contextlib
import ctypes
import logging
import warnings
from collections.abc import Iterator

import torch

QUIET_LOGGERS = ("lightning.pytorch", "lightning.fabric")


def prepare_process(num_threads: int) -> None:
    """Set this process's threads, memory and messages."""
    torch.set_num_threads(num_threads)
    _keep_freed_memory()
    logging.raiseExceptions = False  # a log file that cannot be written is no reason to fill the terminal
    # Lightning's advice on hardware, services and dataloaders is not about our users' choices.
    for name in QUIET_LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"lightning\.(pytorch|fabric)")


@contextlib.contextmanager
def prepared_process(num_threads: int) -> Iterator[None]:
    """Do the same for a block in somebody else's program, and give back what is the program's."""
    threads, raises = torch.get_num_threads(), logging.raiseExceptions
    levels = {name: logging.getLogger(name).level for name in QUIET_LOGGERS}
    try:
        with warnings.catch_warnings():
            prepare_process(num_threads)
            yield
    finally:
        torch.set_num_threads(threads)
        logging.raiseExceptions = raises
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


def _keep_freed_memory() -> None:
    """Tell glibc not to give freed megabytes back to the system.

    It would map and clear new pages for every batch of tasks, which costs a third of the training time.
    """
    mmap_threshold, trim_threshold = -3, -1  # M_MMAP_THRESHOLD, M_TRIM_THRESHOLD of malloc.h
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # other C libraries have none
    if mallopt is not None:
        mallopt(mmap_threshold, 32 * 2**20)  # the largest value that glibc takes
        mallopt(trim_threshold, 2**31 - 1)
