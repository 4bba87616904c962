"""Charts of whole sections, against the numbers in the files."""

import json
import math
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file
from scipy import stats

from iclgd.report.results import Results
from iclgd.report.training_figures import learning_curve
from iclgd.review.charts import charts_of
from iclgd.review.document import HeatMap, Plot
from iclgd.review.gather import ReviewedRun, gather
from iclgd.tracking.run_directory import RunDirectory
from tests.report.records import ALGORITHMS, FUNCTIONS, ITERATED, SHIFTS
from tests.review.charts.reading import charts_below, metrics_of, series_of
from tests.review.factory import make_run


def test_nothing_of_no_runs() -> None:
    assert charts_of([]) == ([], [])


def test_loss_curves_of_one_run_are_its_metrics(tmp_path: Path) -> None:
    path = make_run(tmp_path)
    charts, left_out = charts_below(tmp_path)
    found = series_of(charts["learning_curve"])
    assert list(found) == ["trained transformer", "gradient descent", "mean of both weights"]
    assert found["trained transformer"].y == pytest.approx(metrics_of(path, "loss/transformer"), rel=1e-5)
    assert found["trained transformer"].x == metrics_of(path, "step")
    assert [series.role for series in found.values()] == ["transformer", "gd", "interpolated"]
    assert charts["learning_curve"].live is not None
    assert charts["learning_curve"].live.metrics[:2] == ["loss/transformer", "loss/gd"]
    assert charts["learning_curve"].live.x == "trainer/global_step"
    assert left_out == []


@pytest.mark.parametrize("factor", [1.0, 100.0])  # on a linear axis, and on a logarithmic one
def test_page_and_figure_have_the_same_curve(tmp_path: Path, factor: float) -> None:
    losses = ((0.5, 0.4), (0.3, 0.25), (0.5 / factor, 0.2 / factor))
    lines = [
        {
            "step": step,
            "loss/transformer": sum(each) / 2,
            "loss/transformer/seed_0": each[0],
            "loss/transformer/seed_1": each[1],
        }
        for step, each in enumerate(losses)
    ]
    path = make_run(tmp_path, metrics=lines, changes={"training.num_seeds": 2})
    charts, _ = charts_below(tmp_path)
    (panel,) = charts["learning_curve"].panels
    assert isinstance(panel, Plot)
    figure = learning_curve(Results.read(RunDirectory(path), {}))
    assert figure is not None
    (axes,) = figure.axes
    assert (axes.get_yscale() == "log") == panel.y.is_log == (factor > 1)
    middle = stats.gmean if panel.y.is_log else np.mean
    assert panel.series[0].y == pytest.approx(middle(losses, axis=1), rel=1e-5)
    if not panel.y.is_log:
        assert panel.series[0].y == pytest.approx(list(axes.get_lines()[0].get_ydata()), rel=1e-5)


def test_runs_with_other_seeds_are_repetitions(tmp_path: Path) -> None:
    paths = [make_run(tmp_path, run_id=f"20260101-00000{seed}-0", changes={"seed": seed}) for seed in range(4)]
    charts, left_out = charts_below(tmp_path)
    drawn = series_of(charts["learning_curve"])["trained transformer"]
    values = np.array([metrics_of(path, "loss/transformer") for path in paths])
    low, high = stats.t.interval(0.95, 3, values.mean(0), stats.sem(values, axis=0))
    assert drawn.y == pytest.approx(values.mean(0), rel=1e-5)
    assert [drawn.low, drawn.high] == [pytest.approx(low, rel=1e-5), pytest.approx(high, rel=1e-5)]
    assert "4 seeds" in charts["learning_curve"].title
    assert "one_layer" in charts["learning_curve"].title
    assert left_out == []


def test_seeds_within_a_run_count_as_much(tmp_path: Path) -> None:
    path = make_run(tmp_path, changes={"training.num_seeds": 3})
    charts, _ = charts_below(tmp_path)
    lines = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    values = np.array([[line[f"loss/transformer/seed_{seed}"] for line in lines] for seed in range(3)])
    drawn = series_of(charts["learning_curve"])["trained transformer"]
    assert drawn.y == pytest.approx(values.mean(0), rel=1e-5)
    assert drawn.high == pytest.approx(
        stats.t.interval(0.95, 2, values.mean(0), stats.sem(values, axis=0))[1], rel=1e-5
    )


def test_a_repeated_seed_is_no_repetition(tmp_path: Path) -> None:
    for run in range(2):
        make_run(tmp_path, run_id=f"20260101-00000{run}-0")
    charts, left_out = charts_below(tmp_path)
    assert series_of(charts["learning_curve"])["trained transformer"].low == []
    assert any("20260101-000000-0" in line and "count for nothing" in line for line in left_out)


def test_other_keys_can_be_repetitions_too(tmp_path: Path) -> None:
    for place in range(3):
        make_run(tmp_path, run_id=f"20260101-00000{place}-0", changes={"task.covariance_seed": place})
    runs = gather([tmp_path]).runs
    apart, _ = charts_of(runs)
    together, left_out = charts_of(runs, over=("seed", "task.covariance_seed"))
    assert "3 settings of 1 seed" in apart[0].title
    assert len(series_of(together[0])["trained transformer"].high) == 3
    assert left_out == []


def test_settings_have_a_line_each_up_to_six(tmp_path: Path) -> None:
    for place in range(8):
        make_run(tmp_path, run_id=f"20260101-00000{place}-0", changes={"training.learning_rate": 0.001 * (place + 1)})
    charts, left_out = charts_below(tmp_path)
    assert list(series_of(charts["learning_curve"])) == [f"learning_rate={0.001 * place:g}" for place in range(1, 7)]
    assert [panel.title for panel in charts["learning_curve"].panels][1] == "learning_rate=0.001"
    assert list(series_of(charts["alignment_gd"])) == list(series_of(charts["learning_curve"]))
    assert "charts show the first 6 of 8 settings; all are in the tables" in left_out


def test_alignment_has_a_chart_for_each_reference(tmp_path: Path) -> None:
    path = make_run(tmp_path, "two_layer")
    charts, _ = charts_below(tmp_path)
    for name, suffix in (("gd", ""), ("gd_plus_plus", "_gd_plus_plus")):
        chart = charts[f"alignment_{name}"]
        distances, cosines = series_of(chart, 0), series_of(chart, 1)
        assert cosines["sensitivities, cosine"].y == pytest.approx(
            metrics_of(path, f"alignment/sensitivity_cosine{suffix}"), rel=1e-5
        )
        assert list(distances) == ["predictions, L2", "sensitivities, L2"]


def test_numbers_that_are_not_finite_are_gaps_and_are_told_with_their_first_step(tmp_path: Path) -> None:
    lines = [
        {"step": step, "loss/transformer": loss, "loss/gd": 0.2, "alignment/sensitivity_cosine": 0.5}
        for step, loss in ((0, 0.5), (10, math.inf), (20, math.nan), (30, 0.4))
    ]
    make_run(tmp_path, metrics=lines, run_id="20260101-000000-0")
    charts, left_out = charts_below(tmp_path)
    assert series_of(charts["learning_curve"])["trained transformer"].y == [0.5, None, None, 0.4]
    expected = "loss/transformer: not finite in 20260101-000000-0, at 2 points, first at 10"
    assert expected in left_out


def test_a_run_that_has_not_ended_is_in_no_mean_with_those_that_have(tmp_path: Path) -> None:
    make_run(tmp_path, run_id="20260101-000000-0")
    lines = [{"step": 0, "loss/transformer": 9.0, "loss/gd": 0.2, "alignment/sensitivity_cosine": 0.0}]
    make_run(tmp_path, run_id="20260101-000001-0", changes={"seed": 1}, metrics=lines, complete=False)
    charts, left_out = charts_below(tmp_path)
    drawn = series_of(charts["learning_curve"])["trained transformer"]
    assert len(drawn.y) == 3
    assert drawn.low == []
    assert "loss/transformer: 20260101-000001-0 has 1 of 3 points, and is not in the mean" in left_out


def test_weights_are_products_of_the_first_run_with_named_rows(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    path = make_run(tmp_path, weights=False)
    query, key, value, linear = (draw.normal(size=(1, 11, 11)).astype(np.float32) for _ in range(4))
    trained = {"query": query, "key": key, "value": value, "linear": linear}
    by_hand = {"query": np.eye(11), "key": np.diag([1.0] * 10 + [0.0]), "value": np.eye(11), "linear": np.eye(11)}
    weights = {f"transformer.layers.0.attention.{name}": each for name, each in trained.items()}
    weights |= {f"gd.layers.0.attention.{name}": each[None].astype(np.float32) for name, each in by_hand.items()}
    save_file(weights, path / "weights.safetensors")
    charts, _ = charts_below(tmp_path)
    panels = [panel for panel in charts["weights"].panels if isinstance(panel, HeatMap)]
    assert list(panels[0].rows) == [*[f"x{place}" for place in range(1, 11)], "y"]
    assert panels[0].values == [pytest.approx(row, rel=1e-4, abs=1e-5) for row in query[0] @ key[0].T]
    assert panels[2].values == [pytest.approx(row, rel=1e-4, abs=1e-5) for row in value[0] @ linear[0]]
    assert panels[1].values[0] == [1, *[0] * 10]


def test_products_are_shown_at_the_scale_of_gradient_descent(tmp_path: Path) -> None:
    path = make_run(tmp_path, weights=False)
    inputs = np.diag([1.0] * 10 + [0.0])[None].astype(np.float32)
    one = np.eye(11, dtype=np.float32)[None]
    both = {"query": 4 * inputs, "key": inputs, "value": one, "linear": one / 2}
    weights = {f"transformer.layers.0.attention.{name}": each for name, each in both.items()}
    weights |= {f"gd.layers.0.attention.{name}": inputs for name in both}
    save_file(weights, path / "weights.safetensors")
    charts, _ = charts_below(tmp_path)
    query_key, _, value_linear, _ = (panel for panel in charts["weights"].panels if isinstance(panel, HeatMap))
    assert "/ 4" in query_key.title
    assert query_key.values[0][0] == 1
    assert value_linear.values[0][0] == 2


def test_shifts_have_bands_over_seeds_and_the_value_in_training_marked(tmp_path: Path) -> None:
    make_run(tmp_path, analyses={"out_of_distribution": SHIFTS}, changes={"training.num_seeds": 2})
    charts, left_out = charts_below(tmp_path)
    panels = [panel for panel in charts["out_of_distribution"].panels if isinstance(panel, Plot)]
    by_label = {panel.x.label: panel for panel in panels}
    input_range = by_label["input range"]
    assert [(mark.at, mark.across) for mark in input_range.marks] == [(1, "x")]
    transformer = input_range.series[0]
    assert input_range.y.is_log
    assert transformer.x == [0.5, 1, 2]
    assert transformer.y == pytest.approx(stats.gmean([[0.1, 0.2, 90.0], [0.3, 0.4, 110.0]]), rel=1e-5)
    words = by_label["distribution of the inputs"].series[0]
    assert words.x == ["uniform (training)", "normal"]
    assert words.y == pytest.approx([0.2, 0.3])
    assert by_label["condition number"].x.is_log
    assert left_out == ["mean of both weights: gaps where its loss is above all others shown"]


def test_iterated_layers_count_applications_from_none(tmp_path: Path) -> None:
    make_run(tmp_path, analyses={"iterated": ITERATED}, changes={"training.num_seeds": 2})
    charts, _ = charts_below(tmp_path)
    drawn = series_of(charts["iterated"])["trained transformer"]
    assert (drawn.x, drawn.y) == ([0, 1, 2], pytest.approx([0.5, 0.4, 0.3]))
    assert drawn.high == pytest.approx(stats.t.interval(0.95, 1, [0.5, 0.4, 0.3], [0.1] * 3)[1], rel=1e-5)


def test_distances_to_algorithms_are_means_over_all_seeds(tmp_path: Path) -> None:
    make_run(tmp_path, analyses={"which_algorithm": ALGORITHMS}, changes={"training.num_seeds": 2, "seed": 3})
    charts, _ = charts_below(tmp_path)
    first, second = (panel for panel in charts["which_algorithm"].panels if isinstance(panel, Plot))
    assert first.bars
    assert (first.series[0].x[0], first.series[0].y[0]) == ("gd(10)", 0.5)
    assert (second.series[0].x[0], second.series[0].y[0]) == ("gd(19)", 1)
    assert len(first.series[0].x) == 12
    assert "gd(9) in 2 of 2 seeds" in charts["which_algorithm"].text


def test_distances_of_one_seed_have_the_interval_of_the_analysis(tmp_path: Path) -> None:
    make_run(tmp_path, analyses={"which_algorithm": {"seeds": ALGORITHMS["seeds"][:1]}})
    charts, _ = charts_below(tmp_path)
    (bars,) = series_of(charts["which_algorithm"]).values()
    assert (bars.y[0], bars.low[0], bars.high[0]) == (0.5, 0.25, 1)


def test_functions_have_their_context_and_kernels(tmp_path: Path) -> None:
    make_run(tmp_path, "sine", analyses={"functions": FUNCTIONS})
    charts, _ = charts_below(tmp_path)
    *_, kernels = charts["functions"].panels
    assert isinstance(kernels, Plot)
    assert [(mark.at, mark.across) for mark in kernels.marks] == [(-0.5, "x")]
    assert series_of(charts["functions"])["context"].y == [1, -1]
    assert series_of(charts["functions"], 2)["trained transformer"].y == [0.25, -1, 0.5]


def test_language_models_have_accuracy_by_demonstrations(tmp_path: Path) -> None:
    lines = [
        {
            "step": step,
            "val/loss": 3.0 - step / 10,
            "accuracy/0_demonstrations": 0.1,
            "accuracy/4_demonstrations": 0.1 * step,
        }
        for step in range(3)
    ]
    make_run(tmp_path, "embedded_model", metrics=lines)
    charts, _ = charts_below(tmp_path)
    over_training, trained = (series_of(charts["learning_to_learn"], panel) for panel in range(2))
    assert over_training["4 demonstrations"].y == pytest.approx([0, 0.1, 0.2])
    assert (trained["all runs"].x, trained["all runs"].y) == ([0, 4, 16], [0.38, 0.71, 0.86])
    assert series_of(charts["validation_loss"])["all runs"].y == pytest.approx([3, 2.9, 2.8])


def test_a_record_of_another_shape_costs_its_own_chart_alone(tmp_path: Path) -> None:
    make_run(tmp_path, run_id="20260101-000000-0", analyses={"iterated": ITERATED}, changes={"training.num_seeds": 2})
    changes = {"training.num_seeds": 2, "seed": 5}
    broken: dict[str, Any] = {"iterated": {"losses": 3}, "out_of_distribution": {"input_range": None}}
    make_run(tmp_path, run_id="20260101-000001-0", analyses=broken, changes=changes)
    charts, left_out = charts_below(tmp_path)
    assert series_of(charts["iterated"])["trained transformer"].y == pytest.approx([0.5, 0.4, 0.3])
    assert "learning_curve" in charts
    assert any(line.startswith("iterated: without 20260101-000001-0") for line in left_out)


def test_runs_without_a_config_take_no_place(tmp_path: Path) -> None:
    for place in range(7):
        path = make_run(tmp_path, run_id=f"20260101-00000{place}-0")
        (path / "config.yaml").write_text("{" * place)
    make_run(tmp_path, run_id="20260101-000009-0")
    charts, left_out = charts_below(tmp_path)
    assert list(series_of(charts["learning_curve"])) == [
        "trained transformer",
        "gradient descent",
        "mean of both weights",
    ]
    assert any("whose config cannot be read" in line for line in left_out)


def test_the_mean_of_both_weights_has_gaps_where_it_is_above_all_others(tmp_path: Path) -> None:
    lines = [
        {
            "step": step,
            "loss/transformer": 0.5,
            "loss/gd": 0.2,
            "loss/interpolated": loss,
            "alignment/sensitivity_cosine": 1.0,
        }
        for step, loss in enumerate((20.0, 0.4))
    ]
    make_run(tmp_path, metrics=lines)
    charts, left_out = charts_below(tmp_path)
    assert series_of(charts["learning_curve"])["mean of both weights"].y == [None, 0.4]
    assert left_out == ["mean of both weights: gaps where its loss is above all others shown"]


def test_titles_have_the_number_of_tasks_with_which_analyses_were_made(tmp_path: Path) -> None:
    record = {"made_with": {"num_tasks": 123}, **ITERATED}
    make_run(tmp_path, analyses={"iterated": record}, changes={"training.num_seeds": 2})
    charts, _ = charts_below(tmp_path)
    assert "123 tasks" in charts["iterated"].title
    assert "10,000 tasks" in charts["learning_curve"].title


def test_names_that_users_gave_are_short_and_printable(tmp_path: Path) -> None:
    for place, name in enumerate(("\u202ex" * 500, "<script>")):
        make_run(tmp_path, "embedded", f"2026010{place + 1}-000000-0", changes={"model.name": name})
    charts, _ = charts_below(tmp_path)
    texts = [charts["accuracy"].title, *[panel.title for panel in charts["accuracy"].panels]]
    assert all(len(text) < 400 and text.isprintable() for text in texts)


def test_two_hundred_runs_in_less_than_three_seconds_and_five_megabytes(tmp_path: Path) -> None:
    lines = [
        {"step": step, "loss/transformer": 1 / (1 + step), "loss/gd": 0.2, "alignment/sensitivity_cosine": step / 400}
        for step in range(400)
    ]
    make_run(tmp_path, metrics=lines)
    (run,) = gather([tmp_path]).runs
    changes = [{"training.learning_rate": 0.001 * (1 + place // 10), "seed": place % 10} for place in range(200)]
    runs = [ReviewedRun(replace(run.record, config={**run.config, **each})) for each in changes]
    begin = time.process_time()
    charts, _ = charts_of(runs)
    assert time.process_time() - begin < 3
    assert len(json.dumps([asdict(chart) for chart in charts])) < 500_000
