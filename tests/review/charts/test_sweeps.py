import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from iclgd.review.charts import sweep_charts
from iclgd.review.document import Chart, Parallel, Plot
from iclgd.sweeps.progress.reading import SweepResults
from iclgd.sweeps.progress.settings import Row, settings_of

RATES, SEEDS = (0.001, 0.01, 0.1, 1.0), (0, 1, 2)


def sweep(
    rows: Sequence[Row], keys: Sequence[str] = ("training.learning_rate",), goal: str = "minimize"
) -> SweepResults:
    settings = tuple(settings_of(rows))
    return SweepResults(
        Path("sweep"),
        "rates",
        "debug",
        "iclgd sweep rates",
        "loss/transformer",
        goal,
        tuple(keys),
        ("seed",),
        tuple(rows),
        settings,
    )


def trial(number: int, values: Mapping[str, Any], metric: float | None) -> Row:
    return Row(number, values, metric, "done" if metric is not None else "failed")


def grid() -> list[Row]:
    draw = np.random.default_rng(0)
    points = [(rate, seed) for rate in RATES for seed in SEEDS]
    values = [{"training.learning_rate": rate, "seed": seed} for rate, seed in points]
    return [
        trial(place, each, abs(math.log10(each["training.learning_rate"]) + 2) + 0.1 * draw.random() + 0.5)
        for place, each in enumerate(values)
    ]


def charts_of_sweep(results: SweepResults) -> tuple[dict[str, Chart], list[str]]:
    charts, left_out = sweep_charts(results)
    json.dumps([asdict(chart) for chart in charts], allow_nan=False)
    return {chart.name: chart for chart in charts}, left_out


def panel(chart: Chart, place: int = 0) -> Plot:
    found = chart.panels[place]
    assert isinstance(found, Plot)
    return found


def test_a_key_has_points_of_trials_and_means_of_seeds() -> None:
    rows = grid()
    charts, left_out = charts_of_sweep(sweep(rows))
    plot = panel(charts["metric_by_key"])
    trials, means = plot.series
    assert plot.x.is_log
    assert (len(trials.x), trials.joined) == (12, False)
    by_rate = np.array([row.metric for row in rows], float).reshape(4, 3)
    low, high = stats.t.interval(0.95, 2, by_rate.mean(1), stats.sem(by_rate, axis=1))
    assert means.x == list(RATES)
    assert means.y == pytest.approx(by_rate.mean(1), rel=1e-5)
    assert [means.low, means.high] == [pytest.approx(low, rel=1e-5), pytest.approx(high, rel=1e-5)]
    assert "at 0.01, of 4 values" in charts["metric_by_key"].text
    assert "4 settings of 3 seeds, 12 trials" in charts["metric_by_key"].title
    assert left_out == []


def test_of_several_settings_with_a_value_each_counts_once() -> None:
    rows = [
        trial(place, {"rate": rate, "size": size, "seed": seed}, rate + 10 * size + seed)
        for place, (rate, size, seed) in enumerate((r, s, i) for r in (1.0, 2.0) for s in (1, 2, 3) for i in range(2))
    ]
    charts, _ = charts_of_sweep(sweep(rows, ["rate", "size"]))
    means = panel(charts["metric_by_key"]).series[1]
    of_settings = np.array([[rate + 10 * size + 0.5 for size in (1, 2, 3)] for rate in (1.0, 2.0)])
    assert means.y == pytest.approx(of_settings.mean(1))
    assert means.low == pytest.approx(
        stats.t.interval(0.95, 2, of_settings.mean(1), stats.sem(of_settings, axis=1))[0], rel=1e-5
    )
    assert means.label == "mean of settings"


def test_the_best_settings_come_first_with_their_intervals() -> None:
    charts, _ = charts_of_sweep(sweep(grid()))
    (bars,) = panel(charts["best_settings"]).series
    assert bars.x[0] == "training.learning_rate=0.01"
    assert bars.y == sorted(bars.y, key=lambda y: y or 0.0)
    assert bars.low[0] is not None
    assert charts["best_settings"].text.startswith("training.learning_rate=0.01: ")


def test_the_goal_decides_what_is_best() -> None:
    charts, _ = charts_of_sweep(sweep(grid(), goal="maximize"))
    (bars,) = panel(charts["best_settings"]).series
    assert bars.x[0] == "training.learning_rate=1.0"


def test_parallel_coordinates_have_every_trial_and_end_in_the_metric() -> None:
    rows = grid()
    charts, _ = charts_of_sweep(sweep(rows))
    (parallel,) = charts["parallel_coordinates"].panels
    assert isinstance(parallel, Parallel)
    assert parallel.columns == ["training.learning_rate", "loss/transformer"]
    assert [row[1] for row in parallel.rows] == pytest.approx([row.metric for row in rows], rel=1e-5)
    live = charts["parallel_coordinates"].live
    assert live is not None
    assert live.metrics == ["config.training.learning_rate", "loss/transformer"]


def test_importance_has_a_bar_for_each_key() -> None:
    rows = [
        trial(place, {"rate": rate, "kind": kind, "seed": 0}, rate + 0.001 * (kind == "a"))
        for place, (rate, kind) in enumerate((r, k) for r in (1.0, 2.0, 3.0, 4.0, 5.0) for k in "abc")
    ]
    charts, _ = charts_of_sweep(sweep(rows, ["rate", "kind"]))
    (bars,) = panel(charts["importance"]).series
    assert bars.x[0] == "rate"
    assert sum(y for y in bars.y if y is not None) == pytest.approx(1)
    assert panel(charts["metric_by_key"], 1).series[0].x[:3] == ["a", "b", "c"]


def test_what_is_not_finite_or_not_done_is_left_out_and_told() -> None:
    rows = [*grid(), trial(12, {"training.learning_rate": 10.0, "seed": 0}, math.nan)]
    rows.append(trial(13, {"training.learning_rate": 10.0, "seed": 1}, None))
    charts, left_out = charts_of_sweep(sweep(rows))
    trials, means = panel(charts["metric_by_key"]).series
    assert 10.0 not in trials.x
    assert 10.0 not in means.x
    assert "loss/transformer is not finite in trials 12: they are in no chart" in left_out
    assert "trials without a result are in no chart: 1 failed" in left_out


def test_a_sweep_of_nothing_has_no_charts() -> None:
    charts, left_out = charts_of_sweep(sweep([trial(0, {"training.learning_rate": 1.0}, None)]))
    assert charts == {}
    assert "no trial is done with a finite metric: no charts of the sweep" in left_out


def test_few_trials_have_no_importance_which_is_told() -> None:
    charts, left_out = charts_of_sweep(sweep(grid()[:6]))
    assert "importance" not in charts
    assert any(line.startswith("importance of keys: it needs 10 trials") for line in left_out)


def test_many_trials_stay_small() -> None:
    draw = np.random.default_rng(1)
    rows = [
        trial(place, {"training.learning_rate": float(draw.random())}, float(draw.random())) for place in range(2000)
    ]
    charts, left_out = charts_of_sweep(sweep(rows))
    assert len(json.dumps([asdict(chart) for chart in charts.values()])) < 300_000
    (parallel,) = charts["parallel_coordinates"].panels
    assert isinstance(parallel, Parallel)
    best = min(row.metric for row in rows if row.metric is not None)
    assert min(row[-1] for row in parallel.rows if isinstance(row[-1], float)) == pytest.approx(best, rel=1e-5)
    assert any("of 2000 trials" in line for line in left_out)
