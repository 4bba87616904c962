"""One run on two nodes, both of them this computer: the numbers are those of one process."""

import json
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from iclgd import config as configs
from tests.conftest import ROOT
from tests.experiments.test_embedded import EMBEDDED, LANGUAGE, SMALL_LANGUAGE
from tests.forked import Forked
from tests.processes import (
    SECONDS,
    TWO_NODES,
    assert_interrupted,
    free_address,
    results,
    run_two_nodes,
    start_two_nodes,
    wait_for_metrics,
)
from tests.test_experiment import Cli, numbers, run_directory
from tests.test_experiment_stopping import SMALL_TEXT, SPEEDS, comparable

HOST = socket.gethostname()
TWO_PROCESSES = [{"rank": rank, "host": HOST, "device": "cpu"} for rank in range(2)]


def test_the_config_for_two_nodes_is_the_debug_run() -> None:
    debug, two = (configs.load(ROOT / "configs" / "regression" / f"{name}.yaml") for name in ("debug", "two_nodes"))
    first, second = configs.to_dict(debug), configs.to_dict(two)
    assert second.pop("trainer") == first.pop("trainer") | {"num_nodes": 2, "strategy": "ddp"}
    assert second == first


@pytest.mark.slow  # tests/slurm/test_two_nodes.py has the same on two nodes
def test_one_signal_ends_both_processes_and_both_go_on(cli: Cli, small_config: Path, tmp_path: Path) -> None:
    overrides = ["trainer.max_steps=1010", *TWO_NODES]
    whole = run_two_nodes(["run", small_config, *overrides])
    environment = json.loads((whole.path / "environment.json").read_text())
    assert (environment["world_size"], environment["processes"]) == (2, TWO_PROCESSES)
    assert len(list((tmp_path / "runs" / "small").iterdir())) == 1
    one = run_directory(cli("run", small_config, "trainer.max_steps=1010")[1])
    assert numbers(whole) == pytest.approx(numbers(one), rel=2e-3)
    (tmp_path / "runs" / "small").rename(tmp_path / "whole")
    processes = start_two_nodes(["run", small_config, *overrides])
    stopped = wait_for_metrics(tmp_path / "runs", 4, processes)
    processes[1].send_signal(signal.SIGUSR1)
    first, second = results(processes)
    assert_interrupted(stopped, first)
    assert second == (130, "", ""), "the first process speaks for both"
    last = stopped.last_checkpoint()
    assert last is not None
    assert stopped.step_of(last) == stopped.read_metrics()[-1]["step"] < 1010
    resumed = run_two_nodes(["resume", stopped.path])
    (path,) = (tmp_path / "whole").glob(whole.path.name)
    whole.path = path
    assert numbers(resumed) == numbers(whole)
    assert resumed.read_metrics() == whole.read_metrics()
    run_two_nodes(["resume", stopped.path])  # complete: neither process waits for the other


@pytest.mark.slow
def test_a_signal_to_one_process_before_they_meet_ends_both(small_config: Path, tmp_path: Path) -> None:
    processes = start_two_nodes(["run", small_config, *TWO_NODES])
    status = Path(f"/proc/{processes[1].pid}/status")
    while not int(status.read_text().split("SigCgt:")[1].split()[0], 16) & 1 << (signal.SIGTERM - 1):
        assert processes[1].poll() is None
    processes[1].send_signal(signal.SIGTERM)
    first, second = results(processes)
    (path,) = (tmp_path / "runs" / "small").iterdir()
    assert first[:2] == (130, "")
    assert first[2].splitlines()[-1] == f"iclgd: interrupted; continue with: iclgd resume {path}"
    assert second == (130, "", "")


def test_different_configs_are_refused_by_both(small_config: Path) -> None:
    command = ["run", small_config, *TWO_NODES]
    address = free_address()
    nodes = [Forked(*command, f"seed={rank + 1}", NODE_RANK=str(rank), **address) for rank in range(2)]
    first, second = (node.result() for node in nodes)
    line = f"iclgd: all processes of a run need the same config, but seed is 1 on rank 0 ({HOST}) and 2 on rank 1"
    for code, out, err in (first, second):
        assert (code, out) == (2, "")
        assert err == f"{line} ({HOST})\n"


@pytest.mark.slow
def test_a_text_run_on_two_nodes_has_the_numbers_of_one_process(cli: Cli) -> None:
    arguments = ["run", EMBEDDED, "tracking.mode=disabled", *SMALL_TEXT]
    two, one = run_two_nodes([*arguments, *TWO_NODES]), run_directory(cli(*arguments)[1])
    assert json.loads((two.path / "environment.json").read_text())["processes"] == TWO_PROCESSES
    assert comparable(two) == pytest.approx(comparable(one), abs=1e-5, nan_ok=True)


@pytest.mark.slow
def test_a_language_model_on_two_nodes_has_the_numbers_of_one_process(cli: Cli) -> None:
    arguments = ["run", LANGUAGE, *SMALL_LANGUAGE]
    two, one = run_two_nodes([*arguments, *TWO_NODES]), run_directory(cli(*arguments)[1])
    assert comparable(two) == pytest.approx(comparable(one), abs=1e-5)
    assert set(numbers(two)) - set(comparable(two)) == {"train/tokens_per_second"} & SPEEDS


@pytest.mark.slow  # its variables have quick tests
def test_torchrun_starts_processes_that_know_their_ranks(small_config: Path, tmp_path: Path) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    overrides = ["trainer.devices=2", "trainer.strategy=ddp"]
    command = [*torchrun, "-m", "iclgd.cli", "run", str(small_config), *overrides]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, done.stderr
    (path,) = (tmp_path / "runs" / "small").iterdir()
    assert done.stdout.splitlines()[-1] == str(path)
    assert json.loads((path / "environment.json").read_text())["processes"] == TWO_PROCESSES


def test_a_process_by_itself_is_told_how_to_start_two(cli: Cli, small_config: Path, tmp_path: Path) -> None:
    code, out, err = cli("run", small_config, *TWO_NODES)
    assert (code, out) == (2, "")
    assert err.startswith("iclgd: trainer.num_nodes=2 needs a process on each of 2 nodes, and this is one by itself")
    assert err.count("\n") == 1
    assert not (tmp_path / "runs").exists()
