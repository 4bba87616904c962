"""What fails after the numbers costs nothing else; numbers that are none are named."""

import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from iclgd.experiments import analyses, regression
from tests.test_experiment import Cli, numbers, run_directory

ANALYSES = "analysis={run: [iterated, out_of_distribution], num_tasks: 30, num_applications: 2, shifts: [weight_scale]}"
SHORT = ["trainer.max_steps=4", "evaluation.every_num_steps=2"]


def out_of_memory() -> None:
    torch.empty(2**50)


def defect() -> None:
    raise AssertionError("a defect\nof two lines")


@pytest.mark.usefixtures("quick_images")
@pytest.mark.parametrize("precision", ["32-true", pytest.param("64-true", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("fail", "message"),
    [
        (out_of_memory, "out of memory: reduce analysis.num_tasks or analysis.num_resamples"),
        (defect, "AssertionError: a defect"),
    ],
)
def test_an_analysis_that_fails_is_named_and_made_again_by_resume(
    cli: Cli, small_config: Path, monkeypatch: pytest.MonkeyPatch, fail: Any, message: str, precision: str
) -> None:
    options = [ANALYSES, *SHORT, f"trainer.precision={precision}"]
    whole = run_directory(cli("run", small_config, *options)[1])
    with monkeypatch.context() as patch:
        patch.setattr(analyses, "iterated", lambda *_: fail())
        code, out, err = cli("run", small_config, *options)
    assert code == 1
    assert [line for line in err.splitlines() if "failed" in line] == [f"analysis iterated failed: {message}"]
    assert "Traceback" not in err
    directory = run_directory(out)
    assert numbers(directory) == numbers(whole)
    assert set(directory.read_analyses()) == {"out_of_distribution"}
    assert (directory.figures / "out_of_distribution.png").exists()
    assert "Traceback" in (directory.path / "failures.log").read_text()
    code, out, err = cli("resume", directory.path)
    assert (code, err) == (0, "")
    assert directory.read_analyses() == whole.read_analyses()
    assert directory.read_metrics() == whole.read_metrics()
    assert {path.name for path in directory.figures.iterdir()} == {path.name for path in whole.figures.iterdir()}


@pytest.mark.usefixtures("quick_images")
def test_an_analysis_that_cannot_fit_does_not_cost_the_training(cli: Cli, small_config: Path) -> None:
    options = ["analysis={run: [which_algorithm, iterated], num_tasks: 100000000, num_applications: 2}", *SHORT]
    code, out, err = cli("run", small_config, *options)
    assert code == 1
    failures = [line for line in err.splitlines() if "failed" in line]
    assert len(failures) == 2
    assert failures[0].startswith(
        "analysis which_algorithm failed: an analysis of 100,000,000 tasks would need at least "
    )
    assert failures[0].endswith(": reduce analysis.num_tasks")
    assert numbers(run_directory(out)) == numbers(run_directory(cli("run", small_config, *SHORT)[1]))


def test_a_figure_that_fails_is_named(cli: Cli, small_config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(regression.FIGURES, "alignment", lambda _: defect())
    code, out, err = cli("run", small_config, *SHORT)
    assert code == 1
    assert "figure alignment failed: AssertionError: a defect\n" in err
    assert {path.stem for path in run_directory(out).figures.iterdir()} == {"learning_curve", "weights"}


def test_memory_that_is_not_enough_on_the_way_is_one_line(
    cli: Cli, small_config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("iclgd.experiments.training.train_and_test", lambda *_: out_of_memory())
    code, out, err = cli("run", small_config)
    assert (code, out) == (1, "")
    assert err.startswith("iclgd: out of memory: reduce training.batch_size, ")
    assert err.count("\n") == 1


def test_memory_that_is_not_enough_at_first_leaves_nothing(
    cli: Cli, small_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("iclgd.experiments.regression.make_references", lambda *_: out_of_memory())
    code, _, err = cli("run", small_config)
    assert code == 2
    assert err.startswith("iclgd: out of memory: reduce ")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("num_seeds", [1, 2])
def test_the_first_step_that_is_not_a_number_is_named(cli: Cli, small_config: Path, num_seeds: int) -> None:
    options = ["training.learning_rate=1e30", f"training.num_seeds={num_seeds}", "analysis.run=[which_algorithm]"]
    code, out, err = cli("run", small_config, *options, *SHORT, "analysis.num_tasks=50")
    assert code == 0
    # Step 1 sees the sound initial weights, and step 2 what it made of them.
    assert (
        err.count("warning: the training loss is not finite from step 2 on; try a smaller training.learning_rate\n")
        == 1
    )
    directory = run_directory(out)
    summary = numbers(directory)
    assert all(math.isnan(summary[name]) for name in ("loss/transformer", "alignment/sensitivity_cosine"))
    assert summary["loss/gd"] == pytest.approx(summary["gd/loss"], rel=1e-6)
    found = directory.read_analyses()["which_algorithm"]["seeds"]
    assert len(found) == num_seeds
    assert {seed["verdicts"][0]["learner"] for seed in found} == {"none (not a number)"}
    stems = {path.stem for path in directory.figures.iterdir()}
    assert stems == {"learning_curve", "alignment", "weights", "which_algorithm"}


@pytest.mark.usefixtures("quick_images")
def test_references_are_the_best_on_the_same_tasks_in_every_precision(cli: Cli, small_config: Path) -> None:
    deep = ["model.num_layers=2", "model.recurrent=true", "task.num_context=6", *SHORT]
    precisions = ("32-true", "64-true", "bf16-mixed")
    runs = [run_directory(cli("run", small_config, *deep, f"trainer.precision={each}")[1]) for each in precisions]
    single, double, mixed = map(numbers, runs)
    for name in ("gd/loss", "gd/learning_rate", "gd_plus_plus/learning_rate", "gd_plus_plus/curvature"):
        assert single[name] == mixed[name]
        assert double[name] == pytest.approx(single[name], rel=1e-5)  # targets are computed with all its digits
    assert double["loss/gd"] == pytest.approx(double["gd/loss"], rel=1e-7)  # the rate itself is in single precision
    for other in (single, mixed):
        for name in ("loss/gd", "loss/gd_plus_plus", "loss/ridge", "loss/gd_plus_plus/layer_01"):
            assert other[name] == pytest.approx(double[name], rel=2e-6), name
    first_losses = [run.read_metrics()[0]["loss/transformer"] for run in runs]
    assert first_losses == pytest.approx([first_losses[0]] * 3, rel=1e-4)  # of the same initial weights


@pytest.mark.slow
def test_a_notebooks_drawing_backend_changes_nothing(small_config: Path) -> None:
    environment = {**os.environ, "MPLBACKEND": "module://a_notebook.that_is_not_here"}
    command = [sys.executable, "-m", "iclgd.cli", "run", str(small_config), *SHORT]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    assert (run_directory(done.stdout).figures / "learning_curve.png").exists()
