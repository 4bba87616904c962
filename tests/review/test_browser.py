"""The page in a real browser: what is drawn, and what answers to mouse, keyboard and screen readers."""

import math
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

from iclgd.review.page import vega, write_page
from tests.conftest import CHROMIUM
from tests.review import example

pytestmark = pytest.mark.browser
OPTIONS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
DRAW_ALL = """async () => {
    for (const plot of document.querySelectorAll(".plot")) {
        plot.scrollIntoView();
        while (!plot.dataset.drawn) await new Promise((resolve) => setTimeout(resolve, 20));
    }
    scrollTo(0, 0);
}"""
BACKGROUND = "getComputedStyle(document.body).backgroundColor"
PLOT = "document.querySelectorAll('#figure-1-1 .plot')[0]"


class Tab:
    """A page of one review, opened once and drawn to its end.

    Attributes:
        page: on a desktop, in the light.
        wrong: what has gone wrong in it: errors, dialogs, requests.
        num_drawn_at_first: figures, before anything has been scrolled.
    """

    def __init__(self, browser: Browser, path: Path) -> None:
        context = browser.new_context(viewport=DESKTOP, reduced_motion="reduce", color_scheme="light")
        self.page, self.wrong = context.new_page(), list[str]()
        self.page.set_default_timeout(15_000)
        self.page.on("console", lambda message: self.wrong.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("dialog", lambda dialog: self.wrong.append(dialog.message))
        self.page.on(
            "request", lambda request: self.wrong.append(request.url) if request.url != path.as_uri() else None
        )
        self.page.goto(path.as_uri())
        self.page.wait_for_selector(".plot[data-drawn]")
        self.num_drawn_at_first = self.page.locator(".plot[data-drawn]").count()
        self.page.evaluate(DRAW_ALL)

    def _note(self, requested: str, path: Path) -> None:
        if requested != path.as_uri():
            self.wrong.append(f"request: {requested}")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def tabs(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tab]:
    folder = tmp_path_factory.mktemp("pages")
    reviews = {"review": example.review(), "hostile": example.hostile()}
    for name, review in reviews.items():
        write_page(review, folder / f"{name}.html")
    return {name: Tab(browser, folder / f"{name}.html") for name in reviews}


@pytest.fixture
def page(tabs: dict[str, Tab]) -> Iterator[Page]:
    """The page of a review, as the test before has left it; nothing may go wrong in it."""
    yield tabs["review"].page
    assert tabs["review"].wrong == []


def until(page: Page, condition: str) -> None:
    """Wait for a condition; the page's own policy forbids Playwright to put it in there and wait itself."""
    end = time.monotonic() + 15
    while not page.evaluate(condition):
        assert time.monotonic() < end, condition
        page.wait_for_timeout(20)


def serious(page: Page) -> list[str]:
    found = Axe().run(page, options={"resultTypes": ["violations"], "preload": False}).response["violations"]
    return [
        f"{each['id']}: {node['html'][:200]}"
        for each in found
        for node in each["nodes"]
        if each["impact"] in ("serious", "critical")
    ]


def column(page: Page, table: str, number: int) -> list[str]:
    cells = page.locator(f"[aria-labelledby={table}] tbody tr:not([hidden]) > :nth-child({number})")
    return [text.split(" [")[0] for text in cells.all_inner_texts()]


def test_the_library_leaves_room_for_the_review() -> None:
    assert len(vega().encode()) < 1e6  # with test_a_page_of_many_runs_is_small: under 5 MB for 200 runs


@pytest.mark.parametrize(("name", "number"), [("review", 9), ("hostile", 20)])
def test_every_figure_is_drawn(tabs: dict[str, Tab], name: str, number: int) -> None:
    tab = tabs[name]
    assert 0 < tab.num_drawn_at_first < number  # those far below wait
    marks = tab.page.eval_on_selector_all(
        ".plot", "plots => plots.map((plot) => plot.querySelectorAll('svg .role-mark :is(path[d], line)').length)"
    )
    assert len(marks) == number
    assert all(marks)
    assert tab.wrong == []


def test_paper_has_all_figures_and_the_environment(page: Page) -> None:
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    until(page, "document.querySelectorAll('.plot').length === document.querySelectorAll('.plot svg').length")
    page.emulate_media(media="print")
    assert page.locator("dl.environment").is_visible()
    assert not page.locator(".contents input").is_visible()
    table = page.locator(".scroll").nth(1)
    assert table.evaluate("element => element.scrollHeight <= element.clientHeight + 1")  # none of it is cut
    assert table.evaluate("element => getComputedStyle(element).color") == "rgb(27, 27, 27)"
    page.emulate_media(media="screen")
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert not page.locator("dl.environment").is_visible()


def test_paper_waits_for_no_scrolling(tabs: dict[str, Tab]) -> None:
    page = tabs["review"].page
    page.reload()
    page.pdf()  # as a reader prints who has not scrolled
    assert page.locator(".plot:not([data-drawn])").count() == 0


def test_tables_sort_by_mouse_and_by_keyboard(page: Page) -> None:
    head = page.locator("[aria-labelledby=table-1-2] thead th")
    head.nth(1).get_by_role("button").click()
    assert head.nth(1).get_attribute("aria-sort") == "ascending"
    seeds = [float(text) for text in column(page, "table-1-2", 2)]
    assert seeds == sorted(seeds)
    head.nth(2).get_by_role("button").focus()
    page.keyboard.press("Enter")
    losses = [float(text) for text in column(page, "table-1-2", 3)]
    finite = [value for value in losses if not math.isnan(value)]
    assert len(losses) == 24
    assert len(finite) == 21
    assert losses[:21] == finite == sorted(finite)  # NaN last
    page.keyboard.press("Space")
    assert head.nth(2).get_attribute("aria-sort") == "descending"
    assert head.nth(1).get_attribute("aria-sort") is None
    falling = [float(text) for text in column(page, "table-1-2", 3)]
    assert falling[:21] == finite[::-1]
    head.nth(3).get_by_role("button").click()
    speeds = column(page, "table-1-2", 4)
    assert speeds[-4:] == [""] * 4  # nothing last
    assert [float(text) for text in speeds[:20]] == sorted(float(text) for text in speeds[:20])


def test_rows_and_groups_are_filtered(page: Page) -> None:
    box = page.get_by_label("Filter the rows of table 1.2")
    box.press_sequentially("FAILED 0000")
    assert column(page, "table-1-2", 5) == ["failed"] * 8
    assert page.locator(".table .filter output").inner_text() == "8 of 24 rows"
    box.fill("")
    assert len(column(page, "table-1-2", 5)) == 24
    page.get_by_label("Filter the groups of this page").fill("cannot say")
    assert page.locator("section.group[id]:visible h2").all_inner_texts() == ["3sweeps/rates"]
    assert page.locator(".contents li:visible").count() == 1
    page.get_by_label("Filter the groups of this page").fill("")
    assert page.locator("section.group[id]:visible").count() == 3


def test_series_hide_and_come_back_by_keyboard(page: Page) -> None:
    lines = page.locator("#figure-1-1 .plot").nth(0).locator(".mark-line path")
    assert lines.count() == 4
    button = page.locator("#figure-1-1 .legend button").nth(1)
    button.focus()
    page.keyboard.press("Enter")
    assert button.get_attribute("aria-pressed") == "false"
    until(page, f"{PLOT}.querySelectorAll('.mark-line path').length == 3")
    page.keyboard.press("Enter")
    until(page, f"{PLOT}.querySelectorAll('.mark-line path').length == 4")
    assert button.get_attribute("aria-pressed") == "true"


def test_a_figure_is_enlarged_and_reset(page: Page) -> None:
    plot = page.locator("#figure-1-2 .plot")
    before = plot.locator(".role-axis text").all_inner_texts()
    reset = page.get_by_role("button", name="Reset zoom").nth(2)
    assert reset.is_disabled()
    page.get_by_role("button", name="Zoom in").nth(2).click()
    until(page, "![...document.querySelectorAll('.panel-tools')][2].lastChild.disabled")
    assert plot.locator(".role-axis text").all_inner_texts() != before
    reset.click()
    until(page, "[...document.querySelectorAll('.panel-tools')][2].lastChild.disabled")
    assert plot.locator(".role-axis text").all_inner_texts() == before


def test_a_mark_under_the_pointer_tells_its_numbers(page: Page) -> None:
    page.locator("#figure-2-1 .plot").nth(1).locator("path[aria-roledescription=bar], .mark-rect path").nth(0).hover()
    page.wait_for_selector("#vg-tooltip-element.visible")
    text = page.locator("#vg-tooltip-element").inner_text()
    assert "in-context" in text
    assert "0.6" in text


def test_the_numbers_of_a_figure_are_a_table(page: Page) -> None:
    page.get_by_text("Figure 1.2 in numbers").click()
    rows = page.locator("#figure-1-2 .numbers tbody tr")
    rows.first.wait_for()
    assert rows.count() == 11
    assert rows.nth(4).locator("td").all_inner_texts() == ["trained transformer", "3", "90", "40", "150"]


def test_axe_finds_nothing_serious_in_light_and_dark(page: Page) -> None:
    page.evaluate("for (const each of document.querySelectorAll('details.printed')) each.open = true")
    assert serious(page) == []
    page.get_by_role("button", name="Dark").click()
    assert page.evaluate(BACKGROUND) == "rgb(22, 24, 27)"
    assert serious(page) == []
    page.get_by_role("button", name="Light").click()
    assert page.evaluate(BACKGROUND) == "rgb(255, 255, 255)"


def test_the_system_s_dark_is_followed_and_the_button_wins(page: Page) -> None:
    page.evaluate("localStorage.clear()")
    page.emulate_media(color_scheme="dark")
    page.reload()
    assert page.evaluate(BACKGROUND) == "rgb(22, 24, 27)"
    page.get_by_role("button", name="Light").click()
    page.reload()
    assert page.evaluate(BACKGROUND) == "rgb(255, 255, 255)"
    page.evaluate("localStorage.clear()")


@pytest.mark.parametrize("name", ["review", "hostile"])
def test_a_phone_shows_all_and_axe_agrees(tabs: dict[str, Tab], name: str) -> None:
    page = tabs[name].page
    page.set_viewport_size(PHONE)
    until(page, "innerWidth === 390")
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert serious(page) == []
    assert tabs[name].wrong == []
