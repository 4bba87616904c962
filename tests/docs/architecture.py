"""The picture of the rooms in docs/architecture.md, made from the table of imports.

``python -m tests.docs.architecture`` writes it anew when rooms or their imports have changed.
"""

import ast
import re
from collections.abc import Mapping

from tests.conftest import ROOT
from tests.test_imports import ALLOWED, ANYWHERE, PACKAGE

PAGE = ROOT / "docs" / "architecture.md"
_MADE = re.compile(r"(?<=<!-- made by tests/docs/architecture.py -->\n).*(?=<!-- end -->)", re.DOTALL)


def made() -> str:
    """Return what the page shows between its two marks: the picture, and a table of what each room holds."""
    rooms = {name: allowed - ANYWHERE for name, allowed in ALLOWED.items() if name not in ANYWHERE}
    arrows = [f"    {room} --> {other}" for room in rooms for other in sorted(direct(rooms, room))]
    rows = [f"| `{room}` | {_purpose(room)} |" for room in reversed(rooms)]
    anywhere = ", ".join(f"`{name}`" for name in sorted(ANYWHERE))
    lines = ["```mermaid", "flowchart TD", *arrows, "```", "", "| room | |", "|---|---|", *rows]
    return "\n".join([*lines, "", f"All may import the small ones that import no room: {anywhere}.", ""])


def direct(rooms: Mapping[str, set[str]], room: str) -> set[str]:
    """Return what a room may import, without what other rooms that it imports lead to.

    Example:
        >>> direct({"a": set(), "b": {"a"}, "c": {"a", "b"}}, "c")
        {'b'}
    """
    return rooms[room] - set().union(*(_reached(rooms, other) for other in rooms[room]))


def _reached(rooms: Mapping[str, set[str]], room: str) -> set[str]:
    return rooms[room].union(*(_reached(rooms, other) for other in rooms[room]))


def _purpose(room: str) -> str:
    """Return the first sentence of a room's docstring."""
    path = PACKAGE / room / "__init__.py"
    text = ast.get_docstring(ast.parse((path if path.exists() else PACKAGE / f"{room}.py").read_text(encoding="utf-8")))
    assert text, room
    return re.sub(r":\w+:(?=`)", "", text.splitlines()[0].replace("``", "`"))  # no roles of Sphinx


def page() -> str:
    """Return the page as it should be."""
    return _MADE.sub(lambda _: made(), PAGE.read_text(encoding="utf-8"))


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
