"""An iterator that works ahead on a thread of its own."""

import contextlib
import queue
import threading
from collections.abc import Iterator
from typing import TypeVar

import torch

T = TypeVar("T")


def in_background(items: Iterator[T], num_ahead: int) -> Iterator[T]:
    """Yield the same items in the same order, while a thread prepares the next ones.

    An error while preparing an item is raised where the item would have come. The thread is gone when the iterator ends
    or is closed.

    Args:
        items: what to yield; only the thread touches it.
        num_ahead: how many items may wait.

    Example:
        >>> list(in_background(iter("abc"), num_ahead=2))
        ['a', 'b', 'c']
    """
    ready: queue.Queue[tuple[T | None, BaseException | None]] = queue.Queue(num_ahead)
    closed = threading.Event()

    def work() -> None:
        torch.set_num_threads(1)
        try:
            for item in items:
                if closed.is_set():
                    return
                ready.put((item, None))
            ready.put((None, StopIteration()))
        except BaseException as error:
            ready.put((None, error))

    thread = threading.Thread(target=work, name="in-background")
    thread.start()
    try:
        while True:
            item, end = ready.get()
            if isinstance(end, StopIteration):
                return
            if end is not None:
                raise end
            yield item  # type: ignore[misc]
    finally:
        closed.set()
        while thread.is_alive():  # it may be waiting for room in the queue
            with contextlib.suppress(queue.Empty):
                ready.get(timeout=0.01)
