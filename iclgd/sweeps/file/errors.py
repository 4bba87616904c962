"""Mistakes in a sweep: the error that names them, and hints for its message."""

import difflib
from collections.abc import Sequence
from typing import Any

from iclgd.checks import InputError


class SweepError(InputError):
    """A sweep that cannot be run."""


def did_you_mean(name: Any, known: Sequence[str]) -> str:
    """Return a hint for the end of a message if one of the known names is close, else nothing."""
    close = difflib.get_close_matches(str(name), known, n=1)
    return f"; did you mean {close[0]}?" if close else ""
