"""The page without a browser: what is in it, and what is not."""

import base64
import hashlib
import importlib.util
import json
import math
import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import altair
import jsonschema
import pytest

from iclgd.checks import InputError
from iclgd.review import page
from iclgd.review.document import Axis, Chart, HeatMap, Mark, Parallel, Plot, Review, Section, Series, Table
from iclgd.review.page_texts import shown_cell
from iclgd.review.series_styles import OF_ROLE, series_styles
from iclgd.review.vega_lite import figure
from tests.review import example

VOID = {"meta", "link", "input", "path", "rect", "line"}
STAND_IN = "window.vegaEmbed = null;"  # Vega itself takes seconds to put together; the tests in a browser have it


class Reader(HTMLParser):
    """What a page holds: elements with their attributes, and the text within each kind of element."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert not self._open, self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)
            self.texts.append((tag, ""))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append((self._open[-1] if self._open else "", data))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def text(self, tag: str) -> str:
        return "\n".join(text for name, text in self.texts if name == tag)


@pytest.fixture(autouse=True)
def _stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "vega", lambda: STAND_IN)


@pytest.fixture(scope="module")
def html() -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page, "vega", lambda: STAND_IN)
        return page.to_html(example.review())


@pytest.fixture(scope="module")
def hostile() -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page, "vega", lambda: STAND_IN)
        return page.to_html(example.hostile())


def scripts(html: str) -> list[str]:
    return re.findall(r"<script>(.*?)</script>", html, re.DOTALL)


def test_texts_of_strangers_are_texts(hostile: str) -> None:
    read = Reader(hostile)
    tags = Counter(tag for tag, _ in read.elements)
    assert tags["img"] == 0
    assert len(scripts(hostile)) == 3
    data = [attributes for attributes in read.all("script") if attributes]
    assert {attributes["type"] for attributes in data} == {"application/json"}
    assert len(data) == 1 + 5  # the look of figures, and five figures
    assert not [name for _, attributes in read.elements for name in attributes if name.startswith("on")]
    assert read.text("h1") == f"\n{example.HOSTILE}"
    assert example.HOSTILE in read.text("th")
    assert "49" not in read.text("h2")


def test_texts_are_shown_in_one_line_and_no_longer_than_a_reader_needs(hostile: str) -> None:
    text = Reader(hostile).text("td") + Reader(hostile).text("h2") + Reader(hostile).text("p")
    assert "bell\\x07 escape\\x1b[2J nul\\x00 half\\udc80" in text
    assert "مرحبا بالعالم \\u202etxt.exe" in text
    assert not re.search("[\x00-\x08\x1b\u202e]", hostile)
    assert "characters left out" in text
    assert hostile.count("ab ab ab ab") < 20_000


def test_commands_are_whole() -> None:
    command = "iclgd run one_layer 'tracking.notes=" + "x y " * 2000 + "\n<b>'"
    section = replace(example.one_layer(), commands=[command], charts=[])
    assert command in Reader(page.to_html(Review("", "", "", [section]))).text("code")


def test_only_the_scripts_of_the_page_may_run(html: str) -> None:
    (policy,) = (
        meta["content"] for meta in Reader(html).all("meta") if meta.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy is not None
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in scripts(html)]
    assert rules["script-src"].split() == [f"'sha256-{each}'" for each in hashes]
    assert set(rules) == {"default-src", "script-src", "style-src", "base-uri", "form-action"}


@pytest.mark.parametrize("which", ["html", "hostile"])
def test_nothing_is_fetched(which: str, request: pytest.FixtureRequest) -> None:
    text = request.getfixturevalue(which)
    read = Reader(text)
    assert {tag for tag, _ in read.elements}.isdisjoint({"link", "iframe", "object", "embed", "base", "form"})
    targets = [
        value or "" for _, attributes in read.elements for name, value in attributes.items() if name in ("href", "src")
    ]
    assert targets
    assert all(target.startswith("#") for target in targets)
    assert not re.search(r"https?://|url\(|@import", text)


def test_the_same_review_gives_the_same_page(html: str) -> None:
    assert page.to_html(example.review()) == html


def test_structure(html: str) -> None:
    read = Reader(html)
    assert read.all("html") == [{"lang": "en"}]
    levels = [int(tag[1]) for tag, _ in read.elements if re.fullmatch("h[1-6]", tag)]
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    ids = [attributes["id"] for _, attributes in read.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    named = [
        name
        for _, attributes in read.elements
        for kind in ("aria-labelledby", "aria-describedby", "data-section")
        for name in (attributes.get(kind) or "").split()
    ]
    assert set(named) <= set(ids)
    assert {(a["href"] or "").removeprefix("#") for a in read.all("a")} <= set(ids)
    assert all(attributes.get("scope") for attributes in read.all("th"))
    assert len(read.all("figure")) == len(read.all("figcaption")) == 7


def test_what_the_review_says_is_there(html: str) -> None:
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", re.sub(r"(?s)<(script|style).*?</\1>", "", html)))
    review = example.review()
    for section in review.sections:
        said = [section.title, section.asked, *section.commands, *section.left_out, *section.wandb_runs]
        said += [each for verdict in section.verdicts for each in (verdict.question, verdict.answer, verdict.sentence)]
        said += [each for chart in section.charts for each in (chart.title, chart.text)]
        said += [name for table in (section.headline, *section.tables) for name in (table.title, *table.columns)]
        said += [each for pair in section.environment for each in pair]
        for each in said:
            assert re.sub(r"\s+", " ", page_escape(each)) in text, each
    assert "3 groups of runs, 4 questions: 1 like, 1 unlike, 1 not told from its control, 1 cannot say." in text
    assert "runs/broken: config.yaml cannot be read" in text


def page_escape(text: str) -> str:
    from markupsafe import escape

    return str(escape(text))


def test_no_runs_make_a_page_that_says_so() -> None:
    html = page.to_html(Review("Nothing", "2026-01-31 12:00", "0.1.0", [], ["runs/a: no config.yaml"], ["runs"]))
    assert "No runs" in Reader(html).text("h2")
    assert "runs/a: no config.yaml" in Reader(html).text("li")
    assert STAND_IN not in html  # no figures, no library


def test_a_page_of_many_runs_is_small() -> None:
    assert len(page.to_html(example.large(200)).encode()) < 4e6  # and Vega has less than 1e6 (test_browser)


def test_cells_sort_by_the_number_behind_the_text() -> None:
    table = Table("t", ["a", "b"], [["x", 0.123456], ["y", math.nan], ["z", 2.0], ["u", -math.inf], ["v", None]])
    section = Section("s", "", [], table)
    cells = Reader(page.to_html(Review("", "", "", [section]))).all("td")
    assert cells == [
        {"class": "n", "data-v": "0.123456"},
        {"class": "n", "data-v": "nan"},
        {"class": "n"},
        {"class": "n", "data-v": "-Infinity"},
        {},
    ]
    assert [shown_cell(cell[1])[0] for cell in table.rows] == ["0.1235", "NaN", "2", "-∞", ""]


def test_specifications_are_of_vega_lite_s_schema() -> None:
    charts = [chart for section in example.review().sections for chart in section.charts]
    specs = [panel["spec"] for chart in charts for panel in figure(chart).panels if panel["spec"] is not None]
    assert len(specs) == 9
    schema = altair.load_schema()
    wanted = {"$ref": "#/definitions/TopLevelLayerSpec", "definitions": schema["definitions"]}
    validator = jsonschema.validators.validator_for(schema)(wanted)
    assert all(validator.is_valid(spec) for spec in specs)
    assert not validator.is_valid({**specs[0], "height": "tall"})


def test_numbers_that_cannot_be_drawn_are_left_out() -> None:
    series = Series("a", [1.0, 2.0, 3.0, 4.0], [1.0, math.nan, -2.0, None], [0.5, 1, 1, 1], [2.0, math.inf, 1, 1])
    chart = Chart("c", "t", [Plot("", Axis("x"), Axis("y", True), [series])], "")
    (panel,) = figure(chart).panels
    assert panel["series"][0]["y"] == [1.0, None, None, None]
    assert panel["series"][0]["high"] == [2.0, None, 1.0, 1.0]
    json.dumps(panel, allow_nan=False)


def test_a_band_below_a_logarithmic_axis_leaves_it() -> None:
    series = Series("a", [1.0, 2.0], [1.0, 2.0], [0.5, -1.0], [2.0, 3.0])
    (panel,) = figure(Chart("c", "t", [Plot("", Axis("x"), Axis("y", True), [series])], "")).panels
    low = panel["series"][0]["low"]
    line = next(layer for layer in panel["spec"]["layer"] if layer["mark"]["type"] == "line")
    domain = line["encoding"]["y"]["scale"]["domain"]
    assert low[0] == 0.5
    assert 0 < low[1] < domain[0] / 1000
    assert domain == [pytest.approx(1 / 1.4), pytest.approx(2.8)]  # as wide as the means, not as their bands


@pytest.mark.parametrize(
    "panel",
    [
        Plot("", Axis("x"), Axis("y"), [Series("a", [1.0], [math.nan])], [Mark(math.nan, "m")]),
        HeatMap("", ["a"], ["b"], [[None]]),
        HeatMap("", [], [], []),
        Parallel("", ["a", "b"], [[1.0, None], ["x", math.nan]]),
        Parallel("", [], []),
    ],
)
def test_a_panel_without_numbers_says_so(panel: Plot | HeatMap | Parallel) -> None:
    chart = Chart("c", "t", [panel], "")
    assert figure(chart).panels[0]["spec"] is None
    html = page.to_html(Review("", "", "", [Section("s", "", [], Table("", ["a"], []), [chart])]))
    assert "There is no finite number to draw." in html


def test_parallel_coordinates_place_numbers_as_numbers() -> None:
    rows = [[0.1, "10", 3.0], [0.001, "9", math.nan], [0.01, "9", 1.0]]
    (panel,) = figure(Chart("c", "t", [Parallel("", ["rate", "size", "loss"], rows)], "")).panels
    assert panel["places"] == [[1.0, 0.75, 1.0], [0.0, 0.25, None], [0.5, 0.25, 0.0]]  # rates by their logarithm
    assert panel["metric"] == [4, -1, 0]


def test_series_of_one_panel_all_look_different() -> None:
    keys = [(f"{role} {number}", role) for role in OF_ROLE for number in range(5)]
    styles = series_styles([keys])
    assert len({(style.colour, style.dashes, style.marker) for style in styles.values()}) == len(keys)


def test_a_page_replaces_the_one_before_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "report.html"
    place.write_text("before")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(OSError, match="No space left"):
            page.write_page(example.review(), place)
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    assert place.read_text() == "before"
    page.write_page(example.review(), place)
    assert place.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_what_the_page_needs_is_checked_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    page.check_libraries()
    with pytest.raises(InputError, match=r"--out .*: is a folder; name a file, such as .*report.html"):
        page.checked_place(tmp_path)
    with pytest.raises(InputError, match=r"--out .*: there is no folder .*missing"):
        page.checked_place(tmp_path / "missing" / "report.html")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=re.escape("pip install 'iclgd[report]'")):
        page.check_libraries()
