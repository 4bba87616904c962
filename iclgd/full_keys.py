"""Nested values by their full keys."""

from typing import Any


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested values by their full keys.

    Example:
        >>> flat({"seed": 0, "task": {"name": "linear"}})
        {'seed': 0, 'task.name': 'linear'}
    """
    result: dict[str, Any] = {}
    for key, value in values.items():
        result |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return result
