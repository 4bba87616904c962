"""Notebooks run from their first cell to their last, and are kept without outputs, which nothing would hold true."""

import ast
import json
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT

NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))


def code_cells(notebook: Path) -> list[dict[str, Any]]:
    """Return the cells that are run."""
    cells: list[dict[str, Any]] = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


def run(cells: list[dict[str, Any]]) -> list[Any]:
    """Run cells one after the other, as a notebook does; return what each one shows, ``None`` if nothing."""
    names: dict[str, Any] = {}
    shown = []
    for cell in cells:
        tree = ast.parse("".join(cell["source"]))
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, cell["id"], "exec"), names)
        assert last is None or isinstance(last, ast.Expr)
        shown.append(last and eval(compile(ast.Expression(last.value), cell["id"], "eval"), names))
    return shown


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_kept_without_outputs(notebook: Path) -> None:
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code_cells(notebook))


@pytest.mark.slow  # half a minute; the README's examples say the same, quicker
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_run(notebook: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # they need nothing of the checkout
    shown = run(code_cells(notebook))
    assert any(value is not None for value in shown)


def test_what_a_cell_shows_and_raises_is_seen() -> None:
    cell = {"id": "a", "source": ["number = 1\n", "number + 1"]}
    assert run([cell, {"id": "b", "source": ["number"]}]) == [2, 1]
    with pytest.raises(NameError):
        run([{"id": "c", "source": ["number"]}])
