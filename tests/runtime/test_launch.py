import re

import pytest
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment

from iclgd.runtime.launch import LaunchError, SrunEnvironment, find_launch

TORCHRUN = {"TORCHELASTIC_RUN_ID": "none", "RANK": "3", "LOCAL_RANK": "1", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2"}
BY_HAND = {"MASTER_ADDR": "first", "MASTER_PORT": "29500", "NODE_RANK": "1"}
BATCH = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "2", "SLURM_PROCID": "0", "SLURM_NNODES": "2", "SLURM_NODELIST": "n[1-2]"}


def srun(per_node: str, num_tasks: int, **more: str) -> dict[str, str]:
    step = {"SLURM_STEP_ID": "3", "SLURM_STEP_NUM_TASKS": str(num_tasks), "SLURM_STEP_TASKS_PER_NODE": per_node}
    place = {"SLURM_PROCID": "1", "SLURM_LOCALID": "0", "SLURM_NODEID": "1", "SLURM_STEP_NODELIST": "gpu[07-08],z1"}
    return {**BATCH, **step, **place, **more}


@pytest.fixture(autouse=True)
def _nobody_started_us(monkeypatch: pytest.MonkeyPatch) -> None:
    slurm = set(srun("", 1)) | {"SLURM_STEP_NUM_NODES"}
    for name in {*TORCHRUN, *BY_HAND, "GROUP_RANK", *slurm}:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("environment", "devices", "num_nodes", "rank", "kind"),
    [
        ({}, 1, 1, 0, LightningEnvironment),
        ({}, 2, 1, 0, LightningEnvironment),
        ({"LOCAL_RANK": "1", "NODE_RANK": "0", "WORLD_SIZE": "2"}, 2, 1, 1, LightningEnvironment),  # Lightning's child
        (BY_HAND, 1, 2, 1, LightningEnvironment),
        (BY_HAND, 2, 2, 2, LightningEnvironment),
        ({**BY_HAND, "LOCAL_RANK": "1"}, 2, 2, 3, LightningEnvironment),
        (BY_HAND, 1, 1, 0, LightningEnvironment),
        (TORCHRUN, 2, 2, 3, TorchElasticEnvironment),
        ({**srun("1(x2)", 2), **TORCHRUN}, 2, 2, 3, TorchElasticEnvironment),
        (srun("1(x2)", 2), 1, 2, 1, SrunEnvironment),
        (srun("2", 2), 2, 1, 1, SrunEnvironment),
        (srun("1", 1), 1, 1, 0, LightningEnvironment),
        (srun("1", 1), 2, 1, 0, LightningEnvironment),  # which starts the second one
        (BATCH, 1, 1, 0, LightningEnvironment),
        (srun("1(x2)", 2, SLURM_STEP_ID="4294967291"), 1, 1, 0, LightningEnvironment),  # a batch script
    ],
)
def test_ranks(
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    devices: int,
    num_nodes: int,
    rank: int,
    kind: type,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    launch = find_launch(devices, num_nodes)
    assert (launch.rank, type(launch.environment)) == (rank, kind)


@pytest.mark.parametrize(
    ("environment", "devices", "num_nodes", "message"),
    [
        (
            {},
            1,
            2,
            "needs a process on each of 2 nodes, and this is one by itself (MASTER_ADDR, MASTER_PORT, NODE_RANK",
        ),
        (
            BATCH,
            2,
            2,
            "start them with 'srun --nodes=2 --ntasks-per-node=2 iclgd ...' or 'torchrun --nnodes=2 --nproc-",
        ),
        (srun("1(x2)", 2), 1, 1, "trainer.num_nodes=1 needs 1 processes per node, but srun has started 1(x2), where"),
        (srun("2(x2)", 4), 1, 2, "needs 1(x2) processes per node, but srun has started 2(x2)"),
        (srun("3,1", 4), 2, 2, "needs 2(x2) processes per node, but srun has started 3,1"),
        (srun("1", 1), 1, 2, "needs 1(x2) processes per node, but srun has started 1,"),
        (TORCHRUN, 2, 1, "needs 2 processes per node, but torchrun has started 2(x2)"),
        (TORCHRUN, 4, 1, "needs 4 processes per node, but torchrun has started 2(x2)"),
        ({**BY_HAND, "NODE_RANK": "2"}, 1, 2, "NODE_RANK must be below trainer.num_nodes (2), got 2"),
        ({"SLURM_STEP_ID": "0"}, 1, 1, "SLURM_STEP_ID is set, as srun sets it, but not SLURM_STEP_NUM_TASKS"),
        ({"TORCHELASTIC_RUN_ID": "x"}, 1, 1, "not RANK, LOCAL_RANK, WORLD_SIZE, LOCAL_WORLD_SIZE: start with torchrun"),
        ({**TORCHRUN, "RANK": "4"}, 2, 2, "RANK must be below WORLD_SIZE (4), got 4"),
        ({**TORCHRUN, "WORLD_SIZE": "two"}, 2, 2, "WORLD_SIZE must be a whole number of at least 1, got 'two'"),
        ({"RANK": "1"}, 2, 1, "RANK is set, and TORCHELASTIC_RUN_ID"),
        ({"WORLD_SIZE": "3"}, 2, 1, "WORLD_SIZE is 3, but trainer.devices x trainer.num_nodes is 2"),
        ({"LOCAL_RANK": "x"}, 2, 1, "LOCAL_RANK must be a whole number of at least 0, got 'x'"),
        ({"LOCAL_RANK": "2"}, 2, 1, "LOCAL_RANK must be below trainer.devices (2), got 2"),
    ],
)
def test_processes_that_are_not_the_configs(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], devices: int, num_nodes: int, message: str
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(LaunchError, match=re.escape(message)):
        find_launch(devices, num_nodes)


def test_srun_s_tasks_meet_at_their_own_step_s_first_node(monkeypatch: pytest.MonkeyPatch) -> None:
    ports = set()
    for step in range(100):
        for name, value in srun("1(x3)", 3, SLURM_STEP_ID=str(step)).items():
            monkeypatch.setenv(name, value)
        environment = SrunEnvironment()
        assert environment.main_address == "gpu07"
        assert (environment.world_size(), environment.global_rank()) == (3, 1)
        assert (environment.node_rank(), environment.local_rank()) == (1, 0)
        assert 15_000 <= environment.main_port < 30_000
        assert environment.main_port == SrunEnvironment().main_port
        ports.add(environment.main_port)
    assert len(ports) > 95
    monkeypatch.setenv("MASTER_ADDR", "chosen")
    monkeypatch.setenv("MASTER_PORT", "1234")
    assert (SrunEnvironment().main_address, SrunEnvironment().main_port) == ("chosen", 1234)
