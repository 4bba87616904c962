"""Checks that config dataclasses share: each raises a ValueError of one line that names the key and what is allowed."""

import contextlib
import difflib
from collections.abc import Iterable, Iterator, Sequence
from contextvars import ContextVar
from typing import Any

MOST_COUNT = 2**31 - 1  # of layers, steps, tasks: sizes that no machine has are slips of the keyboard
LARGEST_SEED = 2**63 - 1  # that PyTorch takes
SMALLEST, LARGEST = 1.2e-38, 3.4e38  # between which single precision has a number

_COLLECTED: ContextVar[dict[str, tuple[str, ...]] | None] = ContextVar("collected choices", default=None)


class InputError(ValueError):
    """Input that cannot be used; the message is one line for the user, and nothing has been started."""


def at_least(minimum: float, group: str, config: Any, *keys: str, most: float | None = None) -> None:
    """Refuse values below ``minimum``, and infinite or absurd ones.

    Args:
        minimum: the smallest value allowed.
        group: the config group, for the message.
        config: the dataclass that has the values.
        keys: which of its fields to check.
        most: the largest value allowed; ``None`` for ``MOST_COUNT`` of whole numbers, ``LARGEST`` of others.

    Raises:
        ValueError: for the first bad value.

    Example:
        >>> from types import SimpleNamespace
        >>> at_least(1, "task", SimpleNamespace(num_context=0), "num_context")
        Traceback (most recent call last):
        ValueError: task.num_context must be at least 1, got 0
    """
    for key in keys:
        value = getattr(config, key)
        if not value >= minimum:  # so that nan is refused, too
            raise ValueError(f"{group}.{key} must be at least {minimum}, got {value}")
        allowed = most if most is not None else MOST_COUNT if isinstance(value, int) else LARGEST
        if value > allowed:
            raise ValueError(f"{group}.{key} must be at most {allowed:,}, got {value}")


def positive(group: str, config: Any, *keys: str, between: tuple[float, float] = (SMALLEST, LARGEST)) -> None:
    """Refuse values that are not positive and finite, or so small or large that computing with them is in vain.

    Other arguments and errors as in :func:`at_least`.
    """
    least, most = between
    for key in keys:
        value = getattr(config, key)
        if not 0 < value < float("inf"):
            raise ValueError(f"{group}.{key} must be positive and finite, got {value}")
        if not least <= value <= most:
            raise ValueError(f"{group}.{key} must be from {least:g} to {most:g}, got {value}")


def one_of(choices: Iterable[str], group: str, config: Any, key: str, optional: bool = False) -> None:
    """Refuse a name that is not among ``choices``, nor ``None`` if it is optional; otherwise as :func:`at_least`."""
    note_choices(f"{group}.{key}", choices)
    value = getattr(config, key)
    if value not in choices and not (optional and value is None):
        raise ValueError(
            f"{group}.{key} must be one of: {', '.join(choices)}; got {value!r}{did_you_mean(value, choices)}"
        )


def all_of(choices: Iterable[str], group: str, config: Any, key: str) -> None:
    """Refuse a list with a name that is not among ``choices``, or that is there twice; otherwise as :func:`one_of`."""
    note_choices(f"{group}.{key}", choices)
    names: Sequence[str] = getattr(config, key)
    for name in names:
        if name not in choices:
            raise ValueError(
                f"{group}.{key} must be a list of: {', '.join(choices)}; got {name!r}{did_you_mean(name, choices)}"
            )
        if names.count(name) > 1:
            raise ValueError(f"{group}.{key} has {name} twice")


def note_choices(key: str, choices: Iterable[str]) -> None:
    """Tell whoever collects choices what a key is checked against."""
    if (collected := _COLLECTED.get()) is not None:
        collected[key] = tuple(choices)


@contextlib.contextmanager
def collected_choices() -> Iterator[dict[str, tuple[str, ...]]]:
    """Collect what the configs built within are checked against, by their keys with dots.

    Example:
        >>> from types import SimpleNamespace
        >>> with collected_choices() as choices:
        ...     one_of(["linear", "softmax"], "model", SimpleNamespace(attention="linear"), "attention")
        >>> choices
        {'model.attention': ('linear', 'softmax')}
    """
    collected: dict[str, tuple[str, ...]] = {}
    token = _COLLECTED.set(collected)
    try:
        yield collected
    finally:
        _COLLECTED.reset(token)


def did_you_mean(given: object, known: Iterable[str]) -> str:
    """Return a hint for the end of a message if one of the known names is close, else nothing.

    Example:
        >>> did_you_mean("softmx", ["linear", "softmax"])
        '; did you mean softmax?'
    """
    close = difflib.get_close_matches(str(given), list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""
