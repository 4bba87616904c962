"""Imports flow one way: data, models, metrics -> analysis -> runtime -> modules -> experiments -> config -> cli.

And within a part no file imports another that imports it, however far around.
"""

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ANYWHERE = {
    "checks",
    "crossed_effects",
    "failures",
    "field_documentation",
    "files",
    "full_keys",
    "lazy",
    "memory",
    "messages",
    "quick_imports",
    "shipped",
    "streams",
    "student_t",
    "terminal",
    "typed_values",
    "vendors",
    "yaml_files",
}  # import nothing of the others
PACKAGE = Path(__file__).parents[1] / "iclgd"

# What each part may import of the others. A part may always import itself.
ALLOWED: dict[str, set[str]] = {
    "checks": set(),
    "crossed_effects": {"student_t"},
    "full_keys": set(),
    "messages": set(),
    "quick_imports": set(),
    "streams": set(),
    "student_t": set(),
    "terminal": {"streams"},
    "files": {"checks"},
    "field_documentation": set(),
    "lazy": set(),
    "yaml_files": {"checks"},
    "typed_values": {"checks"},
    "shipped": {"checks"},
    "memory": {"checks"},
    "failures": {"checks", "memory", "terminal"},
    "own_entries": {"checks", "files", "terminal"},
    "assets": set(),
    "hub": set(),
    "vendors": set(),
    "data": {"checks", "hub"},
    "models": {"checks", "hub", "vendors"},
    "metrics": set(),
    "measures": {"metrics", "analysis", "data", "models"},  # all but metrics for types alone: reports read it
    "tracking": {"checks"},
    "analysis": {"checks", "data", "models", "metrics", "vendors"},
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
    "runs": {"checks", "config", "experiments", "metrics", "own_entries", "report", "runtime", "tracking"},
    "experiment": {"config", "experiments", "own_entries", "report", "runs", "runtime", "tracking"},
    "comparing": {
        "checks",
        "config",
        "data",
        "analysis",
        "experiments",
        "measures",
        "models",
        "report",
        "runtime",
    },
    "catalogue": {"config", "experiments", "data", "models", "measures", "analysis", "modules", "runtime", "tracking"},
    "identifying": {"checks", "data", "models", "analysis", "report"},
    "sweeps": {"checks", "config", "own_entries", "report", "tracking"},
    "review": {"checks", "config", "experiments", "measures", "own_entries", "report", "runs", "sweeps", "tracking"},
    "reproduce": {"checks", "own_entries", "report", "review", "runs", "sweeps"},
    "config_help": {"checks", "config"},
    "commands": {
        "config_help",
        "reproduce",
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
        "review",
        "runs",
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


def run_on_import(node: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """Yield the imports that run when a module is imported: none of those in functions, or for type checkers alone."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child
            continue
        is_for_type_checkers = isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING")
        if not (is_for_type_checkers or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)):
            yield from run_on_import(child)


def import_graph(root: Path) -> dict[str, set[str]]:
    """Return for every module of a package those of its modules that importing it imports."""
    paths = {".".join(path.relative_to(root.parent).with_suffix("").parts): path for path in root.rglob("*.py")}
    modules = {name.removesuffix(".__init__"): path for name, path in paths.items()}
    graph: dict[str, set[str]] = {}
    for name, path in modules.items():
        imported: set[str] = set()
        for node in run_on_import(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name for alias in node.names}
            else:
                full = (f"{node.module}.{alias.name}" for alias in node.names)
                imported |= {each if each in modules else str(node.module) for each in full}
        graph[name] = imported & set(modules)
    return graph


def circle(graph: dict[str, set[str]]) -> list[str] | None:
    """Return the modules of one circle, the first again at the end; ``None`` if there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        found: list[str] = error.args[1]
        return found
    return None


def test_no_module_imports_itself_in_a_circle() -> None:
    found = circle(import_graph(PACKAGE))
    assert found is None, f"each imports the one before it: {' '.join(found or [])}"


def test_the_check_finds_circles(tmp_path: Path) -> None:
    package = tmp_path / "toy"
    package.mkdir()
    modules = {
        "__init__": "",
        "one": "import toy.two",
        "two": "from toy import three",
        "three": "try:\n    from toy.one import x\nexcept ImportError:\n    pass",
        "later": "def f():\n    from toy import four",
        "four": "from typing import TYPE_CHECKING\nfrom toy.later import f\nif TYPE_CHECKING:\n    import toy.five",
        "five": "import toy.four",
    }
    for name, text in modules.items():
        (package / f"{name}.py").write_text(text)
    found = circle(import_graph(package))
    assert found is not None
    assert set(found) == {"toy.one", "toy.two", "toy.three"}
    (package / "three.py").write_text("x = 1")
    assert circle(import_graph(package)) is None
