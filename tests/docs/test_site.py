"""The documentation's site: it is built without a warning, and works in a browser that has no network."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from mkdocs.commands.build import build
from mkdocs.config import load_config
from mkdocs.exceptions import Abort, PluginError
from playwright.sync_api import Browser, Page, sync_playwright

from iclgd.experiments import EXPERIMENTS
from tests.conftest import CHROMIUM, ROOT
from tests.docs.pages import PAGES
from tests.review.test_browser import OPTIONS, serious
from website import mathematics, reference
from website.hooks import OF_THE_ROOT

CONFIG = ROOT / "mkdocs.yml"
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
LOOKED_AT = (  # one of each kind
    "index",
    "concepts",
    "gallery",
    "results",
    "tutorials/own_task",
    "reference/commands",
    "reference/keys/few_shot",
    "reference/python/metrics",
)


def in_navigation(entries: list[Any]) -> Iterator[str]:
    for entry in entries:
        (value,) = entry.values()
        yield from [value] if isinstance(value, str) else in_navigation(value)


def test_every_page_is_in_the_navigation_once() -> None:
    pages = sorted(in_navigation(yaml.safe_load(CONFIG.read_text())["nav"]))
    written = [str(page.relative_to(ROOT / "docs")) for page in PAGES if ROOT / "docs" in page.parents]
    assert pages == sorted([*written, *(name for name in OF_THE_ROOT if name.endswith(".md"))])


@pytest.mark.parametrize("text", ["[a](gone.md)", "[a](index.md#gone)", "[a](/index.md)"])
def test_dead_links_fail_the_build(tmp_path: Path, text: str) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text(f"# A page\n\n{text}\n")
    folders = {"docs_dir": str(tmp_path / "docs"), "site_dir": str(tmp_path / "site")}
    with pytest.raises(Abort, match="1 warnings"):
        build(load_config(str(CONFIG), **folders, nav=[{"Home": "index.md"}], theme="mkdocs", plugins=[], hooks=[]))


def test_formulas_are_mathml_and_one_that_cannot_be_read_is_named() -> None:
    page = r'<div class="arithmatex">\[\frac{a}{b} &lt; c\]</div> <span class="arithmatex">\(x_i\)</span>'
    html = mathematics.typeset(page, "page.md")
    assert "<mfrac><mi>a</mi><mi>b</mi></mfrac>" in html
    assert "<msub><mi>x</mi><mi>i</mi></msub>" in html
    assert "arithmatex" not in html
    with pytest.raises(PluginError, match=r"page\.md: formula '.*gone"):
        mathematics.typeset(r'<span class="arithmatex">\(\gone\)</span>', "page.md")


def test_pages_of_reference_are_made_from_the_code() -> None:
    made = reference.pages()
    assert {f"reference/keys/{name}.md" for name in EXPERIMENTS} <= set(made)
    assert "## iclgd sweep status\n" in made["reference/commands.md"].text()
    keys = made["reference/keys/few_shot.md"].text()
    assert re.search(r"^\| `demonstrations\.num_draws` \| .* \| `1` \| .+ \|$", keys, re.MULTILINE)
    names = made["reference/summary.md"].text()
    assert all(f"`{name}" in names for name in ("sim_aou`", "untrained/NAME`", "loss/LEARNER`", "NAME/ridge`"))
    assert "::: iclgd.metrics.similarity" in made["reference/python/metrics.md"].text()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    build(load_config(str(CONFIG), site_dir=str(folder)))  # strict: a warning ends it
    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, site: Path) -> Iterator[Page]:
    """A tab on the site as it lies on the disk; nothing may go wrong in it, and nothing else be asked for."""
    context = browser.new_context(viewport=DESKTOP, reduced_motion="reduce", color_scheme="light")
    tab, wrong = context.new_page(), list[str]()
    tab.set_default_timeout(30_000)
    tab.on("pageerror", lambda error: wrong.append(str(error)))
    tab.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
    tab.on("request", lambda asked: None if asked.url.startswith(site.as_uri()) else wrong.append(asked.url))
    yield tab
    context.close()
    assert [each for each in wrong if not each.startswith(("data:", "about:"))] == []


def go(page: Page, site: Path, name: str) -> None:
    page.goto((site / f"{name}.html").as_uri())


@pytest.mark.slow
@pytest.mark.browser
def test_the_search_finds_a_term_without_a_server(page: Page, site: Path) -> None:
    go(page, site, "index")
    page.locator("input.md-search__input").click()
    page.keyboard.type("Satterthwaite")  # in one place alone
    page.locator(".md-search-result__item a[href*='text.html?h=satterthwaite#']").click()
    page.wait_for_selector("mark")
    assert "Satterthwaite" in page.locator("mark").all_inner_texts()


@pytest.mark.slow
@pytest.mark.browser
def test_the_button_copies_code(page: Page, site: Path) -> None:
    go(page, site, "tutorials/own_metric")
    block = page.locator(".highlight:has(code:has-text('MeanAbsoluteError'))").first
    block.hover()
    block.locator("button[data-md-type=copy]").first.click()
    page.evaluate("document.body.append(Object.assign(document.createElement('textarea'), {id: 'target'}))")
    page.locator("#target").focus()
    page.keyboard.press("Control+V")
    assert page.locator("#target").input_value().strip() == block.locator("code").inner_text().strip()


@pytest.mark.slow
@pytest.mark.browser
def test_mathematics_is_drawn(page: Page, site: Path) -> None:
    go(page, site, "concepts")
    sizes = page.locator("math").evaluate_all("all => all.map(each => each.getBoundingClientRect().toJSON())")
    assert len(sizes) > 30
    assert all(size["width"] > 0 and size["height"] > 0 for size in sizes)
    fraction, letter = (page.locator(name).first.bounding_box() for name in ("mfrac", "mi"))
    assert fraction is not None
    assert letter is not None
    assert fraction["height"] > 1.5 * letter["height"]  # one above the other
    assert not re.search(r"\$\$|\\frac|\\\(", page.locator("article").inner_text())


@pytest.mark.slow
@pytest.mark.browser
def test_no_page_scrolls_sideways_on_a_phone(page: Page, site: Path) -> None:
    page.set_viewport_size(PHONE)
    for path in sorted(set(site.rglob("*.html")) - {site / "404.html"}):  # which a server shows, at any address
        page.goto(path.as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"], path.name


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.parametrize("name", LOOKED_AT)
def test_pages_have_no_serious_fault_in_either_scheme_on_either_screen(page: Page, site: Path, name: str) -> None:
    for scheme, screen in (("light", DESKTOP), ("dark", PHONE)):
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size(screen)
        go(page, site, name)
        page.wait_for_function("document.body.dataset.mdColorScheme !== undefined")
        assert page.evaluate("document.body.dataset.mdColorScheme") == {"light": "default", "dark": "slate"}[scheme]
        assert serious(page) == [], scheme
