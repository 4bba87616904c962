"""Charts of text runs, against the numbers in the files."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from iclgd.review.document import HeatMap, Plot
from tests.review.charts.reading import charts_below, series_of
from tests.review.factory import make_run


def text_summary(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((path / "summary.json").read_text())
    return found


def test_a_text_run_has_the_intervals_of_its_queries(tmp_path: Path) -> None:
    summary = text_summary(make_run(tmp_path, "embedded"))
    charts, _ = charts_below(tmp_path)
    accuracy = charts["accuracy"].panels[0]
    assert isinstance(accuracy, Plot)
    assert [(mark.at, mark.label) for mark in accuracy.marks] == [(0.25, "chance, 1 of 4 answers")]
    bars = series_of(charts["accuracy"])["in-context"]
    assert bars.x[0] == "comparison"
    ends = (bars.y[0], bars.low[0], bars.high[0])
    name = "accuracy/in_context"
    assert ends == pytest.approx([summary[name], summary[f"{name}_low"], summary[f"{name}_high"]], rel=1e-5)
    assert "over queries" in charts["accuracy"].title
    recall = series_of(charts["rec2ftp"])["Rec2FTP"]
    assert recall.y[0] == pytest.approx(summary["rec2ftp"])


def test_similarities_stand_beside_baselines_and_controls(tmp_path: Path) -> None:
    summary = text_summary(make_run(tmp_path, "embedded"))
    charts, _ = charts_below(tmp_path)
    found = series_of(charts["similarity"])
    by_role = {series.role: label for label, series in found.items()}
    layers = [summary[f"sim_aou/layer_{layer:02}"] for layer in range(4)]
    assert found[by_role["transformer"]].y == pytest.approx(layers, rel=1e-5)
    control = found["untrained model"]
    assert control.y == pytest.approx([summary[f"untrained/sim_aou/layer_{layer:02}"] for layer in range(4)], rel=1e-5)
    means = series_of(charts["similarity_means"])
    assert means["in-context with finetuned, random baseline"].role == "chance"
    assert means["in-context with finetuned"].high == pytest.approx([summary["sim_aou_high"]], rel=1e-5)
    assert charts["similarity_means"].live is not None
    assert set(charts["similarity_means"].live.metrics) <= set(summary)


def test_draws_of_demonstrations_are_the_repetitions_of_text_runs(tmp_path: Path) -> None:
    changes = [{"demonstrations.seed": draw} for draw in range(3)]
    paths = [
        make_run(tmp_path, "embedded", f"2026010{place}-000000-0", changes=each) for place, each in enumerate(changes)
    ]
    values = [text_summary(path)["sim_aou"] for path in paths]
    charts, _ = charts_below(tmp_path)
    (mean,) = series_of(charts["similarity_means"])["in-context with finetuned"].y
    assert mean == pytest.approx(np.mean(values), rel=1e-5)
    (low,) = series_of(charts["similarity_means"])["in-context with finetuned"].low
    assert low == pytest.approx(stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))[0], rel=1e-5)
    assert "3 draws of demonstrations" in charts["similarity_means"].title


def test_rec2ftp_that_is_not_defined_is_a_gap_with_its_reason(tmp_path: Path) -> None:
    make_run(tmp_path, "embedded", summary={"rec2ftp": math.nan, "rec2ftp_queries": 0.0, "put_right": 0.0})
    charts, left_out = charts_below(tmp_path)
    assert series_of(charts["rec2ftp"])["Rec2FTP"].y[0] is None
    assert any("rec2ftp of all runs is not defined: finetuning put no query right" in line for line in left_out)


def attention(*draws: list[list[float | None]]) -> dict[str, Any]:
    """Return the record of a run's draws, of whose demonstrations it has the shares in each layer."""
    even: list[list[float | None]] = [[0.25, 0.25, 0.25], [0.25, 0.25, 0.25]]
    record = [{"labels": [0, 1, 0], "attention": {"demonstrations": each}} for each in draws]
    return {"attention_to_demonstrations": {"draws": [{**each, "even": {"demonstrations": even}} for each in record]}}


def test_attention_to_demonstrations_has_its_chart(tmp_path: Path) -> None:
    analyses = attention([[0.1, 0.2, 0.5], [0.3, 0.0, 0.5]], [[0.3, 0.2, 0.1], [0.3, 0.4, 0.1]])
    summary = text_summary(make_run(tmp_path, "embedded", analyses=analyses))
    charts, left_out = charts_below(tmp_path)
    chart = charts["attention_to_demonstrations"]
    layers = [summary[f"attention_right_label/layer_{layer:02}"] for layer in range(4)]
    assert series_of(chart, 1)["to those with the query's label"].y == pytest.approx(layers)
    lines = series_of(chart, 2)
    assert [lines["attention"].x, lines["attention"].y] == [[1, 2, 3], pytest.approx([0.25, 0.2, 0.3])]
    ends = stats.t.interval(0.95, 1, 0.25, stats.sem([0.2, 0.3]))
    assert [lines["attention"].low[0], lines["attention"].high[0]] == pytest.approx([max(ends[0], 0), min(ends[1], 1)])
    assert lines["even attention"].y == [0.25, 0.25, 0.25]
    assert lines["even attention"].role == "chance"
    heat = chart.panels[3]
    assert isinstance(heat, HeatMap)
    assert [heat.rows, heat.columns] == [["layer 1", "layer 0"], ["1", "2", "3"]]
    assert heat.values == [pytest.approx([0.3, 0.2, 0.3]), pytest.approx([0.2, 0.2, 0.3])]
    assert chart.live is not None
    assert "of the attention goes to the demonstrations" in chart.text
    assert not any("attention" in line for line in left_out)


def test_attention_of_several_settings_and_of_what_lacks_it(tmp_path: Path) -> None:
    make_run(tmp_path, "embedded", analyses=attention([[0.1, None, 0.5]]))
    make_run(tmp_path, "embedded", "20260102-000000-0", changes={"finetune.learning_rate": 0.5})
    charts, left_out = charts_below(tmp_path)
    chart = charts["attention_to_demonstrations"]
    first = chart.panels[0]
    assert isinstance(first, Plot)
    assert first.title.endswith(": to the demonstrations")
    assert len(first.series) == 2
    (line,) = series_of(chart, 2).values()
    assert line.y == [0.1, None, 0.5]
    assert any(line.startswith("attention to the demonstrations, one by one") for line in left_out)


def test_runs_of_an_earlier_version_are_said_to_have_kept_no_attention(tmp_path: Path) -> None:
    without = {name: None for name in text_summary(make_run(tmp_path / "new", "embedded")) if "attention" in name}
    make_run(tmp_path / "old", "embedded", summary=without)
    charts, left_out = charts_below(tmp_path / "old")
    assert "attention_to_demonstrations" not in charts
    assert "attention to the demonstrations: runs of an earlier version kept none" in left_out


@pytest.mark.parametrize("record", [{"draws": [{}]}, {"draws": 5}, {"draws": [{"attention": "<script>", "even": []}]}])
def test_a_record_of_another_shape_is_told(tmp_path: Path, record: dict[str, Any]) -> None:
    make_run(tmp_path, "embedded", analyses={"attention_to_demonstrations": record})
    charts, left_out = charts_below(tmp_path)
    assert "attention_to_demonstrations" not in charts
    assert any("attention_to_demonstrations" in line for line in left_out)
