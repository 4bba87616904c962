"""The chart and the verdict of runs over the number of pretraining tasks."""

from pathlib import Path

import pytest

from iclgd.review.gather import ReviewedRun
from iclgd.review.task_diversity import diversity_charts, diversity_verdicts
from iclgd.runs.records import find_records
from tests.report.test_function_analysis_figures import model
from tests.review.factory import make_run

NUMBERS = (4, 64, 1024)


def runs(root: Path, distances: dict[int, tuple[float, float]], **changes: object) -> list[ReviewedRun]:
    for number, (ridge, dmmse) in distances.items():
        values = {"task.num_tasks": number, **changes}
        summary = dict(model(number, 0, ridge, dmmse).summary)
        make_run(root, "task_diversity_small", f"20260101-000000-{number:06}", changes=values, summary=summary)
    return [ReviewedRun(record) for record in find_records([root])[0]]


def test_runs_over_tasks_have_a_chart_and_a_verdict(tmp_path: Path) -> None:
    found = runs(tmp_path, {number: (8 / number, number / 512) for number in NUMBERS})
    (verdict,), (chart,) = diversity_verdicts(found), diversity_charts(found)
    assert verdict.answer == "yes"
    assert "as near to ridge as to dMMSE at 64 tasks" in verdict.sentence
    assert chart.text == verdict.sentence
    assert [panel.title for panel in chart.panels] == ["functions of the pool", "new functions"] * 2
    assert [len(panel.series) for panel in chart.panels] == [2, 2, 3, 3]  # type: ignore[union-attr]
    assert [list(series.x) for series in chart.panels[0].series] == [[4, 64, 1024]] * 2  # type: ignore[union-attr]
    (mark,) = chart.panels[1].marks  # type: ignore[union-attr]
    assert mark.at == pytest.approx(64)


@pytest.mark.parametrize(("ridge", "dmmse"), [(0.1, 1.0), (1.0, 0.1)])
def test_a_nearer_learner_that_never_changes_is_no(tmp_path: Path, ridge: float, dmmse: float) -> None:
    (verdict,) = diversity_verdicts(runs(tmp_path, dict.fromkeys(NUMBERS, (ridge, dmmse))))
    assert verdict.answer == "no"


def test_one_number_of_tasks_has_none(tmp_path: Path) -> None:
    found = runs(tmp_path, {64: (1.0, 2.0)})
    assert not diversity_verdicts(found)
    assert not diversity_charts(found)
