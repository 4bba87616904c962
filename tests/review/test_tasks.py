"""A section of several tasks: a row for each, means over tasks beside the papers', answers of all together."""

import math
from pathlib import Path

import pytest

from iclgd.report.comparisons import Estimate
from iclgd.review.contents import make_review
from iclgd.review.document import Section, Table
from iclgd.review.few_shot_verdicts import few_shot_verdicts
from iclgd.review.gather import gather
from iclgd.review.settings import settings_of
from iclgd.review.wide_headline import mean_over
from tests.review.charts.reading import charts_below
from tests.review.factory import make_run
from tests.sweeps.conftest import MakeSweep, make_sweep  # noqa: F401

METHODS = ("gradient_descent", "layer_causal")
AOU = "Does in-context learning change attention outputs as finetuning on the demonstrations does?"


def table(section: Section, title: str) -> Table:
    return next(each for each in section.tables if each.title == title)


@pytest.fixture
def section(tmp_path: Path) -> Section:
    """Of SST-2 and MR with both kinds of finetuning; on MR layer-causal updates are no more alike than its control."""
    for task, sim_aou in (("sst2", 0.6), ("mr", 0.8)):
        for method in METHODS:
            control = 0.9 if (task, method) == ("mr", "layer_causal") else 0.2
            summary: dict[str, float | None] = {}
            for name, value in (("sim_aou", sim_aou), ("untrained/sim_aou", control)):
                summary |= {name: value, f"{name}_low": value - 0.03, f"{name}_high": value + 0.04}
            changes = {"task.name": task, "finetune.method": method, "evaluation.controls": ["untrained"]}
            make_run(tmp_path, "embedded", f"{task}-{method}", changes=changes, summary=summary)
    (found,) = make_review([tmp_path]).sections
    return found


def test_each_task_has_its_published_row_and_each_method_its_mean(section: Section) -> None:
    found = section.headline
    rows = {row[0]: dict(zip(found.columns, row, strict=True)) for row in found.rows}
    assert [row[0] for row in found.rows] == [
        *("task=mr, method=gradient_descent", "[Deutch] 32 demonstrations"),
        *("task=mr, method=layer_causal", "[Deutch] 32 demonstrations"),
        *("task=sst2, method=gradient_descent", "[Deutch] 32 demonstrations"),
        *("task=sst2, method=layer_causal", "[Deutch] 32 demonstrations"),
        *("mean of 2 tasks, method=gradient_descent", "[Dai]", "mean of 2 tasks, method=layer_causal"),
    ]
    assert [row[list(found.columns).index("SimAOU")] for row in found.rows if str(row[0]).startswith("[Deutch]")] == [
        *("0.206 - 0.222", "0.321 - 0.334", "0.109 - 0.113", "0.212 - 0.230")
    ]
    assert [row[1] for row in found.rows] == [0.1, 0.003, 0.1, 0.003, 0.1, 0.0005, 0.1, 0.0005, None, None, None]
    assert rows["[Dai]"]["SimAOU"] == 0.186
    mean = rows["mean of 2 tasks, method=gradient_descent"]["SimAOU"]
    assert mean == pytest.approx((0.7, 0.7 - 0.03 / math.sqrt(2), 0.7 + 0.04 / math.sqrt(2)))
    assert "the model is another" in found.note
    assert "commit 1952ce3" in found.note


def test_questions_are_answered_for_all_tasks_of_a_method(section: Section) -> None:
    answers = {verdict.question: verdict for verdict in section.verdicts}
    assert len(answers) == 2 * 4
    plain = answers[f"mean of 2 tasks, method=gradient_descent: {AOU}"]
    assert plain.answer == "like"
    assert "like: mr and sst2. Mean of 2 tasks: SimAOU 0.7000 [" in plain.sentence
    assert "untrained 0.2000 [" in plain.sentence
    causal = answers[f"mean of 2 tasks, method=layer_causal: {AOU}"]
    assert causal.answer == "cannot say"
    assert "not told from its control: mr; like: sst2." in causal.sentence
    assert table(section, "Answers").rows[1][:3] == ["task=mr, method=layer_causal", 1.0, "not told from its control"]
    sentences = table(section, "Verdicts").rows
    assert len(sentences) == 4 * 4
    assert "beside it random updates" in str(sentences[0][3])
    (row,) = (
        row
        for row in table(section, "Beside baselines and controls").rows
        if row[:2] == ["SimAOU", "task=mr, method=layer_causal"]
    )
    assert [each.value for each in (row[2], row[4]) if isinstance(each, Estimate)] == [0.8, 0.9]


def test_what_is_not_there_or_not_finite_has_no_mean() -> None:
    assert mean_over([Estimate(0.5, 0.4, 0.6), None]) is None
    assert mean_over([]) is None
    found = mean_over([Estimate(0.5, 0.4, 0.6), Estimate(math.nan)])
    assert found is not None
    assert all(map(math.isnan, found))


SWEEP = """\
method: grid
metric: {name: sim_aou, goal: maximize}
command: [iclgd, run, configs/text/embedded.yaml, "${args_no_hyphens}"]
parameters:
  task.name: {values: [sst2, mr, cb]}
"""


def test_a_sweep_over_tasks_has_no_best(make_sweep: MakeSweep) -> None:  # noqa: F811
    folder = make_sweep(SWEEP)
    assert make_review([folder.path]).sections[0].verdicts[0].question == "Is the best setting like its runner-up?"
    for place, task in enumerate(("sst2", "mr")):
        make_run(folder.runs, "embedded", folder.run_id(place), changes={"task.name": task})
    (section,) = make_review([folder.path]).sections
    assert section.title == "sweep quick"
    assert {verdict.question.partition(":")[0] for verdict in section.verdicts} == {"mean of 2 tasks"}
    assert section.commands[0].startswith("iclgd sweep ")
    assert len(section.commands) == 3
    assert "3 trials not done yet" in section.left_out


def few_shot(accuracies: list[float]) -> dict[str, float | None]:
    """Return a summary of draws with the given accuracies after 8 demonstrations; 0.5 without any."""
    found: dict[str, float | None] = {}
    for number, values in ((0, [0.5] * len(accuracies)), (2, [0.9] * len(accuracies)), (8, accuracies)):
        name = f"accuracy/{number}_demonstrations"
        mean = sum(values) / len(values)
        found |= {name: mean, f"{name}_low": mean - 0.1, f"{name}_high": mean + 0.1}
        found |= {f"draw_{draw:02d}/{name}": value for draw, value in enumerate(values)}
    return found


@pytest.mark.parametrize(
    ("accuracies", "answer"),
    [
        ([0.7, 0.71, 0.72], "better in context"),
        ([0.3, 0.31, 0.32], "worse in context"),
        ([0.3, 0.71, 0.6], "cannot say"),
        ([0.7, 0.71, math.nan], "cannot say"),
    ],
)
def test_whether_a_model_learns_in_its_context(tmp_path: Path, accuracies: list[float], answer: str) -> None:
    changes = {"demonstrations.num_draws": 3}
    make_run(tmp_path, "few_shot", changes=changes, summary=few_shot(accuracies), predictions=[])
    (setting,) = settings_of(gather([tmp_path]).runs)
    (verdict,) = few_shot_verdicts(setting)
    assert verdict.answer == answer, verdict.sentence
    assert "after 8 demonstrations and 0.500 [0.40, 0.60] without" in verdict.sentence
    assert "over 3 draws" in verdict.sentence


def test_accuracy_has_a_line_over_the_number_of_demonstrations(tmp_path: Path) -> None:
    for task in ("sst2", "mr"):
        changes = {"demonstrations.num_draws": 2, "task.name": task}
        make_run(tmp_path, "few_shot", task, changes=changes, summary=few_shot([0.7, 0.8]), predictions=[])
    charts, _ = charts_below(tmp_path)
    assert "learning_to_learn" not in charts
    (plot,) = charts["accuracy_by_demonstrations"].panels
    assert [line.label for line in plot.series] == ["task=mr", "task=sst2"]  # type: ignore[union-attr]
    line = plot.series[0]  # type: ignore[union-attr]
    assert line.x == ["0", "2", "8"]
    assert [*zip(line.low, line.y, line.high, strict=True)][2] == pytest.approx((0.65, 0.75, 0.85))
    (section,) = make_review([tmp_path]).sections
    assert list(section.headline.columns) == ["setting", "after 0", "after 2", "after 8"]
    assert [row[0] for row in section.headline.rows] == ["task=mr", "task=sst2", "mean of 2 tasks"]
