"""Beneath the public surface of ``datasets``: its switch to look at its cache alone."""

import contextlib
from collections.abc import Iterator


@contextlib.contextmanager
def offline() -> Iterator[None]:
    """Let ``datasets`` ask nobody within the block; its own switch is read from the environment on import."""
    import datasets  # takes a second, and most runs have their data in files

    before = datasets.config.HF_HUB_OFFLINE
    datasets.config.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE = before
