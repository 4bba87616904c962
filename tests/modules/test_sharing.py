"""Training on two processes takes the steps of one process, however the work and the weights are shared out."""

import os
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from iclgd import config as configs
from iclgd.experiment import run
from iclgd.tracking.run_directory import RunDirectory
from tests.conftest import ROOT
from tests.modules.sharing import STRATEGIES
from tests.modules.test_language_modeling import small

STEPS = ["trainer.max_steps=20", "evaluation={every_num_steps: 10, num_sequences: 6, num_samples: 1}"]
TOLERANCE = 1e-5


def start_two_processes(runs: Path, *overrides: str) -> dict[str, RunDirectory]:
    """Run each strategy on two processes, and a part of the last one again; return the runs."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(len(STRATEGIES) + 1)]
        ports = " ".join(str(each.getsockname()[1]) for each in sockets)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ICLGD_RUNS": str(runs), "PORTS": ports}
    command = [sys.executable, "-m", "tests.modules.sharing", *overrides]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    found = {name: RunDirectory(next((runs / name).iterdir())) for name in STRATEGIES}
    return {**found, "resumed": RunDirectory(runs / "resumed")}


def assert_equal(first: RunDirectory, second: RunDirectory, tolerance: float) -> None:
    """Compare the weights and the losses of two runs."""
    assert (
        [row["step"] for row in first.read_metrics()] == [row["step"] for row in second.read_metrics()] == [0, 10, 20]
    )
    for name in ("val/loss", "train/loss"):
        losses = [[row.get(name, 0.0) for row in each.read_metrics()] for each in (first, second)]
        assert losses[0] == pytest.approx(losses[1], rel=0, abs=tolerance), name
    weights, others = (load_file(each.path / "model" / "model.safetensors") for each in (first, second))
    assert weights.keys() == others.keys()
    for name, weight in weights.items():
        torch.testing.assert_close(others[name], weight, rtol=0, atol=tolerance, msg=name)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> dict[str, RunDirectory]:
    return start_two_processes(tmp_path_factory.mktemp("shared"), *STEPS)


def test_two_processes_train_as_one_that_takes_half_at_a_time(
    shared: dict[str, RunDirectory], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ICLGD_RUNS", str(tmp_path))
    one = run(small(*STEPS, "training.accumulation=2"), "one").directory
    assert one is not None
    assert_equal(one, shared["ddp"], TOLERANCE)


def test_shared_out_weights_are_trained_as_whole_ones(shared: dict[str, RunDirectory]) -> None:
    assert_equal(shared["ddp"], shared["fsdp"], TOLERANCE)


def test_shared_out_weights_go_on_from_a_checkpoint(shared: dict[str, RunDirectory]) -> None:
    assert_equal(shared["fsdp"], shared["resumed"], tolerance=0.0)


@pytest.mark.parametrize("key", ["trainer.compile=true", "trainer.precision=64-true"])
def test_what_does_not_go_with_shared_out_weights_is_refused(key: str) -> None:
    with pytest.raises(configs.ConfigError, match=f"{key} does not go with trainer.strategy=fsdp"):
        small("trainer.strategy=fsdp", key)
