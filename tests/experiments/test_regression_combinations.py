"""Every value of every choice runs, alone and beside each other one, or is refused before anything starts."""

import functools
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from iclgd.data import REGRESSION_TASKS
from iclgd.experiments import regression
from iclgd.experiments.analyses import AnalysisConfig
from iclgd.models.transformer import TransformerConfig
from iclgd.modules.regression import EvaluationConfig, TrainingConfig
from iclgd.runtime.trainer import TrainerConfig
from tests.experiments.combinations import Row, pairwise
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
    "model.momentum": ["0.0", "0.5"],
    "model.learn_momentum": ["false", "true"],
    "evaluation.gd_plus_plus": ["trained", "optimal", "none"],
    "training.schedule": ["constant", "cosine"],
    "task.output_dim": ["1", "2"],
    "task.num_noise": ["0", "1", "4"],
    "task.distribution": ["uniform", "normal", "exponential", "laplace", "mixture"],
    "task.normalize": ["false", "true"],
    "task.covariance": ["isotropic 1", "diagonal 4", "rotated 4"],
}
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
def tiny(tmp_path: Path, quick_tuning: None) -> Path:
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


CHOICES = ["trainer.precision", "task.name", "model.tokens", "model.attention"]
CORE_ROWS, CORE_REFUSED = pairwise(VALUES, is_allowed, CHOICES)


@pytest.mark.parametrize("row", CORE_ROWS, ids=lambda row: " ".join(row[key] for key in CHOICES))
def test_precision_task_tokens_and_attention_go_together(cli: Cli, tiny: Path, row: Row) -> None:
    check(cli, tiny, row)


def test_no_two_of_these_choices_are_refused() -> None:
    assert CORE_REFUSED == []


@pytest.mark.slow  # some 60 runs
@pytest.mark.parametrize("part", range(8))
def test_every_two_values_of_different_keys_go_together_or_are_refused(cli: Cli, tiny: Path, part: int) -> None:
    rows, _ = pairwise(VALUES, is_allowed)
    assert len(rows) > 40
    for row in rows[part::8]:
        check(cli, tiny, row)


REFUSED = {
    "trainer.precision=bf16-true": "trainer.precision must be one of: 32-true, 64-true, bf16-mixed with experiment=",
    "analysis.run=[iterated, iterated]": "analysis.run has iterated twice",
    "analysis.shifts=[weight_scale, weight_scale]": "analysis.shifts has weight_scale twice",
    "analysis.shifts=[]": "analysis.shifts must have at least one of: ",
    "task.input_range=1e-300": "task.input_range must be from 1e-06 to 1e+06, got 1e-300",
    "task.weight_scale=1e300": "task.weight_scale must be from 1e-06 to 1e+06, got 1e+300",
    "model.init_scale=1e-300": "model.init_scale must be from 1e-15 to ",
    "model={num_layers: 2, clip: 1e-300}": "model.clip must be 0 or at least 1e-15, got 1e-300",
    "model.momentum=1": "model.momentum must be at least 0 and below 1, got 1.0",
    "model.learn_momentum=true": "model.momentum acts from the second layer on: with model.num_layers=1 it must be 0 ",
    "analysis.dampening=1e-40": "analysis.dampening must be from 1e-15 to ",
    "model={tokens: separate, positional_encoding: add} task.input_dim=3": "task.input_dim must be even with model.",
    "analysis={run: [out_of_distribution], shifts: [condition_number]} task.input_dim=1": "analysis.run: out_of_d",
    "analysis.run=[iterated] model.out_projection=true": "analysis.run: iterated needs tokens with target channels of",
    # What no machine has.
    "model.num_layers=100000000": "model.num_layers must be at most 1,000, got 100000000",
    "training.batch_size=1000000000000": "training.batch_size must be at most 2,147,483,647, got 1000000000000",
    "training.batch_size=2000000000": "a batch of 2,000,000,000 tasks would need at least ",
    "evaluation.num_tasks=2000000000": "the evaluation on 2,000,000,000 tasks would need at least ",
    "analysis.num_resamples=100000000000": "analysis.num_resamples must be at most 1,000,000, got 100000000000",
    "analysis.num_applications=1000000000": "analysis.num_applications must be at most 10,000, got 1000000000",
    "model.key_size=2000000000": "a model of 88,000,000,000 parameters would need at least ",
    "model.num_heads=2000000000": "a model of ",
    "model.in_projection=1000000000": "a model of ",
    "training.num_seeds=2000000000": "a batch of 8 tasks would need at least ",
    "task.num_context=2000000000": "the evaluation on 24 tasks would need at least ",
    "task.input_dim=100000000": "the evaluation on 24 tasks would need at least ",
    "evaluation.gd_plus_plus_steps=1000000000": "evaluation.gd_plus_plus_steps must be at most 1,000,000, got ",
    "trainer.num_threads=1000000000": "trainer.num_threads must be at most 1,024, got 1000000000",
}


@pytest.mark.parametrize("texts", REFUSED)
def test_what_cannot_be_is_refused_before_anything_starts(cli: Cli, tiny: Path, tmp_path: Path, texts: str) -> None:
    code, out, err = cli("run", tiny, *re.split(r" (?=\w+\.\w+=)", texts))
    assert (code, out) == (2, "")
    assert err.startswith(f"iclgd: {REFUSED[texts]}"), err
    assert err.count("\n") == 1
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("scale", ["1e-6", pytest.param("1e6", marks=pytest.mark.slow)])
def test_the_most_extreme_scales_run(cli: Cli, tiny: Path, scale: str) -> None:
    for key in ("input_range", "weight_scale"):
        code, _, err = cli("run", tiny, f"task.{key}={scale}", f"analysis.run={ANALYSES}")
        assert code == 0, err
