"""Runs on sequences: training beside least squares and gradient descent, resumed, opened again, refused."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import iclgd
from iclgd import config as configs
from iclgd.config import ConfigError
from iclgd.data.sequences.datamodule import SequenceStream
from iclgd.experiment import resume, run
from iclgd.experiments.sequences import Config, prepare
from iclgd.memory import TooLargeError
from iclgd.models.sequences import SequenceTransformer, gradient_step
from iclgd.models.sequences.solvers import next_by_least_squares, sequence_losses
from iclgd.tracking.run_directory import RunDirectory
from tests.conftest import ROOT

CONFIGS = ROOT / "configs" / "sequences"
SMALL = [
    "task={length: 8, state_dim: 3}",
    "training={batch_size: 8, warmup_steps: 2, schedule: constant}",
    "evaluation={every_num_steps: 7, num_sequences: 20}",
    "analysis.num_sequences=60",
    "trainer={max_steps: 14, accelerator: cpu}",
    "tracking.mode=disabled",
]


def config_of(*overrides: str, name: str = "linear_system_mesa_small") -> Config:
    config = configs.load(CONFIGS / f"{name}.yaml", [*SMALL, *overrides])
    assert isinstance(config, Config)
    return config


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunDirectory]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ICLGD_RUNS", str(tmp_path_factory.mktemp("runs")))
        patch.setattr("iclgd.report.figures.DOTS_PER_INCH", 30)
        finished = run(config_of(), "mesa")
        assert finished.directory is not None
        assert not finished.failed
        yield finished.directory


def summary_of(directory: RunDirectory) -> dict[str, float]:
    summary: dict[str, float] = json.loads((directory.path / "summary.json").read_text())
    return summary


def test_losses_are_those_of_the_models(directory: RunDirectory) -> None:
    opened, summary = iclgd.load_run(directory.path), summary_of(directory)
    assert isinstance(opened.config, Config)
    data, _ = prepare(opened.config)
    batch = data.fixed_batch("evaluation", 20, torch.float64)
    transformer = opened.models["transformer"]
    assert isinstance(transformer, SequenceTransformer)
    ridge, rate = summary["least_squares/regularization"], summary["gd/learning_rate"]
    predicted = {
        "transformer": transformer.double()(batch.inputs).detach(),
        "least_squares": next_by_least_squares(batch.inputs, ridge),
        "delayed_least_squares": next_by_least_squares(batch.inputs, ridge, with_newest=False),
        "gd": gradient_step(batch.inputs, rate),
    }
    for name, each in predicted.items():
        losses = sequence_losses(each, batch.targets).mean(1)
        assert summary[f"loss/{name}"] == pytest.approx(losses.mean().item(), rel=1e-4)
        half = 2.093 * losses.std().item() / 20**0.5  # Student's t of 19 degrees of freedom
        assert summary[f"loss/{name}_high"] - summary[f"loss/{name}"] == pytest.approx(half, rel=1e-2)
        assert summary[f"loss/{name}"] - summary[f"loss/{name}_low"] == pytest.approx(half, rel=1e-2)
    assert summary["loss/least_squares"] < summary["loss/gd"]


def test_the_learners_are_at_their_best(directory: RunDirectory) -> None:
    summary = summary_of(directory)
    data, _ = prepare(config_of())
    tuning = data.fixed_batch("tuning", 256, torch.float64)

    def loss(rate: float) -> float:
        return sequence_losses(gradient_step(tuning.inputs, rate), tuning.targets).mean().item()

    best = summary["gd/learning_rate"]
    assert loss(best) < min(loss(0.99 * best), loss(1.01 * best))


def test_records_and_figures(directory: RunDirectory) -> None:
    opened = iclgd.load_run(directory.path)
    curves = opened.analysis["by_position"]["learners"]
    assert set(curves) == {"transformer", "least_squares", "delayed_least_squares", "gd"}
    for found in curves.values():
        assert all(
            low <= mean <= high for low, mean, high in zip(found["low"], found["mean"], found["high"], strict=True)
        )
        assert len(found["mean"]) == 8
    found = opened.analysis["probes"]
    assert [len(layers) for layers in found["targets"].values()] == [2, 2]  # before and after the layer
    assert {path.stem for path in directory.figures.iterdir()} == {"learning_curve", "by_position", "probes"}


def test_a_resumed_run_is_the_same(directory: RunDirectory) -> None:
    first = run(config_of("trainer.max_steps=7", "analysis.run=[]"), "resumed").directory
    assert first is not None
    resume(first.path, ["trainer.max_steps=14"])
    before, after = summary_of(directory), summary_of(first)
    for name in before.keys() - {"train/steps_per_second"}:
        assert after[name] == before[name], name


def drawn(num_steps: int, *arguments: Any, **keys: Any) -> Tensor:
    """Return the inputs of the last of some steps."""
    stream = iter(SequenceStream(config_of().task, 0, 8, *arguments, **keys))
    batches = [next(stream) for _ in range(num_steps)]
    stream.close()
    return batches[-1].inputs


def test_processes_share_out_what_one_has() -> None:
    whole = drawn(1, 3)
    parts = [drawn(1, 3, shard=(rank, 2)) for rank in range(2)]
    assert torch.equal(torch.cat(parts), whole)
    assert torch.equal(drawn(4), whole)  # whoever begins later has the same


@pytest.mark.slow
def test_two_processes_give_the_numbers_of_one(directory: RunDirectory) -> None:
    command = [sys.executable, "-m", "iclgd.cli", "run", str(CONFIGS / "linear_system_mesa_small.yaml"), *SMALL]
    done = subprocess.run(
        [*command, "trainer.devices=2", "trainer.strategy=ddp"],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    two = RunDirectory(Path(done.stdout.splitlines()[-1]))
    assert json.loads((two.path / "environment.json").read_text())["world_size"] == 2
    found = summary_of(two)
    for name, value in summary_of(directory).items():
        if name != "train/steps_per_second":
            assert found[name] == pytest.approx(value, rel=1e-4), name


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["task.name=linear_systm"], "task.name must be one of: linear_system, contracting_system, nonlinear_system"),
        (["model.attention=mesaa"], "did you mean mesa?"),
        (["model.num_heads=5"], "model.num_heads must divide the width of tokens (12) unless model.key_size is given"),
        (["model.num_lags=2"], "model.num_lags needs model.tokens=lagged, got model.tokens=constructed"),
        (["model.first_attention=softmax"], "model.first_attention needs more than one of model.num_layers"),
        (["model.attention=linear", "model.normalize=keys"], "model.normalize needs a mesa layer"),
        (["evaluation.num_lags=9"], "must be at most task.length (8), got 9"),
        (["analysis.num_sequences=40"], "at least four times the 12 channels of a token for analysis.run: probes"),
        (["trainer.precision=bf16-true"], "least squares cannot be solved in bfloat16"),
        (["training.batch_size=9", "trainer.devices=2"], "training.batch_size must be a multiple of"),
        (["evaluation.num_sequences=1"], "evaluation.num_sequences must be at least 2, got 1"),
        (["task.length=1"], "task.length must be at least 2, got 1"),
    ],
)
def test_what_cannot_be_run_is_one_line(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        config_of(*overrides)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_eigenvalues_are_in_their_order() -> None:
    with pytest.raises(ConfigError, match=r"must be from -1 to 1 and in this order, got 0\.95 and 0\.9"):
        config_of("task.least_eigenvalue=0.95", name="contracting_system_linear")


def test_too_many_sequences_are_refused_before_they_are_drawn() -> None:
    with pytest.raises(TooLargeError, match=r"reduce training\.batch_size"):
        prepare(config_of("training.batch_size=1000000000"))


def test_a_loss_that_is_not_finite_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    run(config_of("training.learning_rate=1e20", "training.gradient_clip=1e30", "analysis.run=[]"), "diverged")
    assert "warning: the training loss is not finite from step" in capsys.readouterr().err
