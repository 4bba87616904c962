"""The pages of the documentation, and what stands in them: blocks, spans of code, links, headings."""

import re
from pathlib import Path

from tests.conftest import ROOT

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("*.md"))
_FENCE = re.compile(r'^```(\w*)(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)


def name_of(page: Path) -> str:
    """Return a page's path below the root; the name of its tests."""
    return str(page.relative_to(ROOT))


def blocks(page: Path, language: str = "") -> list[str]:
    """Return the fenced blocks that say they are of a language, or of none: commands, and what they print."""
    return [text for kind, _, text in _FENCE.findall(page.read_text(encoding="utf-8")) if kind == language]


def titled_blocks(page: Path) -> dict[str, str]:
    """Return the fenced blocks that have a title: files, as a reader would write them."""
    return {title: text for _, title, text in _FENCE.findall(page.read_text(encoding="utf-8")) if title}


def prose(page: Path) -> str:
    """Return a page without its fenced blocks."""
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def spans(page: Path) -> list[str]:
    """Return what stands in single backticks, each in one line."""
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose(page))]


def links(page: Path) -> list[str]:
    """Return the targets of links and pictures."""
    return re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`]+`", "", prose(page)))


def anchors(page: Path) -> set[str]:
    """Return what links may name behind a ``#``: the headings, as web pages of Markdown spell them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
