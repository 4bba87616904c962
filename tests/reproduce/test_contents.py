import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from iclgd.reproduce.contents import make_review, open_lines, terminal_table
from iclgd.reproduce.paper import read
from iclgd.reproduce.plan import Options
from iclgd.reproduce.reproduction import Reproduction, write_verdicts
from iclgd.reproduce.verdicts import Evidence
from iclgd.review.document import Plot
from iclgd.review.page import to_html
from tests.reproduce.toy import PAPER, evidence, write_paper

NUMBERS = [{"loss/transformer": 0.3 + 0.001 * seed, "loss/gd": 0.2} for seed in range(3)]  # far from GD


@pytest.fixture
def reproduction(tmp_path: Path) -> Reproduction:
    paper = read(write_paper(tmp_path, PAPER.replace("A layer is GD.", "A <b>layer</b> is GD.")))
    found = evidence(tmp_path / "runs", NUMBERS)
    return Reproduction(paper, paper.plan(True, []), Options(overrides=("seed=1",)), {"runs": found})


def test_the_page_has_a_section_for_each_figure_with_ours_beside_the_printed(reproduction: Reproduction) -> None:
    review = make_review(reproduction, "iclgd reproduce toy --quick", Path("runs/reproduce/toy"))
    overview, figure = review.sections
    assert [row[:3] for row in overview.headline.rows] == [
        ["Figure 1", "A <b>layer</b> is GD.", "not reproduced"],
        ["Figure 1", "It is alike.", "reproduced"],
    ]
    assert "seed=1" in overview.asked
    assert overview.tables[0].rows == [["Much."]]
    assert figure.title == "Figure 1: A layer"
    assert [verdict.answer for verdict in figure.verdicts] == ["not reproduced", "reproduced"]
    beside = figure.charts[0]
    ratios = beside.panels[0]
    assert isinstance(ratios, Plot)
    ours, printed = ratios.series
    assert (ours.x, printed.x, printed.y) == (["same_loss"], ["same_loss"], [1.0026])
    assert ours.y[0] == pytest.approx(1.505)
    assert [mark.at for mark in ratios.marks] == [0.95, 1.05]
    assert {"learning_curve", "alignment_gd"} <= {chart.name for chart in figure.charts}
    html = to_html(review)
    assert "<b>layer</b>" not in html
    assert "not reproduced" in html
    assert "1 reproduced, 1 not reproduced" in html


def test_a_figure_draws_the_charts_that_it_names_and_says_which_there_are_not(reproduction: Reproduction) -> None:
    figures = [replace(reproduction.paper.figures[0], charts=["learning_curve", "iterated"])]
    review = make_review(
        replace(reproduction, paper=replace(reproduction.paper, figures=figures)), "command", Path("folder")
    )
    assert [chart.name for chart in review.sections[1].charts] == ["beside_printed", "learning_curve"]
    assert "figure iterated: these runs have none" in review.sections[1].left_out


@pytest.mark.parametrize("found", [{}, {"runs": Evidence(problem="no space")}])
def test_a_page_without_runs_says_why(reproduction: Reproduction, found: dict[str, Evidence]) -> None:
    review = make_review(replace(reproduction, evidence=found), "command", Path("folder"))
    assert {verdict.answer for verdict in review.sections[1].verdicts} == {"cannot say"}
    assert not review.sections[1].charts
    assert "cannot say" in to_html(review)


def test_the_terminal_shows_claims_with_numbers_and_bounds(reproduction: Reproduction) -> None:
    text = io.StringIO()
    Console(file=text, width=200).print(terminal_table(reproduction))
    shown = text.getvalue()
    assert "not reproduced" in shown
    assert "1.5050 [1.493," in shown
    assert "≥ 0.95, ≤ 1.05" in shown
    assert open_lines(reproduction) == []
    lines = open_lines(replace(reproduction, evidence={"runs": Evidence(problem="no space")}))
    assert lines[0] == "cannot say same_loss: its runs were not made: no space"


def test_verdicts_are_plain_data(reproduction: Reproduction, tmp_path: Path) -> None:
    content = json.loads(write_verdicts(reproduction, tmp_path).read_text())
    (figure,) = content["figures"]
    first, second = figure["claims"]
    assert (content["paper"], content["plan"], content["overrides"]) == ("toy", "quick", ["seed=1"])
    assert (first["claim"], first["verdict"], second["verdict"]) == ("same_loss", "not reproduced", "reproduced")
    assert first["bounds"] == {"at_least": 0.95, "at_most": 1.05}
    assert first["low"] < first["value"] < first["high"]
    assert first["runs"] == ["abc-0000", "abc-0001", "abc-0002"]
    assert first["repetitions"] == 3


def test_runs_that_failed_are_told(reproduction: Reproduction) -> None:
    assert not reproduction.has_failed
    rows = reproduction.evidence["runs"].rows
    failed = Evidence([*rows[1:], replace(rows[0], state="failed")], reproduction.evidence["runs"].runs)
    assert replace(reproduction, evidence={"runs": failed}).has_failed
    assert replace(reproduction, evidence={"runs": Evidence(problem="no space")}).has_failed
