"""What users wrote, shown as it is: read by another Markdown parser."""

import math
from html.parser import HTMLParser

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from iclgd.report.comparisons import Estimate
from iclgd.review.document import Table
from iclgd.review.markdown import MOST_CHARACTERS_OF_CELL, MOST_ROWS, in_markdown, markdown_table, plain

HOSTILE = [
    "<script>alert(1)</script>",
    "a|b||c",
    "`code` ``x``",
    "![x](javascript:alert(1)) [y](http://z) <http://z> x@y.org",
    "two\nlines\r\n\r\n# heading\n- item",
    "*bold* _it_ ~~no~~ $x^2$ \\$ \\",
    "\"quoted\" & 'single' &lt;b&gt; &#60;",
    "\u202eright to left\u2066",
    "עברית",
    "\x1b[2J\x00\x07",
    "- item",
    "    code",
    "x" * 10_000,
]


class Read(HTMLParser):
    """Collects the tags and, of each cell, the text."""

    def __init__(self, markdown: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.cells: list[str] = []
        self._is_in_cell = False
        self.feed(MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(markdown))

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.add(tag)
        if tag in ("td", "th"):
            self.cells.append("")
            self._is_in_cell = True

    def handle_endtag(self, tag: str) -> None:
        self._is_in_cell = self._is_in_cell and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self._is_in_cell:
            self.cells[-1] += data


TABLE_TAGS = {"table", "thead", "tbody", "tr", "th", "td"}


def test_texts_of_users_are_no_markup() -> None:
    rows = [[text, text] for text in HOSTILE]
    read = Read(markdown_table(Table("", ["first|*", "<b>"], rows)))
    assert read.tags == TABLE_TAGS
    assert read.cells == ["first|*", "<b>", *(plain(text, MOST_CHARACTERS_OF_CELL) for row in rows for text in row)]
    assert max(map(len, read.cells)) < 2 * MOST_CHARACTERS_OF_CELL
    assert not any("\u202e" in cell or "\x1b" in cell for cell in read.cells)
    around = markdown_table(Table("<b>title</b>", [], [], note="<i>note</i> - *x*"))
    assert Read(around).tags == {"p", "strong"}


@given(st.text(max_size=60))
@example("- ")
@example("-")
@example("\\|")
def test_any_text_is_read_as_it_is(text: str) -> None:
    read = Read(markdown_table(Table("", ["a", "b"], [[text, "end"]])))
    assert read.tags == TABLE_TAGS
    assert read.cells == ["a", "b", plain(text), "end"]


@pytest.mark.parametrize("text", ["# x", "- x", "+ x", "> x", "***", "---", "===", "<div>", "[a]: http://b"])
def test_a_line_that_begins_with_markup_is_a_paragraph(text: str) -> None:
    assert Read(in_markdown(text)).tags == {"p"}


def test_tables_say_what_is_not_there_and_what_is_not_defined() -> None:
    rows = [[None, math.nan, Estimate(math.nan), math.inf, Estimate(0.5, 0.25, 0.75), -0.25, 3, 1e20]]
    cells = Read(markdown_table(Table("", [str(number) for number in range(8)], rows))).cells[8:]
    assert cells == ["", "NaN", "NaN", "∞", "0.500 [0.25, 0.75]", "-0.25", "3", "1e+20"]
    long = markdown_table(Table("", ["a"], [[str(number)] for number in range(MOST_ROWS + 7)], note="known"))
    assert long.endswith("\n\nknown\n\n7 more rows are left out here.")
    assert len(Read(long).cells) == 1 + MOST_ROWS
