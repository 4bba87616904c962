"""Training on two processes takes the steps of one process, however the work and the weights are shared out."""

import os
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
from safetensors.torch import load_file

from iclgd import config as configs
from iclgd.data.corpus_datamodule import CorpusDataModule
from iclgd.experiment import run
from iclgd.experiments.language_modeling import Config, prepare
from iclgd.tracking.run_directory import RunDirectory
from tests.conftest import ROOT
from tests.language_models import assert_close_weights
from tests.modules.sharing import STRATEGIES
from tests.modules.test_language_modeling import small, small_corpus, write_corpus

STEPS = ["trainer.max_steps=20", "evaluation={every_num_steps: 10, num_sequences: 6, num_samples: 1}"]
TOLERANCE = 1e-5


def run_on_two_processes(config: Config, runs: Path) -> dict[str, RunDirectory]:
    """Run by each strategy, and a part of the last one again; return the runs."""
    path = runs / "config.yaml"
    path.write_text(configs.to_yaml(config))
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(len(STRATEGIES) + 1)]
        ports = " ".join(str(each.getsockname()[1]) for each in sockets)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ICLGD_RUNS": str(runs), "PORTS": ports}
    command = [sys.executable, "-m", "tests.modules.sharing", str(path)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    found = {name: RunDirectory(next((runs / name).iterdir())) for name in STRATEGIES}
    return {**found, "resumed": RunDirectory(runs / "resumed")}


def assert_equal(first: RunDirectory, second: RunDirectory, tolerance: float) -> None:
    """Compare the weights and the losses of two runs.

    Keys' biases are left out, see :func:`assert_close_weights`, unless all is to be the same exactly.
    """
    assert (
        [row["step"] for row in first.read_metrics()] == [row["step"] for row in second.read_metrics()] == [0, 10, 20]
    )
    for name in ("val/loss", "train/loss"):
        losses = [[row.get(name, 0.0) for row in each.read_metrics()] for each in (first, second)]
        assert losses[0] == pytest.approx(losses[1], rel=0, abs=tolerance), name
    weights, others = (load_file(each.path / "model" / "model.safetensors") for each in (first, second))
    assert_close_weights(weights, others, tolerance)


def assert_same_training(one: RunDirectory | None, two: dict[str, RunDirectory]) -> None:
    assert one is not None
    assert_equal(one, two["ddp"], TOLERANCE)
    assert_equal(two["ddp"], two["fsdp"], TOLERANCE)
    assert_equal(two["fsdp"], two["resumed"], tolerance=0.0)


def test_two_processes_train_as_one_that_takes_half_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ICLGD_RUNS", str(tmp_path))
    one = run(small(*STEPS, "training.accumulation=2"), "one").directory
    assert_same_training(one, run_on_two_processes(small(*STEPS), tmp_path))


@pytest.mark.slow
def test_they_do_so_on_a_corpus_that_cannot_be_halved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ICLGD_RUNS", str(tmp_path))
    text = write_corpus(tmp_path / "corpus")
    data, _ = prepare(small_corpus(text, *STEPS))
    assert isinstance(data, CorpusDataModule)
    assert any((data.corpus.validation.num_tokens - 1) // length % 2 for length in data.lengths)
    one = run(small_corpus(text, *STEPS, "training.accumulation=2"), "one").directory
    assert_same_training(one, run_on_two_processes(small_corpus(text, *STEPS), tmp_path))


@pytest.mark.parametrize("key", ["trainer.compile=true", "trainer.precision=64-true"])
def test_what_does_not_go_with_shared_out_weights_is_refused(key: str) -> None:
    with pytest.raises(configs.ConfigError, match=f"{key} does not go with trainer.strategy=fsdp"):
        small("trainer.strategy=fsdp", key)
