"""Whole runs, small."""

import json
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from iclgd.analysis.subject import Subject
from iclgd.data import LinearRegressionTask
from iclgd.experiments.analyses import ANALYSES, AnalysisConfig
from iclgd.models.constructions import gd_plus_plus_transformer, gradient_descent_transformer
from iclgd.models.transformer import TransformerConfig
from iclgd.tracking.run_directory import RunDirectory
from tests.conftest import ROOT
from tests.forked import Forked

Cli = Callable[..., tuple[int, str, str]]
TIMES = {"train/steps_per_second"}


def run_directory(out: str) -> RunDirectory:
    return RunDirectory(Path(out.splitlines()[-1]))


def numbers(directory: RunDirectory) -> dict[str, float]:
    summary = directory.read_summary()
    assert summary is not None
    return {name: value for name, value in summary.items() if name not in TIMES}


def test_a_run_leaves_the_whole_directory(cli: Cli, small_config: Path) -> None:
    code, out, err = cli("run", small_config)
    assert code == 0
    directory = run_directory(out)
    names = sorted(path.relative_to(directory.path).as_posix() for path in directory.path.rglob("*") if path.is_file())
    assert names == [
        ".lock",
        "checkpoints/step=50.ckpt",
        "config.yaml",
        "environment.json",
        "figures/alignment.png",
        "figures/learning_curve.png",
        "figures/weights.png",
        "metrics.jsonl",
        "summary.json",
        "weights.safetensors",
    ]
    assert set(numbers(directory)) == {
        "alignment/prediction_l2",
        "alignment/sensitivity_cosine",
        "alignment/sensitivity_l2",
        "gd/learning_rate",
        "gd/loss",
        "loss/gd",
        "loss/interpolated",
        "loss/least_squares",
        "loss/ridge",
        "loss/transformer",
    }
    assert [record["step"] for record in directory.read_metrics()] == [0, 20, 40, 50]
    assert "train/loss" not in directory.read_metrics()[0]
    assert "train/loss" in directory.read_metrics()[1]
    for name in numbers(directory):
        assert name in out  # the table
    assert "step 50/50" in err
    environment = json.loads((directory.path / "environment.json").read_text())
    assert environment["packages"]["torch"] == torch.__version__
    assert (environment["device"], environment["world_size"]) == ("cpu", 1)
    assert environment["processes"] == [{"rank": 0, "host": socket.gethostname(), "device": "cpu"}]
    for path in directory.figures.iterdir():
        assert path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.usefixtures("quick_images")
def test_saved_weights_are_the_models(cli: Cli, small_config: Path) -> None:
    _, out, _ = cli("run", small_config)
    directory = run_directory(out)
    weights = load_file(directory.path / "weights.safetensors")
    summary = numbers(directory)
    expected = gradient_descent_transformer(3, learning_rate=summary["gd/learning_rate"]).state_dict()
    for name, weight in expected.items():
        assert torch.equal(weights[f"gd.{name}"], weight)
    assert weights["transformer.layers.0.attention.query"].shape == (1, 4, 4)


@pytest.mark.usefixtures("quick_images")
def test_same_seed_same_numbers_other_seed_other_numbers(cli: Cli, small_config: Path) -> None:
    first, again, other = (run_directory(cli("run", small_config, f"seed={seed}")[1]) for seed in (0, 0, 1))
    assert numbers(first) == numbers(again)
    assert first.read_metrics() == again.read_metrics()
    assert all(value != numbers(other)[name] for name, value in numbers(first).items())


@pytest.mark.usefixtures("quick_images")
def test_a_killed_run_resumes_to_the_same_numbers(cli: Cli, small_config: Path, tmp_path: Path) -> None:
    length = ["trainer.max_steps=410", "training.num_seeds=2", "training.schedule=cosine"]
    uninterrupted = run_directory(cli("run", small_config, *length)[1])
    forked = Forked("run", small_config, *length)
    others = {uninterrupted.path}
    deadline = time.monotonic() + 120
    killed = None
    while killed is None:
        assert forked.process.exitcode is None, forked.result()
        assert time.monotonic() < deadline
        for path in (tmp_path / "runs" / "small").glob("[0-9]*"):
            if path not in others and len(RunDirectory(path).read_metrics()) >= 5:
                forked.process.kill()
                killed = RunDirectory(path)
        time.sleep(0.005)
    assert forked.result()[0] == -signal.SIGKILL
    assert killed.read_summary() is None
    done = killed.read_metrics()[-1]["step"]
    assert 60 <= done < 410
    code, out, err = cli("resume", killed.path)
    assert code == 0
    assert "resuming from step" in err
    assert out.splitlines()[-1] == str(killed.path)
    assert numbers(killed) == numbers(uninterrupted)
    assert killed.read_metrics() == uninterrupted.read_metrics()
    code, out, err = cli("resume", killed.path)  # complete: shown again, not run again
    assert code == 0
    assert "step" not in err
    assert out.splitlines()[-1] == str(killed.path)


@pytest.mark.usefixtures("quick_images")
def test_a_run_without_a_checkpoint_starts_over(cli: Cli, small_config: Path) -> None:
    directory = run_directory(cli("run", small_config)[1])
    expected = numbers(directory)
    for checkpoint in directory.checkpoints.iterdir():
        checkpoint.unlink()
    (directory.path / "summary.json").unlink()
    code, _, err = cli("resume", directory.path)
    assert code == 0
    assert "starting over" in err
    assert numbers(directory) == expected
    assert [record["step"] for record in directory.read_metrics()] == [0, 20, 40, 50]


@pytest.mark.usefixtures("quick_images")
def test_a_run_in_use_is_left_alone(cli: Cli, small_config: Path) -> None:
    directory = run_directory(cli("run", small_config)[1])
    (directory.path / "summary.json").unlink()
    with directory.lock():
        code, _, err = cli("resume", directory.path)
    assert (code, err) == (2, f"iclgd: {directory.path}: another process is working on this run\n")


def test_depth_and_outputs_reach_the_figures(cli: Cli, small_config: Path) -> None:
    code, out, _ = cli("run", small_config, "model.num_layers=3", "task.output_dim=2", "trainer.max_steps=20")
    assert code == 0
    assert run_directory(out).read_summary() is not None


def test_targets_without_signal_have_figures_too(cli: Cli, small_config: Path) -> None:
    code, out, err = cli("run", small_config, "task.num_noise=4", "trainer.max_steps=20")
    assert code == 0
    assert "warning" not in err
    assert (run_directory(out).figures / "weights.png").exists()


def test_a_diverged_run_says_so(cli: Cli, small_config: Path) -> None:
    code, out, err = cli("run", small_config, "training.learning_rate=1e30", "trainer.max_steps=20")
    assert code == 0
    assert "warning: not a finite number: " in err
    assert "loss/transformer" in err.split("not a finite number: ")[1]
    assert "nan" in out
    assert "RuntimeWarning" not in err


@pytest.mark.usefixtures("quick_images")
def test_two_processes_give_the_numbers_of_one(cli: Cli, small_config: Path, tmp_path: Path) -> None:
    overrides = ["evaluation.num_tasks=201", "seed=2", "model.num_layers=2", "training.num_seeds=2"]
    one = run_directory(cli("run", small_config, *overrides)[1])
    two_processes = ["trainer.devices=2", "trainer.strategy=ddp"]  # the second one is a fresh one
    code, out, err = Forked("run", small_config, *overrides, *two_processes).result()
    assert code == 0, err
    two = run_directory(out)
    assert json.loads((two.path / "environment.json").read_text())["world_size"] == 2
    assert len(list((tmp_path / "runs" / "small").iterdir())) == 2  # one directory for both processes
    expected = numbers(one)
    assert numbers(two) == pytest.approx(expected, rel=2e-3)
    for name in ("loss/gd", "loss/ridge", "gd/loss", "gd/learning_rate"):  # untouched by training's rounding
        assert numbers(two)[name] == pytest.approx(expected[name], rel=1e-6)


@pytest.mark.parametrize("what", ["a file in the way", "no space"])
def test_a_disk_that_takes_nothing_is_one_line(
    cli: Cli, small_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    if what == "no space":

        def fail(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("os.fsync", fail)
    else:
        (tmp_path / "runs").write_text("")
    code, out, err = cli("run", small_config)
    last = err.splitlines()[-1]
    assert code == 1
    assert out == ""
    assert last.startswith("iclgd: ")
    assert ("No space left on device" if what == "no space" else "Not a directory") in last or "File exists" in last
    assert "Traceback" not in err
    leftovers = [path for path in tmp_path.rglob(".*") if path.name not in {".lock", ".config", ".netrc"}]
    assert leftovers == []


TINY = [
    "tracking.mode=disabled",
    "training.batch_size=16",
    "evaluation={every_num_steps: 2, num_tasks: 60, gd_plus_plus_steps: 1}",
    "analysis={num_tasks: 60, num_resamples: 10, num_applications: 3, shifts: [weight_scale, distribution]}",
    "trainer={max_steps: 4, accelerator: cpu, num_threads: 1, num_nodes: 1, strategy: auto}",
]
FIGURES = {
    "two_layer": {"layers", "weights"},
    "five_layer": {"layers", "weights"},
    "five_layer_recurrent": {"layers", "weights"},
    "plain_tokens": {"copying", "layers"},
    "sine": {"functions"},
    "out_of_distribution": {"out_of_distribution", "layers", "weights"},
    "iterated": {"iterated", "weights"},
    "which_algorithm": {"which_algorithm", "layers", "weights"},
    "momentum": {"which_algorithm", "layers", "weights"},
}


@pytest.mark.usefixtures("quick_images", "quick_tuning")  # tests of figures lay out each kind
@pytest.mark.parametrize("path", sorted((ROOT / "configs" / "regression").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_config_runs_and_draws_its_figures(cli: Cli, path: Path) -> None:
    code, out, err = cli("run", path, *TINY)
    assert code == 0, err
    figures = {figure.stem for figure in run_directory(out).figures.iterdir()}
    assert figures == {"learning_curve", "alignment"} | FIGURES.get(path.stem, {"weights"})


@pytest.mark.usefixtures("quick_images", "quick_tuning")
@pytest.mark.parametrize("name", ["which_algorithm", "out_of_distribution", "iterated", "sine"])
def test_analyses_have_the_precision_of_the_models(cli: Cli, name: str) -> None:
    path = ROOT / "configs" / "regression" / f"{name}.yaml"
    code, out, err = cli("run", path, *TINY, "trainer.precision=64-true", "training.num_seeds=1")
    assert code == 0, err
    assert len(run_directory(out).read_analyses()) == 1


def test_a_bounded_model_is_compared_with_bounded_gd_plus_plus() -> None:
    task, bound = LinearRegressionTask(num_context=6, input_dim=4), TransformerConfig(2, recurrent=True, clip=0.4)
    bounded = gd_plus_plus_transformer(4, [0.6], [0.1], num_layers=2, clip=bound.clip)
    subject = Subject(0, task, bounded, {"gd_plus_plus": bounded})
    config = AnalysisConfig(run=["which_algorithm"], num_tasks=500, num_resamples=20)
    (found,) = ANALYSES["which_algorithm"].run([subject], config)["seeds"]
    assert [verdict["learner"] for verdict in found["verdicts"]] == ["gd_plus_plus(1 of 2)", "gd_plus_plus(2)"]
    assert all(verdict["distance"] == 0 for verdict in found["verdicts"])


@pytest.mark.usefixtures("quick_images")
@pytest.mark.parametrize(("input_dim", "output_dim"), [(1, 1), (2, 3), (50, 2)])
def test_inputs_and_outputs_of_any_number(cli: Cli, input_dim: int, output_dim: int) -> None:
    sizes = f"task={{input_dim: {input_dim}, output_dim: {output_dim}, num_context: 4}}"
    deep = "model={num_layers: 2, recurrent: true}"
    config = ROOT / "configs" / "regression" / "which_algorithm.yaml"
    code, out, err = cli("run", config, *TINY, sizes, deep, "evaluation.gd_plus_plus=optimal")
    assert code == 0, err
    weights = load_file(run_directory(out).path / "weights.safetensors")
    assert weights["transformer.layers.0.attention.query"].shape == (1, input_dim + output_dim, input_dim + output_dim)
