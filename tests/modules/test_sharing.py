"""Training on two processes takes the steps of one process, however the work and the weights are shared out."""

import os
import socket
import subprocess
import sys

import pytest
import torch

from iclgd import config as configs
from tests.conftest import ROOT
from tests.modules.sharing import STEPS, train
from tests.modules.test_language_modeling import small

Weights = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Weights]:
    folder = tmp_path_factory.mktemp("shared")
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    both = {**os.environ, "OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    command = [sys.executable, "-m", "tests.modules.sharing", str(folder)]
    processes = [
        subprocess.Popen(
            command,
            cwd=ROOT,
            env={**both, "NODE_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    ends = [process.communicate(timeout=200)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], ends
    found: dict[str, Weights] = torch.load(folder / "found.pt")
    return found


def assert_equal(first: Weights, second: Weights) -> None:
    assert first.keys() == second.keys()
    for name, weight in first.items():
        torch.testing.assert_close(
            second[name], weight, rtol=0, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}"
        )


def test_two_processes_train_as_one_that_takes_half_at_a_time(shared: dict[str, Weights]) -> None:
    assert_equal(train(small(*STEPS, "training.accumulation=2")), shared["ddp"])


def test_shared_out_weights_are_trained_as_whole_ones(shared: dict[str, Weights]) -> None:
    assert_equal(shared["ddp"], shared["fsdp"])


def test_shared_out_weights_go_on_from_a_checkpoint(shared: dict[str, Weights]) -> None:
    whole, resumed = dict(shared["fsdp"]), dict(shared["resumed"])
    assert torch.equal(whole.pop("losses")[-1], resumed.pop("losses")[-1])
    assert all(torch.equal(weight, resumed[name]) for name, weight in whole.items())


@pytest.mark.parametrize("key", ["trainer.compile=true", "trainer.precision=64-true"])
def test_what_does_not_go_with_shared_out_weights_is_refused(key: str) -> None:
    with pytest.raises(configs.ConfigError, match=f"{key} does not go with trainer.strategy=fsdp"):
        small("trainer.strategy=fsdp", key)
