"""Every value of every choice runs, alone and beside each other one, or is refused before anything starts."""

import functools
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from iclgd.analysis.suite import AnalysisConfig
from iclgd.data import REGRESSION_TASKS
from iclgd.experiments import regression
from iclgd.models.transformer import TransformerConfig
from iclgd.modules.regression import EvaluationConfig, TrainingConfig
from iclgd.modules.trainer import TrainerConfig
from tests.experiments.combinations import Row
from tests.test_experiment import Cli, numbers, run_directory

ANALYSES = "[out_of_distribution, iterated, which_algorithm]"
VALUES: dict[str, list[str]] = {
    "trainer.precision": ["32-true", "64-true", "bf16-mixed"],
    "task.name": ["linear", "sine"],
    "model.tokens": ["joint", "separate"],
    "model.attention": ["linear", "softmax", "mixture"],
    "analysis.run": ["[]", ANALYSES, "[which_algorithm, out_of_distribution]", "[functions]"],
    "model.num_layers": ["1", "2"],
    "model.recurrent": ["false", "true"],
    "model.layer_norm": ["false", "true"],
    "model.mlp": ["false", "true"],
    "model.num_heads": ["1", "2"],
    "training.num_seeds": ["1", "2"],
    "model.first_attention": ["null", "linear", "softmax", "mixture"],
    "model.positional": ["none 0", "concatenate 4", "add 0"],
    "model.bias": ["false", "true"],
    "model.key_size": ["null", "2"],
    "model.in_projection": ["null", "6"],
    "model.input_mlp": ["false", "true"],
    "model.out_projection": ["false", "true"],
    "model.clip": ["0.0", "2.0"],
    "model.dampening": ["1.0", "0.5"],
    "model.update_targets_only": ["false", "true"],
    "evaluation.gd_plus_plus": ["trained", "optimal", "none"],
    "training.schedule": ["constant", "cosine"],
    "task.output_dim": ["1", "2"],
    "task.num_noise": ["0", "1", "4"],
    "task.distribution": ["uniform", "normal", "exponential", "laplace", "mixture"],
    "task.normalize": ["false", "true"],
    "task.covariance": ["isotropic 1", "diagonal 4", "rotated 4"],
}
CORE = ["trainer.precision", "task.name", "model.tokens", "model.attention", "analysis.run"]
ARCHITECTURE = ["model.layer_norm", "model.mlp", "model.recurrent", "model.num_heads", "training.num_seeds"]
TINY = """\
task: {num_context: 4}
training: {batch_size: 8}
evaluation: {every_num_steps: 1, num_tasks: 24, gd_plus_plus_steps: 1}
analysis: {num_tasks: 24, num_resamples: 10, num_applications: 3, shifts: [weight_scale, num_context, distribution]}
trainer: {max_steps: 2, accelerator: cpu}
tracking: {mode: disabled}
"""


def overrides(row: Row) -> list[str]:
    """Return a row as keys of the config; sine tasks lack some."""
    texts = dict(row)
    encoding, channels = texts.pop("model.positional").split()
    texts |= {"model.positional_encoding": encoding, "model.positional_channels": channels}
    covariance, condition = texts.pop("task.covariance").split()
    texts |= {"task.covariance": covariance, "task.condition_number": condition}
    if row["task.name"] == "sine":
        for key in ("distribution", "normalize", "covariance", "condition_number"):
            del texts[f"task.{key}"]
    else:
        texts["task.input_dim"] = "4" if encoding == "add" else "3"
    return [f"{key}={text}" for key, text in texts.items()]


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("iclgd.report.figures.DOTS_PER_INCH", 30)
    path = tmp_path / "tiny.yaml"
    path.write_text("experiment: regression\n" + TINY)
    return path


parsed = functools.cache(yaml.safe_load)


def is_allowed(row: Row) -> bool:
    """Ask the dataclasses themselves: reading a config takes a thousand times as long."""
    groups: dict[str, dict[str, Any]] = {group: dict(keys) for group, keys in parsed(TINY).items()}
    for text in overrides(row):
        key, _, value = text.partition("=")
        group, _, name = key.partition(".")
        groups.setdefault(group, {})[name] = parsed(value)
    try:
        regression.Config(
            task=REGRESSION_TASKS[row["task.name"]](**groups["task"]),
            model=TransformerConfig(**groups["model"]),
            training=TrainingConfig(**groups["training"]),
            evaluation=EvaluationConfig(**groups["evaluation"]),
            analysis=AnalysisConfig(**groups["analysis"]),
            trainer=TrainerConfig(**groups["trainer"]),
        )
    except ValueError:
        return False
    return True


def expected_files(row: Row) -> set[str]:
    return set(parsed(row["analysis.run"]))


def check(cli: Cli, path: Path, row: Row) -> None:
    """Run a row to its end, with finite numbers, all analyses and their figures."""
    texts = overrides(row)
    code, out, err = cli("run", path, *texts)
    assert code == 0, f"{' '.join(texts)}\n{err}"
    directory = run_directory(out)
    for name, value in numbers(directory).items():
        assert abs(value) < 1e30, f"{name}: {value}\n{' '.join(texts)}"
    assert set(directory.read_analyses()) == expected_files(row)
    figures = {figure.stem for figure in directory.figures.iterdir()}
    assert figures >= {"learning_curve", "alignment"} | expected_files(row), " ".join(texts)
    json.dumps(directory.read_analyses(), allow_nan=False)
