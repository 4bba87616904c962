"""Memory: what a config needs at the least is compared with what there is, and an allocator's error becomes a line."""

import contextlib
import errno
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from iclgd.checks import InputError

GIBIBYTE = 2**30
CONTROL_GROUPS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")  # version 2, version 1
# PyTorch has a class of errors of its own for GPUs alone; sizes that no number can hold are asked for in no memory.
WORDS = (
    "DefaultCPUAllocator",
    "not enough memory",
    "out of memory",
    "bad_alloc",
    "ALLOC_FAILED",
    "Storage size calculation overflowed",
    "Overflow when unpacking",
    "too large to convert",
)


class Need(NamedTuple):
    """What one part of a run holds in memory at one time, at the least."""

    num_bytes: float
    what: str
    keys: str  # of the config, which to reduce


class TooLargeError(InputError):
    """A config that needs more memory than there is."""


class OutOfMemoryError(Exception):
    """Memory was not enough on the way; the message is one line for the user."""


def check(needs: Sequence[Need], uses_gpu: bool = False) -> None:
    """Refuse what cannot fit, before the kernel has to end this process.

    Estimates are lower bounds: what is refused would certainly not fit, what is not may still not fit.

    Args:
        needs: of a run.
        uses_gpu: whether the memory of a GPU comes on top of this machine's.

    Raises:
        TooLargeError: if they exceed what there is; it names the largest of them and what to reduce.
    """
    there = available(uses_gpu)
    if sum(need.num_bytes for need in needs) > there:
        largest = max(needs, key=lambda need: need.num_bytes)
        raise TooLargeError(
            f"{largest.what} would need at least {in_gibibytes(largest.num_bytes)} of memory, and there are "
            f"{in_gibibytes(there)}: reduce {largest.keys}"
        )


def available(uses_gpu: bool = False) -> int:
    """Return how many bytes this process can have at most: of this machine, of its control group."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in map(Path, CONTROL_GROUPS):
        with contextlib.suppress(OSError, ValueError):  # not of this version; or "max"
            limits.append(int(path.read_text()))
    there = min(limits)
    if uses_gpu and torch.cuda.is_available():
        there += torch.cuda.get_device_properties(0).total_memory
    return there


def is_exhausted(error: BaseException) -> bool:
    """Say whether an error means that memory was not enough, or a size no number of bytes.

    Example:
        >>> is_exhausted(MemoryError()), is_exhausted(ValueError("no such task"))
        (True, False)
    """
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, (RuntimeError, OverflowError, TypeError)) and any(word in str(error) for word in WORDS)


def advice(keys: str) -> str:
    """Return what to say when memory was not enough."""
    return f"out of memory: reduce {keys}"


def in_gibibytes(num_bytes: float) -> str:
    """Write a number of bytes.

    Example:
        >>> in_gibibytes(25 * 2**30), in_gibibytes(2**50)
        ('25.0 GiB', '1,048,576 GiB')
    """
    gibibytes = num_bytes / GIBIBYTE
    return f"{gibibytes:.1f} GiB" if gibibytes < 1000 else f"{gibibytes:,.0f} GiB"
