"""Every public name can be imported, and has types, a description and an example."""

import doctest
import importlib
import importlib.util
import inspect
import subprocess
import sys
from types import ModuleType
from typing import Any

import pytest

ROOMS = ["iclgd", "iclgd.analysis", "iclgd.data", "iclgd.metrics", "iclgd.models"]
HEAVY = ["lightning", "matplotlib", "numpy", "rich", "torch", "transformers", "yaml"]


def public(room: str) -> dict[str, Any]:
    module = importlib.import_module(room)
    return {name: getattr(module, name) for name in module.__all__}


def without_types(thing: Any) -> list[str]:
    """Return the arguments, and ``return``, of which nobody says what they are."""
    signature = inspect.signature(thing.__init__ if isinstance(thing, type) else thing)
    arguments = [argument for argument in signature.parameters.values() if argument.name != "self"]
    missing = [argument.name for argument in arguments if argument.annotation is inspect.Parameter.empty]
    is_returned = isinstance(thing, type) or signature.return_annotation is not inspect.Signature.empty
    return missing + ["return"] * (not is_returned)


def examples(thing: Any) -> list[doctest.Example]:
    return [example for test in doctest.DocTestFinder().find(thing, "name") for example in test.examples]


NAMES = [(room, name) for room in ROOMS for name in public(room) if not isinstance(public(room)[name], ModuleType)]


@pytest.mark.parametrize(("room", "name"), NAMES, ids=[f"{room}.{name}" for room, name in NAMES])
def test_a_public_name_is_described_typed_and_shown(room: str, name: str) -> None:
    thing = public(room)[name]
    assert callable(thing)
    assert (thing.__doc__ or "").strip(), "has no docstring"
    assert not thing.__doc__.startswith(f"{name}("), "has the docstring that dataclasses make up"
    if not (isinstance(thing, type) and issubclass(thing, tuple)):  # fields of a NamedTuple have types
        assert not without_types(thing), "have no types"
    assert examples(thing), "has no example"


def test_the_check_sees_what_is_missing() -> None:
    def untyped(first, second: int):  # type: ignore[no-untyped-def]
        """Say nothing."""

    assert without_types(untyped) == ["first", "return"]
    assert not examples(untyped)


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_name_what_they_have(room: str) -> None:
    module = importlib.import_module(room)
    assert set(module.__all__) <= set(dir(module))
    with pytest.raises(AttributeError, match=rf"'{room}' has no attribute 'nothing'"):
        _ = module.nothing


def test_modules_do_not_hide_public_names() -> None:
    """A module of a name's own name would take its place once it is imported."""
    assert not [name for name in NAMES if importlib.util.find_spec(".".join(name))]


def test_nothing_heavy_is_imported_before_it_is_used() -> None:
    code = f"import sys, iclgd; dir(iclgd); print(*[name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "\n"
