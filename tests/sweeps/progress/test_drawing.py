"""The figure over the number of pretraining tasks, of the runs of a sweep."""

from pathlib import Path
from typing import Any

from iclgd.sweeps.progress.drawing import task_diversity_figures
from iclgd.sweeps.progress.reading import SweepResults
from iclgd.sweeps.progress.settings import Row, settings_of
from tests.report.test_function_analysis_figures import model
from tests.review.factory import make_run


def results(tmp_path: Path, points: list[dict[str, Any]], summary: bool = True) -> SweepResults:
    rows = []
    for number, values in enumerate(points):
        tasks = values["task.num_tasks"]
        numbers = dict(model(tasks, 0, 4 / tasks, tasks / 64).summary) if summary else {}
        path = make_run(tmp_path, "task_diversity_small", f"20260101-000000-{number:06}", summary=numbers)
        rows.append(Row(number, values, 1.0, "done", path))
    keys = tuple(key for key in points[0] if key != "seed")
    settings = tuple(settings_of(rows))
    return SweepResults(
        tmp_path,
        "pools",
        "task_diversity_small",
        "iclgd sweep pools",
        "error",
        "minimize",
        keys,
        ("seed",),
        tuple(rows),
        settings,
    )


def test_a_sweep_over_pools_has_a_figure(tmp_path: Path) -> None:
    points = [{"task.num_tasks": tasks, "seed": seed} for tasks in (4, 16, 64) for seed in (0, 1)]
    (figure,) = task_diversity_figures(results(tmp_path, points)).values()
    assert len(figure.axes[0].get_lines()[0].get_xdata()) == 6  # a point for each run
    assert "pools: config task_diversity_small" in figure.get_suptitle()


def test_other_keys_have_a_figure_each(tmp_path: Path) -> None:
    points = [{"task.num_tasks": tasks, "model.num_layers": layers} for tasks in (4, 64) for layers in (1, 2)]
    figures = task_diversity_figures(results(tmp_path, points))
    assert list(figures) == ["task_diversity_1", "task_diversity_2"]
    assert figures["task_diversity_2"].get_suptitle().endswith("model.num_layers=2")


def test_sweeps_without_distances_or_over_one_pool_have_none(tmp_path: Path) -> None:
    assert not task_diversity_figures(
        results(tmp_path / "without", [{"task.num_tasks": 4}, {"task.num_tasks": 8}], False)
    )
    assert not task_diversity_figures(results(tmp_path / "one", [{"task.num_tasks": 4, "seed": 0}]))
