"""What every process of ours sets before it computes."""

import ctypes
import logging
import warnings

import torch


def prepare_process(num_threads: int) -> None:
    """Set this process's threads, memory and messages."""
    torch.set_num_threads(num_threads)
    _keep_freed_memory()
    logging.raiseExceptions = False  # a log file that cannot be written is no reason to fill the terminal
    # Lightning's advice on hardware, services and dataloaders is not about our users' choices.
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"lightning\.(pytorch|fabric)")


def _keep_freed_memory() -> None:
    """Tell glibc not to give freed megabytes back to the system.

    It would map and clear new pages for every batch of tasks, which costs a third of the training time.
    """
    mmap_threshold, trim_threshold = -3, -1  # M_MMAP_THRESHOLD, M_TRIM_THRESHOLD of malloc.h
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # other C libraries have none
    if mallopt is not None:
        mallopt(mmap_threshold, 32 * 2**20)  # the largest value that glibc takes
        mallopt(trim_threshold, 2**31 - 1)
