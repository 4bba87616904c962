"""The line above each figure."""

from typing import Any

import pytest
from matplotlib.figure import Figure

from iclgd.experiments import functions, language_modeling, regression, text
from iclgd.report.figures import draw
from iclgd.report.results import Results
from iclgd.report.titles import of_any, of_regression, of_text, with_title

METRICS = [{"step": step, "loss/transformer": 1.0, "loss/gd": 0.5} for step in (0, 1)]
CONFIG: dict[str, Any] = {
    "seed": 3,
    "model": {"num_layers": 1, "attention": "softmax", "num_heads": 2},
    "task": {"name": "linear", "input_dim": 10, "num_context": 1},
    "training": {"num_seeds": 2},
    "evaluation": {"num_tasks": 2000},
}


def test_every_figure_of_a_run_has_a_title() -> None:
    figure = draw(regression.EXPERIMENT.drawings()["learning_curve"], Results(METRICS, config=CONFIG, name="mine"))
    assert figure is not None
    assert " ".join(figure.get_suptitle().split()) == (
        "mine: 1 softmax layer of 2 heads; linear task, 10 inputs, 1 example; 2,000 tasks; seeds 3 to 4"
    )


def test_an_analysis_says_its_own_number_of_tasks_and_weights_none() -> None:
    results = Results(config=CONFIG, made_with={"iterated": {"num_tasks": 50}})
    assert "; 50 tasks; " in of_regression(results, "iterated")
    assert "tasks" not in of_regression(results, "weights")


@pytest.mark.parametrize(
    "config", [{}, {"seed": None, "model": 3, "task": {"name": None}, "training": {"num_seeds": "x"}}]
)
@pytest.mark.parametrize("experiment", [regression, text, language_modeling, functions])
def test_what_is_not_known_is_left_out(experiment: Any, config: dict[str, Any]) -> None:
    assert experiment.EXPERIMENT.title(Results(config=config, name="run"), "any") == "run"
    assert of_any(Results(), "any") == ""


@pytest.mark.parametrize("name", ["$\\frac{$", "a\tb\x00", "x" * 10_000, "<script>alert(1)</script>", "\u202eabc"])
def test_names_of_users_are_texts(name: str) -> None:
    title = of_text(Results(name=name, config={"task": {"name": name}, "seed": 1}), "accuracy")
    assert title.isprintable()
    figure = with_title(Figure(figsize=(3.3, 2)), title)
    figure.draw_without_rendering()
    assert figure.get_suptitle().count("\n") <= 2


def test_queries_are_counted() -> None:
    rows = [{"control": None, "setting": setting, "label": "good"} for setting in ("zero_shot", "in_context")]
    assert of_text(Results(read_rows=lambda: rows), "accuracy") == "1 query"
