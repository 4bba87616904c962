"""A review as one HTML file that needs no server and no network.

All that the page runs is written into it: Vega and Vega-Lite (from vl-convert) for figures, and a script of ours. Its
content security policy names these scripts by their hashes, so that nothing else runs and nothing is fetched, whatever
a text of somebody's holds.
"""

import base64
import hashlib
import importlib.util
import json
from collections import Counter
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

from iclgd.checks import InputError
from iclgd.files import write_atomically
from iclgd.review.document import Answer, Cell, Chart, Parallel, Plot, Review, Section, Table
from iclgd.review.page_texts import CELL, LABEL, SENTENCE, short, shown_cell
from iclgd.review.series_styles import Style
from iclgd.review.vega_lite import figure

LIBRARIES = ("jinja2", "vl_convert")
LEAST_FILTERED = 20  # rows of a table that has a filter
MOST_CAPTION = 300  # characters of a figure's text that stand below it unfolded
LONG_TEXT, LONG_WORD = 60, 40  # characters of a cell that needs room, or may be broken anywhere
MOST_COMMANDS = 4  # that are shown unfolded
MOST_COMMAND = 20_000  # characters
MOST_LINES = 200  # of a list of what was left out
ANSWERS: dict[Answer, str] = {  # to classes of the style
    "like": "like",
    "unlike": "unlike",
    "not told from its control": "control",
    "lower perplexity": "like",
    "higher perplexity": "unlike",
    "better in context": "like",
    "worse in context": "unlike",
    "not told from plain": "control",
    "yes": "like",
    "no": "unlike",
    "reproduced": "like",
    "not reproduced": "unlike",
    "cannot say": "unknown",
}
# Vega's symbols, 10 pixels wide.
MARKERS = {
    "circle": "M-4,0a4,4 0 1,0 8,0a4,4 0 1,0 -8,0",
    "square": "M-3.6,-3.6h7.2v7.2h-7.2z",
    "triangle-up": "M0,-4.5l4.6,8h-9.2z",
    "triangle-down": "M0,4.5l4.6,-8h-9.2z",
    "diamond": "M0,-5l4,5l-4,5l-4,-5z",
    "cross": "M-1.5,-4.5h3v3h3v3h-3v3h-3v-3h-3v-3h3z",
}


class _Cell(NamedTuple):
    text: str
    behind: str  # in a lighter colour
    number: float | None
    key: str  # to sort by, where the text is not enough
    kind: str  # class of the style


def check_libraries() -> None:
    """Refuse to begin without the libraries of the ``report`` extra.

    Raises:
        InputError: if one is missing; the message says how to install it.
    """
    missing = [name for name in LIBRARIES if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(f"the page needs {' and '.join(missing)}: pip install 'iclgd[report]'")


def checked_place(path: Path) -> Path:
    """Return where the page is to be written.

    Raises:
        InputError: if it cannot be written there: the folder does not exist, or the path is a folder.
    """
    if path.is_dir():
        raise InputError(f"--out {path}: is a folder; name a file, such as {path / 'report.html'}")
    if not path.parent.is_dir():
        raise InputError(f"--out {path}: there is no folder {path.parent}")
    return path


def write_page(review: Review, path: Path) -> None:
    """Write a review as one HTML file, whole or not at all.

    Args:
        review: what it says.
        path: the file; one that is there is replaced.
    """
    content = to_html(review).encode("utf-8")
    with write_atomically(path) as file:
        file.write(content)


def to_html(review: Review) -> str:
    """Return a review as HTML; the same review gives the same text."""
    from markupsafe import Markup

    sections = [_section(number, section) for number, section in enumerate(review.sections, 1)]
    has_figures = any(section["charts"] for section in sections)
    early, script = (Markup(_file(name)) for name in ("early.js", "page.js"))
    library = Markup(vega()) if has_figures else Markup("")
    hashes = " ".join(_hash(text) for text in (early, library, script) if text)
    return str(
        _template().render(
            title=short(review.title, CELL),
            made=short(review.made, LABEL),
            version=short(review.version, LABEL),
            sources=[short(source, CELL) for source in review.sources],
            sections=sections,
            left_out=_lines(review.left_out),
            tally=_tally(review),
            has_figures=has_figures,
            hashes=Markup(hashes),
            early=early,
            library=library,
            script=script,
            css=Markup(_file("page.css")),
            vega_config=_json(json.loads(_file("vega_config.json"))),
        )
    )


@cache
def vega() -> str:
    """Return Vega, Vega-Lite and Vega-Embed as one script, which takes seconds to put together."""
    import vl_convert

    script = str(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;"))
    return script.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def _section(number: int, section: Section) -> dict[str, Any]:
    return {
        "number": number,
        "title": short(section.title, LABEL) or "(no name)",
        "asked": short(section.asked, SENTENCE),
        "verdicts": [
            {
                "question": short(verdict.question, CELL),
                "answer": verdict.answer,
                "sentence": short(verdict.sentence, SENTENCE),
            }
            for verdict in section.verdicts
        ],
        "answers": Counter(verdict.answer for verdict in section.verdicts),
        "headline": _table(section.headline),
        "charts": [_chart(chart) for chart in section.charts],
        "tables": [_table(table) for table in section.tables],
        "commands": [_command(command) for command in section.commands],
        "environment": [(short(name, LABEL), short(value, SENTENCE)) for name, value in section.environment],
        "left_out": _lines(section.left_out),
        "wandb_runs": [short(name, CELL) for name in section.wandb_runs],
    }


def _table(table: Table) -> dict[str, Any]:
    rows = [[_cell(cell) for cell in row] for row in table.rows]
    numeric = {index for row in rows for index, cell in enumerate(row) if cell.number is not None}
    return {
        "title": short(table.title, CELL),
        "columns": [short(name, LABEL) for name in table.columns],
        "rows": rows,
        "numeric": numeric,
        "note": _capital(short(table.note, SENTENCE)),
    }


def _cell(cell: Cell) -> _Cell:
    text, behind, number = shown_cell(cell)
    is_whole = not behind and number is not None and text == repr(number).removesuffix(".0")
    key = "" if number is None or is_whole else repr(number)
    is_long = len(text) > LONG_TEXT or any(len(word) > LONG_WORD for word in text.split())
    kind = "n" if number is not None else "long" if is_long else ""
    return _Cell(text, behind, number, key.replace("inf", "Infinity"), kind)


def _chart(chart: Chart) -> dict[str, Any]:
    styles, panels = figure(chart)
    return {
        "title": _sentence(short(chart.title, CELL)),
        "text": _capital(short(chart.text, SENTENCE)),
        "legends": _legends(chart, styles, panels),
        "is_wide": any(isinstance(panel, Parallel) for panel in chart.panels),
        "panels": panels,
        "json": _json(panels),
    }


def _legends(chart: Chart, styles: Sequence[Style], panels: Sequence[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Return legends: first one for the figure, if it does for all panels; then one for each panel."""
    legends: list[list[dict[str, Any]]] = []
    for panel, drawn in zip(chart.panels, panels, strict=True):
        entries = {}
        if isinstance(panel, Plot):
            for series, data in zip(panel.series, drawn["series"], strict=True):
                sign = "bar" if panel.bars else "line" if series.joined else "points"
                entries[data["s"]] = {"place": data["s"], "sign": sign, **styles[data["s"]]._asdict()}
        legends.append(list(entries.values()) if len(entries) > 1 else [])
    largest = max(legends, key=len, default=[])
    known = {entry["place"] for entry in largest}
    if len(legends) > 1 and all({entry["place"] for entry in legend} <= known for legend in legends):
        return [largest, *([] for _ in legends)]
    return [[], *legends]


def _command(command: str) -> str:
    """Return a command that can be copied; only characters that a page cannot hold are written as escapes."""
    return "\n".join(short(line, MOST_COMMAND) for line in command.split("\n"))


def _lines(lines: Any) -> list[str]:
    shown = [short(line, SENTENCE) for line in lines[:MOST_LINES]]
    return [*shown, f"and {len(lines) - MOST_LINES} more"] if len(lines) > MOST_LINES else shown


def _tally(review: Review) -> str:
    """Return how many questions have which answer."""
    answers = Counter(verdict.answer for section in review.sections for verdict in section.verdicts)
    number, questions = len(review.sections), answers.total()
    parts = [f"{answers[answer]} {answer}" for answer in ANSWERS if answers[answer]]
    groups = f"{number} group{'s' if number != 1 else ''} of runs"
    return (
        f"{groups}, {questions} question{'s' if questions != 1 else ''}: {', '.join(parts)}." if parts else f"{groups}."
    )


def _capital(text: str) -> str:
    """Return a text that begins with a capital, unless its first word is a name of ours, such as one_layer."""
    word = text.split(" ", 1)[0].rstrip(",:;.")
    return text[:1].upper() + text[1:] if word.isalpha() else text


def _sentence(title: str) -> str:
    title = _capital(title)
    return title if title.endswith((".", "?", "!", ":")) else f"{title}."


def _json(content: Any) -> Any:
    """Return JSON that may stand in a script element: in it, ``<`` is no markup."""
    from markupsafe import Markup

    text = json.dumps(content, separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("<", "\\u003c"))


def _hash(script: str) -> str:
    digest = hashlib.sha256(script.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"


def _file(name: str) -> str:
    return (files("iclgd.review") / "page_files" / name).read_text(encoding="utf-8")


def _template() -> Any:
    from jinja2 import DictLoader, Environment, StrictUndefined

    environment = Environment(
        loader=DictLoader({"page": _file("page.html.j2")}),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(
        answer_classes=ANSWERS, markers=MARKERS, least_filtered=LEAST_FILTERED, most_commands=MOST_COMMANDS
    )
    environment.globals.update(most_caption=MOST_CAPTION)
    return environment.get_template("page")
