"""Checks that config dataclasses share: each raises a ValueError of one line that names the key and what is allowed."""

from collections.abc import Iterable
from typing import Any


class InputError(ValueError):
    """Input that cannot be used; the message is one line for the user, and nothing has been started."""


LARGEST_INTEGER = 2**63 - 1  # that counts of steps, tasks and elements are made of


def at_least(minimum: float, group: str, config: Any, *keys: str) -> None:
    """Refuse values below ``minimum``, infinite ones, and whole numbers that need more than 64 bits.

    Args:
        minimum: the smallest value allowed.
        group: the config group, for the message.
        config: the dataclass that has the values.
        keys: which of its fields to check.

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
        if not minimum <= value < float("inf"):
            raise ValueError(f"{group}.{key} must be at least {minimum}, got {value}")
        if isinstance(value, int) and value > LARGEST_INTEGER:
            raise ValueError(f"{group}.{key} must be at most {LARGEST_INTEGER:,}, got {value:.1e}")


def between(minimum: float, maximum: float, group: str, config: Any, *keys: str) -> None:
    """Refuse values outside of a range; other arguments and errors as in :func:`at_least`."""
    for key in keys:
        value = getattr(config, key)
        if not minimum <= value <= maximum:
            raise ValueError(f"{group}.{key} must be from {minimum:,} to {maximum:,}, got {value:,}")


def choices(allowed: Iterable[str], group: str, config: Any, key: str) -> None:
    """Refuse a list with a name that is not among ``allowed`` or comes twice; other arguments as in :func:`one_of`."""
    allowed, names = list(allowed), getattr(config, key)
    for place, name in enumerate(names):
        if name not in allowed:
            raise ValueError(f"{group}.{key} must be a list of: {', '.join(allowed)}; got {name!r}")
        if name in names[:place]:
            raise ValueError(f"{group}.{key} must not have {name!r} twice")


def positive(group: str, config: Any, *keys: str) -> None:
    """Refuse values that are not positive and finite; arguments and errors as in :func:`at_least`."""
    for key in keys:
        value = getattr(config, key)
        if not 0 < value < float("inf"):
            raise ValueError(f"{group}.{key} must be positive and finite, got {value}")


def one_of(choices: Iterable[str], group: str, config: Any, key: str) -> None:
    """Refuse a name that is not among ``choices``; other arguments and errors as in :func:`at_least`."""
    value = getattr(config, key)
    if value not in choices:
        raise ValueError(f"{group}.{key} must be one of: {', '.join(choices)}; got {value!r}")
