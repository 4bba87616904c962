"""A run on functions with all of its analyses, from the summary to figures, and what cannot be analysed."""

from pathlib import Path

import pytest

import iclgd
from iclgd.experiments.function_analyses import ANALYSES
from tests.test_experiment import Cli, numbers, run_directory

CONFIG = """\
experiment: functions
task: {name: noisy_linear, input_dim: 2, num_points: 4, noise_std: 0.5, num_tasks: 3}
model: {num_layers: 1, num_heads: 1, hidden_size: 4}
training: {batch_size: 8}
evaluation: {every_num_steps: 2, num_prompts: 32, num_resamples: 10, noiseless: true}
analysis: {run: [RUN], num_prompts: 24, num_resamples: 5, shifts: [none, orthogonal]}
trainer: {max_steps: 2, accelerator: cpu}
tracking: {mode: disabled}
"""


def write(tmp_path: Path, names: str) -> Path:
    path = tmp_path / "functions.yaml"
    path.write_text(CONFIG.replace("RUN", names))
    return path


def test_a_run_has_all_analyses_and_distances_to_the_optimal_learners(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("iclgd.report.figures.DOTS_PER_INCH", 30)
    code, out, err = cli("run", write(tmp_path, ", ".join(ANALYSES)))
    assert code == 0, err
    directory = run_directory(out)
    summary, run = numbers(directory), iclgd.load_run(directory.path)
    assert set(run.analysis) >= {*ANALYSES, "task_diversity"}
    for prefix, found in zip(("", "new_functions/"), run.analysis["task_diversity"]["of_tasks"], strict=True):
        for learner in ("ridge", "dmmse", "difference"):
            name, expected = f"{prefix}distance/{learner}", found["distances"][learner]["all_positions"]
            assert summary[name] == expected["mean"][0]
            assert summary[f"{name}_low"] <= summary[name] <= summary[f"{name}_high"]
        distances = {name: summary[f"{prefix}distance/{name}"] for name in ("ridge", "dmmse", "difference")}
        assert distances["difference"] == pytest.approx(distances["dmmse"] - distances["ridge"])
        # Errors without noise on the same prompts are those of the evaluation.
        for learner in ("transformer", "ridge", "dmmse"):
            assert found["errors"][learner]["all_positions"]["mean"][0] == pytest.approx(
                summary[f"{prefix}error/{learner}"], rel=1e-5
            )
    (verdict,) = run.analysis["which_algorithm"]["seeds"][0]["verdicts"]
    assert verdict["positions"] == [1, 2, 3]
    assert set(run.analysis["function_shifts"]) >= {"none", "orthogonal"}
    assert {figure.stem for figure in directory.figures.iterdir()} >= {*ANALYSES, "task_diversity"}
    assert "which algorithm is it?" in out


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (
            "gradient_by_query",
            "task.name=quadratic task.num_tasks=0",
            "needs linear functions (task.name=linear, noisy_",
        ),
        (
            "function_shifts",
            "task.name=decision_tree task.num_tasks=0",
            "needs task.name=linear or noisy_linear, got d",
        ),
        ("interpolated_tasks", "task.num_tasks=1", "needs task.num_tasks of at least 2, got 1"),
        ("interpolated_tasks", "task.name=linear task.noise_std=0", "needs task.name=noisy_linear and task.renorm"),
        ("which_algorithm", "task.num_points=1", "needs task.num_points of at least 2, got 1"),
    ],
)
def test_an_analysis_that_a_class_has_not_is_refused(
    cli: Cli, tmp_path: Path, name: str, change: str, message: str
) -> None:
    refused(cli, write(tmp_path, name), change, f"analysis.run: {name} {message}")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("analysis.positions=[4]", "analysis.positions must be from 1 to 3 (task.num_points - 1), got [4]"),
        ("analysis.shifts=[]", "analysis.shifts must have at least one of: none, skewed"),
        ("analysis.run=[iterated]", "analysis.run must be a list of: which_algorithm, gradient_by_query"),
    ],
)
def test_bad_values_are_refused(cli: Cli, tmp_path: Path, change: str, message: str) -> None:
    refused(cli, write(tmp_path, "which_algorithm"), change, message)


def refused(cli: Cli, path: Path, changes: str, message: str) -> None:
    code, _, err = cli("run", path, *changes.split())
    assert code == 2
    assert message in err
    assert len(err.strip().splitlines()) == 1
