from collections.abc import Iterator
from importlib import import_module

import pytest

from iclgd.own_entries import REGISTRIES


@pytest.fixture(autouse=True)
def _own_registries() -> Iterator[None]:
    """Leave all registries as they were: files that pages show add to them."""
    registries = [getattr(import_module(module), name) for module, name, *_ in REGISTRIES]
    before = [dict(entries) for entries in registries]
    yield
    for entries, old in zip(registries, before, strict=True):
        entries.clear()
        entries.update(old)
