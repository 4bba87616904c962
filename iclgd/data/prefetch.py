"""An iterator that works ahead on a thread of its own."""

import contextlib
import queue
import threading
from collections.abc import Generator, Iterator
from typing import TypeVar

import torch

T = TypeVar("T")


def in_background(items: Iterator[T], num_ahead: int) -> Generator[T]:
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

    def put(item: T | None, end: BaseException | None = None) -> bool:
        # A thread that waited without end would keep a process alive whose main thread has died of an error.
        while not closed.is_set() and threading.main_thread().is_alive():
            with contextlib.suppress(queue.Full):
                ready.put((item, end), timeout=0.1)
                return True
        return False

    def work() -> None:
        torch.set_num_threads(1)
        try:
            if all(put(item) for item in items):
                put(None, StopIteration())
        except BaseException as error:
            put(None, error)

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
        with contextlib.suppress(queue.Empty):
            ready.get_nowait()  # lets a waiting thread go on, to see that it is closed
        thread.join()
