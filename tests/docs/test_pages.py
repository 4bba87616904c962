"""Links lead somewhere, paths exist, and the README stays short."""

import re
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT
from tests.docs.pages import PAGES, anchors, blocks, links, name_of, prose, spans

README = ROOT / "README.md"
MOST_COLUMNS = 120
MOST_WORDS = 500
MOST_BYTES = 100_000  # of a figure
PLACES = ("benchmarks", "configs", "docs", "iclgd", "sweeps", "tests")  # folders whose files pages name


def dead_links(page: Path) -> list[str]:
    """Return the links of a page to files or headings that do not exist."""
    dead = []
    for link in links(page):
        target, _, anchor = link.partition("#")
        if "://" in target:
            continue
        path = (page.parent / target).resolve() if target else page
        if not path.exists() or (anchor and anchor not in anchors(path)):
            dead.append(link)
    return dead


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_relative_links_lead_to_files_and_headings(page: Path) -> None:
    assert dead_links(page) == []


def test_dead_links_are_seen(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# A page?\n[a](page.md#a-page) [b](gone.md) [c](page.md#gone) [d](https://example.org) `[e](f)`\n")
    assert dead_links(page) == ["gone.md", "page.md#gone"]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_paths_of_the_repository_exist(page: Path) -> None:
    for span in spans(page):
        for path in re.findall(rf"(?<![\w/.])(?:{'|'.join(PLACES)})/[\w./]*", span):
            assert (ROOT / re.sub(r"NAME\.\w+$", "", path)).exists(), span


def test_the_readme_fits_a_screen_and_a_few_minutes() -> None:
    assert max(map(len, README.read_text().splitlines())) <= MOST_COLUMNS
    words = [word for line in prose(README).splitlines() if not line.startswith("|") for word in line.split()]
    assert len(words) <= MOST_WORDS


def test_figures_are_small_and_said_how_to_make() -> None:
    figures = list((ROOT / "docs" / "figures").iterdir())
    assert figures
    for figure in figures:
        assert figure.stat().st_size <= MOST_BYTES
        shown = [page for page in PAGES if f"{figure.name})\n\n*`iclgd " in page.read_text()]
        assert shown, f"no page shows {figure.name} with the command that makes it"


def test_the_workflow_runs_the_readmes_commands_on_every_python_that_is_supported() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    job = workflow["jobs"]["test"]
    commands = [step["run"] for step in job["steps"] if "run" in step]
    typed = [line.partition("#")[0].strip() for block in blocks(README) for line in block.splitlines()]
    assert commands == [line for line in typed if line in ("make debug", "make test")]
    assert job["strategy"]["matrix"]["python"] == ["3.11", "3.12", "3.13"]


def test_hooks_before_a_commit_are_those_of_make_lint_and_make_type() -> None:
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert repository["repo"] == "local"
    makefile = (ROOT / "Makefile").read_text()
    recipes = re.findall(r"^(?:lint|type): .*\n\t(.+)$", makefile, re.MULTILINE)
    tools = [tool.removesuffix(" .") for recipe in recipes for tool in recipe.split(" && ")]
    assert [hook["entry"] for hook in repository["hooks"]] == [tool.replace("$(BIN)", ".venv/bin") for tool in tools]
    assert {hook["language"] for hook in repository["hooks"]} == {"system"}


def test_the_papers_are_cited() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0"
    assert citation["authors"] == [{"name": "The iclgd developers"}]
    assert "version" not in citation  # it stands in one place, and that is not this one
    numbers = {identifier["value"] for paper in citation["references"] for identifier in paper["identifiers"]}
    assert numbers == {"arXiv:2212.07677", "arXiv:2212.10559", "arXiv:2311.07772"}
    for paper in citation["references"]:
        number = paper["identifiers"][0]["value"].removeprefix("arXiv:")
        assert paper["url"].endswith(number)
        assert f"({paper['url']})" in README.read_text()
