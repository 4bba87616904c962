"""Imports flow one way: data, models, metrics -> analysis -> runtime -> modules -> experiments -> config -> cli."""

import ast
from pathlib import Path

import pytest

ANYWHERE = {
    "checks",
    "failures",
    "files",
    "memory",
    "streams",
    "terminal",
    "typed_values",
    "yaml_files",
}  # import nothing of the others
PACKAGE = Path(__file__).parents[1] / "iclgd"

# What each part may import of the others. A part may always import itself.
ALLOWED: dict[str, set[str]] = {
    "checks": set(),
    "streams": set(),
    "terminal": {"streams"},
    "files": {"checks"},
    "yaml_files": {"checks"},
    "typed_values": {"checks"},
    "memory": {"checks"},
    "failures": {"checks", "memory", "terminal"},
    "own_entries": {"checks", "files", "terminal"},
    "assets": set(),
    "hub": set(),
    "data": {"checks", "hub"},
    "models": {"checks", "hub"},
    "metrics": set(),
    "measures": {"metrics", "analysis", "data", "models"},  # all but metrics for types alone: reports read it
    "tracking": {"checks"},
    "analysis": {"checks", "data", "models", "metrics"},
    "runtime": {"checks", "tracking"},
    "modules": {"checks", "data", "models", "metrics", "measures", "analysis", "runtime"},
    "report": {"measures", "tracking"},
    "experiments": {
        "checks",
        "data",
        "models",
        "metrics",
        "measures",
        "analysis",
        "modules",
        "runtime",
        "tracking",
        "report",
    },
    "export": {"checks", "data", "analysis", "modules", "runtime", "experiments", "tracking"},
    "config": {"checks", "experiments", "runtime", "tracking"},
    "experiment": {"config", "experiments", "own_entries", "report", "runtime", "tracking"},
    "catalogue": {"config", "experiments", "data", "models", "measures", "analysis", "modules", "runtime", "tracking"},
    "identifying": {"checks", "data", "models", "analysis", "report"},
    "vendors": set(),
    "sweeps": {"checks", "config", "own_entries", "tracking", "vendors"},
    "commands": {
        "sweeps",
        "checks",
        "config",
        "experiment",
        "experiments",
        "catalogue",
        "analysis",
        "export",
        "own_entries",
        "report",
        "runtime",
        "tracking",
    },
    "cli": {"checks", "commands", "runtime", "sweeps"},
    "__main__": {"cli"},
}


def imported_parts(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    parts = {name.split(".")[1] for name in names if name.startswith("iclgd.")}
    return {part for part in parts if part in ALLOWED}


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_flow_one_way(path: Path) -> None:
    part = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if part == "__init__":
        return
    assert part in ALLOWED, f"say in ALLOWED what {part} may import"
    forbidden = imported_parts(path) - ALLOWED[part] - ANYWHERE - {part}
    assert not forbidden, f"{path.name} must not import {sorted(forbidden)}"


def test_the_check_sees_imports_within_functions() -> None:
    assert "experiment" in imported_parts(PACKAGE / "commands" / "running.py")
