"""What takes a command seconds before it can begin: imports, made as quick as they can be."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quick_imports() -> Iterator[None]:
    """Import without the garbage collector, which would look at all of PyTorch again and again; and never after.

    It makes a small run a third shorter. For a process whose command begins: whatever a process has made that imported
    PyTorch earlier would be kept for good, so that there nothing is done.
    """
    if "torch" in sys.modules or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
