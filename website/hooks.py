"""What MkDocs calls while it builds the site (``hooks`` in mkdocs.yml)."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # MkDocs runs from an environment where the checkout need not be on the path

from mkdocs.config.defaults import MkDocsConfig  # noqa: E402
from mkdocs.structure.files import File, Files  # noqa: E402
from mkdocs.structure.pages import Page  # noqa: E402

from website import mathematics, reference  # noqa: E402

OF_THE_ROOT = ("CONTRIBUTING.md", "CHANGELOG.md", "LICENSE")
ASSETS = ("site.css", "iframe-worker.js", "accessible.js")
AFTER_OTHERS = "---\nsearch: {boost: 0.5}\n---\n"  # what is found in a page that explains comes before
_DIAGRAM = re.compile(r"^```mermaid\nflowchart TD\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the pages that are made from the code into the navigation's section for them."""
    assert config.nav is not None
    (section,) = (entry["Reference"] for entry in config.nav if isinstance(entry, dict) and "Reference" in entry)
    section[:0] = [{page.title: name} for name, page in reference.pages().items()]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what does not lie in docs/: pages made from the code, those of the repository's top, styles and scripts."""
    for name, page in reference.pages().items():
        files.append(File.generated(config, name, content=f"{AFTER_OTHERS}{page.text()}"))
    for name in OF_THE_ROOT:
        text = (ROOT / name).read_text(encoding="utf-8")
        files.append(File.generated(config, name, content=text.replace("](docs/", "](")))
    for name in ASSETS:
        files.append(File.generated(config, f"assets/{name}", abs_src_path=str(ROOT / "website" / "assets" / name)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Show diagrams as tables: what draws them in a browser would be fetched from the network.

    Links to pages of the repository's top lead to where the site has them.
    """
    for name in OF_THE_ROOT:
        markdown = markdown.replace(f"](../{name}", f"]({name}")
    return _DIAGRAM.sub(lambda found: as_table(found[1]), markdown)


def as_table(arrows: str) -> str:
    """Return the arrows of a diagram as a table.

    Example:
        >>> print(as_table("    b --> a\\n    c --> a\\n    c --> b\\n"))
        | | leads to |
        |---|---|
        | `b` | `a` |
        | `c` | `a`, `b` |
    """
    leads: dict[str, list[str]] = {}
    for line in arrows.splitlines():
        source, _, target = line.strip().partition(" --> ")
        leads.setdefault(source, []).append(f"`{target}`")
    return "\n".join(["| | leads to |", "|---|---|", *(f"| `{each}` | {', '.join(leads[each])} |" for each in leads)])


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Typeset the mathematics."""
    return mathematics.typeset(html, page.file.src_uri)
