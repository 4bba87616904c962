"""How accuracies after a number of demonstrations are called in summaries."""

import re
from collections.abc import Iterable

AFTER = re.compile(r"^accuracy/(\d+)_demonstrations$")


def accuracy_after(number: int) -> str:
    """Return the summary name of an accuracy.

    Example:
        >>> accuracy_after(4)
        'accuracy/4_demonstrations'
    """
    return f"accuracy/{number}_demonstrations"


def number_in(name: str) -> int | None:
    """Return after how many demonstrations a number of the summary is; ``None`` for one that is no such accuracy.

    Example:
        >>> number_in("accuracy/16_demonstrations"), number_in("accuracy/zero_shot")
        (16, None)
    """
    return int(found[1]) if (found := AFTER.match(name)) else None


def numbers_in(names: Iterable[str]) -> list[int]:
    """Return after how many demonstrations accuracy was measured, in order.

    Example:
        >>> numbers_in(["accuracy/16_demonstrations", "accuracy/0_demonstrations", "accuracy/zero_shot"])
        [0, 16]
    """
    return sorted(number for name in names if (number := number_in(name)) is not None)
