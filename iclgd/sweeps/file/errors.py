"""Mistakes in a sweep."""

from iclgd.checks import InputError


class SweepError(InputError):
    """A sweep that cannot be run."""
