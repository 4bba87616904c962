"""What ships with the package does what the README says."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from transformers import GPT2LMHeadModel

from iclgd import config as configs
from iclgd.runs.run import load_run
from tests.conftest import ROOT
from tests.test_experiment import Cli, numbers, run_directory

EMBEDDED = ROOT / "configs" / "text" / "embedded.yaml"
LANGUAGE = ROOT / "configs" / "language_modeling" / "embedded_model.yaml"
OFFLINE = "tracking.mode=disabled"
SMALL_LANGUAGE = [
    *("task.num_demonstrations=6", "model.num_layers=2", "model.hidden_size=16", "model.num_heads=2"),
    *(
        "training.batch_size=8",
        "training.growth_steps=0",
        "evaluation.num_sequences=16",
        "evaluation.every_num_steps=4",
    ),
    *("evaluation.every_num_steps=4", "trainer.max_steps=8", "trainer.precision=32-true", OFFLINE),
]


def test_demonstrations_help_more_than_finetuning_and_finetuning_helps(cli: Cli) -> None:
    code, out, err = cli("run", EMBEDDED, OFFLINE, "task.num_queries=256")
    assert (code, err) == (0, "")
    directory = run_directory(out)
    summary = directory.read_summary()
    assert summary is not None
    assert summary["accuracy/in_context"] > summary["accuracy/zero_shot"] + 0.2
    assert summary["accuracy/finetuned"] > summary["accuracy/zero_shot"] + 0.2
    assert summary["rec2ftp"] > 90
    assert summary["sim_aou_low"] > summary["sim_aou_random_high"]
    assert summary["sim_am_low"] > summary["sim_am_zero_shot_high"]
    assert summary["kendall_low"] > summary["kendall_random_high"]
    assert summary["attention_right_label_low"] > 2 * summary["attention_right_label_even_high"]
    assert abs(summary["untrained/attention_right_label_gain"]) < 0.02
    assert summary["untrained/sim_aou_high"] < summary["sim_aou_low"]
    assert summary["shuffled_labels/accuracy/in_context"] < summary["accuracy/in_context"] - 0.1
    names = {path.stem for path in directory.figures.iterdir()}
    assert names == {"similarity", "attention_to_demonstrations", "accuracy"}
    losses = directory.read_metrics()
    assert len(losses) == 32
    assert set(losses[0]) >= {"finetune/loss", "untrained/finetune/loss"}


@pytest.mark.parametrize("path", sorted((ROOT / "configs").rglob("*.yaml")), ids=lambda path: path.stem)
def test_every_config_can_be_read(path: Path) -> None:
    kind = path.relative_to(ROOT / "configs").parts[0]
    assert configs.load(path, [OFFLINE], may_lack=True).experiment == kind


def test_a_language_model_is_trained_written_and_compared(cli: Cli) -> None:
    code, out, err = cli("run", LANGUAGE, *SMALL_LANGUAGE)
    assert code == 0, err
    directory = run_directory(out)
    assert (directory.figures / "learning_to_learn.png").exists()
    (model,) = load_run(directory.path).models.values()
    assert isinstance(model, GPT2LMHeadModel)
    assert (model.config.n_layer, model.training) == (2, False)
    code, out, err = cli(
        *("run", EMBEDDED, OFFLINE, f"model.name={directory.path / 'model'}", "task.num_queries=16"),
        *("demonstrations.num=4", "evaluation={controls: [], other_task: null}"),
    )
    assert code == 0, err


@pytest.mark.slow
def test_two_processes_train_the_language_model_of_one(cli: Cli) -> None:
    code, out, _ = cli("run", LANGUAGE, *SMALL_LANGUAGE)
    assert code == 0
    command = [sys.executable, "-m", "iclgd.cli", "run", str(LANGUAGE), *SMALL_LANGUAGE]
    done = subprocess.run(
        [*command, "trainer.devices=2", "trainer.strategy=ddp"],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    two = run_directory(done.stdout)
    assert json.loads((two.path / "environment.json").read_text())["world_size"] == 2
    speed = "train/tokens_per_second"
    expected, found = (numbers(directory) for directory in (run_directory(out), two))
    assert found | {speed: 0} == pytest.approx(expected | {speed: 0}, abs=1e-5)
