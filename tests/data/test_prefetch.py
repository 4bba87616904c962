import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from iclgd.data.prefetch import in_background


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "in-background"]


def counted(limit: int, seen: list[int]) -> Iterator[int]:
    for number in range(limit):
        seen.append(number)
        yield number


def test_items_come_in_order_and_the_thread_ends() -> None:
    assert list(in_background(iter(range(100)), num_ahead=3)) == list(range(100))
    assert not threads()


def test_it_works_ahead_but_not_without_bound() -> None:
    seen: list[int] = []
    items = in_background(counted(1000, seen), num_ahead=3)
    assert next(items) == 0
    deadline = time.monotonic() + 10
    while len(seen) < 5 and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(0.05)
    assert len(seen) == 5  # one taken, three waiting, one in the thread's hand
    items.close()
    assert not threads()


def test_a_dying_main_thread_is_not_kept_waiting() -> None:
    script = (
        "from iclgd.data.prefetch import in_background\n"
        "items = in_background(iter(range(1000)), num_ahead=1)\n"
        "next(items)\n"
        "raise SystemExit(3)\n"
    )
    assert subprocess.run([sys.executable, "-c", script], timeout=60, check=False).returncode == 3


def test_errors_come_where_the_item_would_have() -> None:
    def failing() -> Iterator[int]:
        yield 1
        raise RuntimeError("no more")

    items = in_background(failing(), num_ahead=2)
    assert next(items) == 1
    with pytest.raises(RuntimeError, match="no more"):
        next(items)
    assert not threads()
