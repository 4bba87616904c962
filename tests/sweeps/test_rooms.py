"""The rooms of sweeps: each imports those before it alone, and no files import each other in a circle."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.conftest import ROOT

SWEEPS = "iclgd.sweeps"
ROOMS = ["file", "trials", "workers", "progress", "launch"]  # and last, the commands at the top


def imports(source: str, modules: set[str]) -> set[str]:
    """Return the modules that a source names, in functions and for ``import_module`` too."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.add(node.value)
    return found & modules


@pytest.fixture(scope="module")
def graph() -> dict[str, set[str]]:
    files = sorted((ROOT / "iclgd" / "sweeps").rglob("*.py"))
    names = {path: ".".join(path.relative_to(ROOT).with_suffix("").parts) for path in files}
    modules = {name for name in names.values() if not name.endswith("__init__")}
    return {name: imports(path.read_text(), modules) for path, name in names.items() if name in modules}


def room(module: str) -> int:
    name = module.removeprefix(f"{SWEEPS}.").partition(".")[0]
    return ROOMS.index(name) if name in ROOMS else len(ROOMS)


def test_no_files_import_each_other_in_a_circle(graph: dict[str, set[str]]) -> None:
    others = {name: imported - {name} for name, imported in graph.items()}  # session.py starts itself
    assert f"{SWEEPS}.commands" in others[f"{SWEEPS}.arguments"]  # which only import_module tells
    list(TopologicalSorter(others).static_order())
    others[f"{SWEEPS}.file.errors"] = {f"{SWEEPS}.commands"}
    with pytest.raises(CycleError):
        list(TopologicalSorter(others).static_order())


def test_rooms_import_only_those_before_them(graph: dict[str, set[str]]) -> None:
    assert {room(name) for name in graph} == set(range(len(ROOMS) + 1))
    back = [f"{name} imports {other}" for name in graph for other in graph[name] if room(other) > room(name)]
    assert not back


def test_every_folder_is_a_room() -> None:
    folders = [path.name for path in Path(ROOT / "iclgd" / "sweeps").iterdir() if (path / "__init__.py").exists()]
    assert sorted(folders) == sorted(ROOMS)
