from pathlib import Path

import pytest

from iclgd.files import FileError
from iclgd.reproduce.paper import Claim, PaperError, read
from iclgd.shipped import names
from tests.reproduce.toy import PAPER, write_paper


def test_papers_that_ship_can_be_read_and_have_a_quick_plan_and_a_full_one() -> None:
    papers = {name: read(path) for name, path in names("paper").items()}
    assert {"vonoswald2023", "dai2023", "deutch2024"} <= papers.keys()
    for name, paper in papers.items():
        assert paper.name == name
        assert paper.plan(True, []).cannot_show
        assert not paper.plan(False, []).quick


def test_the_plan_is_that_of_the_given_keys() -> None:
    dai = read(names("paper")["dai2023"])
    assert dai.plan(True, []).name == "quick"
    assert dai.plan(True, ["task.num_queries=4"]).name == "quick"
    assert dai.plan(True, ["model.name=gpt2"]).name == "own_model_quick"
    assert dai.plan(False, ["model.name=gpt2", "task.data_dir=data"]).name == "own_model"


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("title: A toy\n", "", "title: is missing"),
        ("title:", "titel:", "unknown key titel; did you mean title?"),
        ("cpu_minutes: 90", "cpu_minutes: soon", r"plans\[0\].sweeps\[0\].cpu_minutes must be a number, got 'soon'"),
        ("cpu_minutes: 90", "cpu_minutes: -1", "minutes must be positive numbers"),
        ("        at_least: 0.98\n", "", "claim alike: needs a bound"),
        ("at_least: 0.98", "at_least: nan", "claim alike: a bound must be a number"),
        ("at_least: 0.98", "take: lasst\n        at_least: 0.98", "take must be one of: last, farthest; .* mean last"),
        ("name: alike", "name: same_loss", "two claims are called same_loss"),
        ("sweep: runs\n        value: align", "sweep: run\n        value: align", "no plan has a sweep 'run'; did you"),
        ("name: runs, cpu_minutes: 90", "name: walks, cpu_minutes: 90", "sweep walks: no such file"),
        ("over: loss/gd", "over: loss/gd\n        minus: loss/gd", "over and minus must not both be given"),
        ("over: loss/gd", "over: loss/gd\n        tuned: seed", "tuned and tuned_by go together"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_file(tmp_path: Path, before: str, after: str, message: str) -> None:
    assert before in PAPER
    path = write_paper(tmp_path, PAPER.replace(before, after))
    with pytest.raises(PaperError, match=message) as refused:
        read(path)
    assert str(refused.value).startswith(f"{path}: ")
    assert "\n" not in str(refused.value)


def test_a_paper_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="no such file"):
        read(tmp_path / "toy.yaml")


def test_a_paper_without_a_quick_plan(tmp_path: Path) -> None:
    paper = read(write_paper(tmp_path, PAPER.replace("quick: true", "quick: false")))
    with pytest.raises(PaperError, match="toy: has no quick plan"):
        paper.plan(True, [])


def test_what_is_printed_is_a_number_a_range_or_a_text() -> None:
    printed = [
        Claim("a", "A.", "runs", "loss", at_most=1, printed=text).printed_numbers
        for text in ("0.5", "0.1 - 0.2", "much", None)
    ]
    assert printed == [[0.5], [0.1, 0.2], [], []]
