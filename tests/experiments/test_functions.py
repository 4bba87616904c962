"""Runs on function classes from the command line's view: what they write, what they refuse, and how they go on."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import iclgd
from iclgd import config as configs
from iclgd import experiment
from iclgd.analysis import function_baselines
from iclgd.analysis.function_baselines import BASELINES
from iclgd.data.functions import FUNCTION_TASKS, FunctionTask, LinearFunctionTask, NoisyLinearFunctionTask
from iclgd.experiments.function_evaluation import error_by_position
from iclgd.experiments.function_memory import memory_needs
from iclgd.experiments.functions import Config, make_data, prepare
from iclgd.memory import TooLargeError
from iclgd.models.function_transformer import FunctionTransformer
from iclgd.report.position_figures import error_by_position as draw_errors
from iclgd.report.results import Results
from iclgd.tracking.run_directory import RunDirectory
from tests.conftest import ROOT
from tests.forked import Forked
from tests.language_models import assert_close_weights
from tests.test_experiment import numbers, run_directory

CONFIGS = sorted((ROOT / "configs" / "functions").glob("*.yaml"))
LINEAR = ROOT / "configs" / "functions" / "linear_small.yaml"
TINY = (
    "task={name: noisy_linear, input_dim: 2, num_points: 6, num_tasks: 8}",
    "model={num_layers: 1, num_heads: 2, hidden_size: 8}",
    "training={batch_size: 4, warmup_steps: 2}",
    "evaluation={every_num_steps: 2, num_prompts: 8, num_resamples: 20, num_fitted_prompts: 2}",
    "trainer={max_steps: 6, accelerator: cpu}",
    "tracking.mode=disabled",
)


def load(*overrides: str) -> Config:
    config = configs.load(LINEAR, [*TINY, *overrides])
    assert isinstance(config, Config)
    return config


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunDirectory]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ICLGD_RUNS", str(tmp_path_factory.mktemp("runs")))
        directory = experiment.run(load(), "tiny").directory
        assert directory is not None
        yield directory


def test_a_run_leaves_errors_of_all_learners_with_intervals(finished: RunDirectory) -> None:
    summary = finished.read_summary()
    assert summary is not None
    record = finished.read_analyses()["error_by_position"]
    learners = ("transformer", "ridge", "dmmse", "least_squares", "averaging", "nearest_neighbors")
    kinds = [f"{prefix}error/{name}" for prefix in ("", "new_functions/") for name in learners]
    assert [f"{curve['prefix']}error/{curve['learner']}" for curve in record["curves"]] == kinds
    for curve, name in zip(record["curves"], kinds, strict=True):
        assert curve["num_prompts"] == 8
        assert summary[name] == pytest.approx(np.mean(curve["mean"]), rel=1e-6)
        for position in (2, 4, 5):  # D, 2 D and the last
            at = f"{name}/at_{position:02}"
            assert summary[at] == curve["mean"][position]
            low, high = summary[f"{at}_low"], summary[f"{at}_high"]
            assert low == curve["low"][position] <= summary[at] <= high == curve["high"][position]
    assert record["divisor"] == 2
    assert record["positions"] == [0, 1, 2, 3, 4, 5]
    assert (finished.figures / "error_by_position.png").exists()
    assert (finished.figures / "error_over_training.png").exists()


def test_the_trained_model_is_there_again(finished: RunDirectory) -> None:
    run = iclgd.load_run(finished.path)
    model = run.models["transformer"]
    assert isinstance(model, FunctionTransformer)
    config = load()
    batch = make_data(config).evaluation_batch()
    with torch.no_grad():
        error = (model.at_every_position(batch.x, batch.y) - batch.target).square().mean().item() / 2
    assert run.summary["error/transformer"] == pytest.approx(error, rel=1e-5)


def test_a_run_goes_on_bit_for_bit_from_a_checkpoint(tmp_path: Path, quick_images: None) -> None:
    constant = "training={schedule: constant, curriculum: {start_points: 2, points_interval: 1}}"
    first = experiment.run(load(constant, "trainer.max_steps=4"), "first").directory
    whole = experiment.run(load(constant), "whole").directory
    assert first is not None
    assert whole is not None
    experiment.resume(first.path, ["trainer.max_steps=6"])
    assert (first.path / "weights.safetensors").read_bytes() == (whole.path / "weights.safetensors").read_bytes()
    summaries = [directory.read_summary() for directory in (first, whole)]
    ours, theirs = ({**(summary or {}), "train/steps_per_second": 0} for summary in summaries)
    assert ours == theirs
    assert first.read_metrics() == whole.read_metrics()


@pytest.mark.slow  # the second process is a fresh one
def test_two_processes_give_the_numbers_of_one(finished: RunDirectory, tmp_path: Path) -> None:
    path = tmp_path / "two.yaml"
    path.write_text(configs.to_yaml(load()))
    code, out, err = Forked("run", path, "trainer.devices=2", "trainer.strategy=ddp").result()
    assert code == 0, err
    one, two = finished, run_directory(out)
    assert numbers(two) == pytest.approx(numbers(one), rel=1e-4)
    weights, others = (load_file(each.path / "weights.safetensors") for each in (one, two))
    assert_close_weights(weights, others, 1e-5)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_shipped_configs_can_be_run(path: Path) -> None:
    config = configs.load(path)
    assert isinstance(config, Config)
    assert config.evaluation.baselines_of(config.task)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["task.num_tasks=3", "task.replacement=false"],
            "task.num_tasks must be at least the prompts of a batch (4) with task.replacement=false, got 3",
        ),
        (
            ["task.num_tasks=1", "task.replacement=false"],
            "task.num_tasks must be at least the prompts of a batch (4) with task.replacement=false, got 1",
        ),
        (["model.num_points=5"], "model.num_points must be at least task.num_points (6), got 5"),
        (
            ["training.curriculum.start_dims=3"],
            "training.curriculum.start_dims must be at most task.input_dim (2), got 3",
        ),
        (
            ["training.curriculum.start_points=7"],
            "training.curriculum.start_points must be at most task.num_points (6), got 7",
        ),
        (
            ["training.warmup_steps=6"],
            "training.warmup_steps must be below trainer.max_steps (6) with training.schedule=triangle, got 6",
        ),
        (
            ["trainer={devices: 3}"],
            "training.batch_size must be a multiple of trainer.devices x trainer.num_nodes (3), got 4",
        ),
        (
            ["trainer={devices: 4}", "evaluation.num_prompts=10"],
            "evaluation.num_prompts must be a multiple of trainer.devices x trainer.num_nodes (4), got 10",
        ),
        (
            ["trainer.precision=bf16-true"],
            "trainer.precision must be one of: 32-true, 64-true, bf16-mixed with experiment=functions; got ",
        ),
        (
            ["evaluation.baselines=[dmmse]", "task.num_tasks=0"],
            "evaluation.baselines: dmmse needs task.num_tasks and task.noise_std above 0 and task.renormalize=false",
        ),
        (
            ["evaluation.baselines=[laso]"],
            f"evaluation.baselines must be a list of: {', '.join(BASELINES)}; got 'laso'; did you mean lasso?",
        ),
        (["task.name=decision_tree", "task.num_tasks=0", "task.depth=0"], "task.depth must be at least 1, got 0"),
        (
            ["task={name: sparse_linear, sparsity: 3}"],
            "task.sparsity must be at most task.input_dim (2), got 3",
        ),
        (["task.name=linea"], "task.name must be one of: "),
        (["model.layout=garg"], "model.layout must be one of: garg2022, raventos2023; got 'garg'"),
        (["seed=-1"], "seed must be at least 0, got -1"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(overrides: list[str], message: str) -> None:
    with pytest.raises(configs.ConfigError) as error:
        load(*overrides)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_packages_that_are_not_there_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(function_baselines.importlib.util, "find_spec", lambda name: None)
    message = re.escape('evaluation.baselines: greedy_tree needs the package sklearn: pip install "iclgd[baselines]"')
    with pytest.raises(configs.ConfigError, match=f"^{message}$"):
        load("task={name: decision_tree, num_tasks: 0}")


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("training.batch_size=100000000", "training.batch_size"),
        ("evaluation.num_prompts=2000000000", "evaluation.num_prompts"),
        ("model={num_layers: 500, hidden_size: 200000, num_heads: 1}", "model.num_layers"),
        ("task.num_tasks=2000000000", "task.num_tasks"),
    ],
)
def test_more_than_memory_holds_is_refused(override: str, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("iclgd.memory.available", lambda uses_gpu=False: 2**30)
    with pytest.raises(TooLargeError, match=f"reduce {re.escape(key)}"):
        prepare(load(override))


def test_estimates_of_memory_are_lower_bounds() -> None:
    config = load()
    _, model = memory_needs(config)[1:3]
    _, module = prepare(config)
    there = 4 * 4 * sum(weight.numel() for weight in module.model.parameters())
    assert 0.5 * there <= model.num_bytes <= there


@pytest.mark.parametrize("name", FUNCTION_TASKS)
def test_every_function_class_has_learners_beside_it(name: str) -> None:
    sparsity = ", sparsity: 1" if name == "sparse_linear" else ""
    config = load(f"task={{name: {name}, num_tasks: 0{sparsity}}}", "evaluation={num_prompts: 2, noiseless: true}")
    batch = make_data(config).evaluation_batch()
    record = error_by_position(config, make_data(config), {"": batch.noiseless.square()})
    learners = [curve["learner"] for curve in record["curves"]]
    assert learners == ["transformer", *config.task.baselines]
    assert all(np.isfinite(curve["mean"]).all() for curve in record["curves"])
    at_first = [curve["mean"][0] for curve in record["curves"]]
    assert at_first == pytest.approx([at_first[0]] * len(at_first))  # none knows anything


def test_learners_are_the_best_where_they_are_the_posterior() -> None:
    config = load("task={noise_std: 0.5, num_tasks: 4}", "evaluation={num_prompts: 512, noiseless: true}")
    data = make_data(config)
    zeros = {prefix: data.evaluation_batch(prefix).noiseless.square() for prefix in data.evaluation_tasks()}
    curves = {
        (curve["prefix"], curve["learner"]): np.array(curve["mean"])
        for curve in error_by_position(config, data, zeros)["curves"]
    }
    others = ("ridge", "least_squares", "averaging", "nearest_neighbors")
    assert all((curves["", "dmmse"][1:] < curves["", name][1:]).all() for name in others)
    new = "new_functions/"
    assert all((curves[new, "ridge"][1:] < curves[new, name][1:]).all() for name in ("dmmse", *others[1:]))


def test_ridge_has_the_penalty_of_the_noise() -> None:
    task = NoisyLinearFunctionTask(noise_std=0.5, weight_scale=2.0)
    assert BASELINES["ridge"].make(task).regularization == 0.0625  # type: ignore[attr-defined]
    assert BASELINES["ridge"].refuse(LinearFunctionTask()) is not None


def test_a_task_of_ones_own_has_learners_too() -> None:
    assert FunctionTask.baselines.fget(LinearFunctionTask()) == (  # type: ignore[attr-defined]
        "least_squares",
        "averaging",
        "nearest_neighbors",
    )


def test_the_figure_shows_each_evaluation_set_and_leaves_gaps(finished: RunDirectory) -> None:
    record = json.loads((finished.path / "analysis" / "error_by_position.json").read_text())
    figure = draw_errors(Results(analyses={"error_by_position": record}))
    assert figure is not None
    assert [axes.get_title() for axes in figure.axes] == ["functions of the pool", "new functions"]
    for axes, prefix in zip(figure.axes, ("", "new_functions/"), strict=True):
        curves = [curve for curve in record["curves"] if curve["prefix"] == prefix]
        drawn = [line for line in axes.get_lines() if len(line.get_xdata()) > 2]  # type: ignore[arg-type]
        assert [list(line.get_ydata()) for line in drawn] == [curve["mean"] for curve in curves]  # type: ignore[arg-type]
    record["curves"] = record["curves"][:1]
    record["curves"][0] |= {"mean": [float("nan")] * 6, "low": [float("nan")] * 6, "high": [float("inf")] * 6}
    assert draw_errors(Results(analyses={"error_by_position": record})) is not None
    assert draw_errors(Results()) is None
