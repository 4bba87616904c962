"""The garbage collector rests while a command imports, and is back afterwards."""

import gc
import subprocess
import sys

import pytest

from iclgd.quick_imports import quick_imports


def test_it_rests_while_a_fresh_process_imports_and_leaves_alone_what_is_there_then() -> None:
    script = """
import gc
from iclgd.quick_imports import quick_imports
with quick_imports():
    assert not gc.isenabled()
assert gc.isenabled() and gc.get_freeze_count() > 1000
try:
    with quick_imports():
        raise ValueError
except ValueError:
    assert gc.isenabled()
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_of_a_process_that_has_imported_all_nothing_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gc, "freeze", lambda: pytest.fail("what tests have made would stay"))
    with quick_imports():
        assert gc.isenabled()
