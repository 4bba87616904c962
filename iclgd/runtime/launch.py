"""How this process was started, and as which of how many: by srun, by torchrun, by hand, or by itself."""

import os
import zlib
from dataclasses import dataclass

from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment

from iclgd.runtime.ranks import LaunchError, number

FIRST_PORT, NUM_PORTS = 15_000, 15_000  # below those that systems give out by themselves
TORCHRUN = ["RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"]
SRUN = ["SLURM_JOB_ID", "SLURM_STEP_TASKS_PER_NODE", "SLURM_STEP_NODELIST"]
SRUN += ["SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID"]
FIRST_SPECIAL_STEP = 0xFFFF_FFF0  # batch scripts and shells within an allocation: no tasks of srun


@dataclass(frozen=True)
class Launch:
    """This process among those that take part.

    Args:
        rank: its number, from 0.
        environment: what Lightning needs to know to connect them.
    """

    rank: int
    environment: ClusterEnvironment


class SrunEnvironment(ClusterEnvironment):
    """A task of srun.

    Lightning's own goes by the allocation, of which each trial of a sweep has some nodes only, and answers signals.
    """

    @property
    def creates_processes_externally(self) -> bool:
        """Return that srun has."""
        return True

    @property
    def main_address(self) -> str:
        """Return the step's first node."""
        return os.environ.get("MASTER_ADDR") or SLURMEnvironment.resolve_root_node_address(
            os.environ["SLURM_STEP_NODELIST"]
        )

    @property
    def main_port(self) -> int:
        """Return a port that all tasks of a step work out alike, and other steps hardly ever."""
        step = f"{os.environ['SLURM_JOB_ID']}.{os.environ['SLURM_STEP_ID']}"
        return int(os.environ.get("MASTER_PORT") or FIRST_PORT + zlib.crc32(step.encode()) % NUM_PORTS)

    @staticmethod
    def detect() -> bool:
        """Say whether this process is a task of srun, or was started by one."""
        step = os.environ.get("SLURM_STEP_ID", "")
        return step.isdigit() and int(step) < FIRST_SPECIAL_STEP

    def world_size(self) -> int:
        """Return the number of tasks."""
        return number("SLURM_STEP_NUM_TASKS", 1)

    def set_world_size(self, size: int) -> None:
        """Leave it: it is srun's."""

    def global_rank(self) -> int:
        """Return the task's number."""
        return number("SLURM_PROCID")

    def set_global_rank(self, rank: int) -> None:
        """Leave it: it is srun's."""

    def local_rank(self) -> int:
        """Return the task's number on its node."""
        return number("SLURM_LOCALID")

    def node_rank(self) -> int:
        """Return the node's number."""
        return number("SLURM_NODEID")


def find_launch(devices: int, num_nodes: int) -> Launch:
    """Find out how this process was started.

    Args:
        devices: processes on each node, according to the config.
        num_nodes: according to the config.

    Raises:
        LaunchError: if the processes that were started are not those of the config.
    """
    if TorchElasticEnvironment.detect():
        _refuse_a_part(TORCHRUN, "TORCHELASTIC_RUN_ID", "torchrun")
        each, total = number("LOCAL_WORLD_SIZE", 1), number("WORLD_SIZE", 1)
        _check("torchrun", f"{each}(x{total / each:g})" if total > each else f"{each}", devices, num_nodes)
        _below(number("RANK"), total, "RANK", "WORLD_SIZE")
        _below(number("LOCAL_RANK"), each, "LOCAL_RANK", "LOCAL_WORLD_SIZE")
        return Launch(number("RANK"), TorchElasticEnvironment())
    if SrunEnvironment.detect():
        _refuse_a_part(["SLURM_STEP_NUM_TASKS"], "SLURM_STEP_ID", "srun")
        srun = SrunEnvironment()
        if srun.world_size() > 1 or num_nodes > 1:  # a single task may start the other processes of its node itself
            _refuse_a_part(SRUN, "SLURM_STEP_ID", "srun")
            _check("srun", os.environ["SLURM_STEP_TASKS_PER_NODE"], devices, num_nodes)
            _below(srun.global_rank(), srun.world_size(), "SLURM_PROCID", "SLURM_STEP_NUM_TASKS")
            return Launch(srun.global_rank(), srun)
    return Launch(_rank_by_hand(devices, num_nodes), LightningEnvironment())


def _check(launcher: str, per_node: str, devices: int, num_nodes: int) -> None:
    """Compare the numbers of processes per node; ``2(x3)`` is Slurm's way to write that three nodes have two each."""
    expected = f"{devices}(x{num_nodes})" if num_nodes > 1 else f"{devices}"
    if per_node != expected:
        raise LaunchError(
            f"trainer.devices={devices} with trainer.num_nodes={num_nodes} needs {expected} processes per node, but "
            f"{launcher} has started {per_node}, where (xN) means: on N nodes; {_advice(devices, num_nodes)}"
        )


def _rank_by_hand(devices: int, num_nodes: int) -> int:
    """Return the rank of a process that no launcher, or Lightning, has started."""
    node = next((name for name in ("NODE_RANK", "GROUP_RANK") if name in os.environ), None)
    absent = [name for name in ("MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
    absent += ["NODE_RANK"] if node is None else []
    if num_nodes > 1 and absent:
        raise LaunchError(
            f"trainer.num_nodes={num_nodes} needs a process on each of {num_nodes} nodes, and this is one by itself "
            f"({', '.join(absent)} not set); {_advice(devices, num_nodes)}"
        )
    if devices * num_nodes == 1:  # whatever the environment tells of others
        return 0
    if "RANK" in os.environ:
        raise LaunchError(
            "RANK is set, and TORCHELASTIC_RUN_ID, which torchrun sets too, is not: start the processes with torchrun, "
            "or each by hand with NODE_RANK, and unset RANK"
        )
    if "WORLD_SIZE" in os.environ and (total := number("WORLD_SIZE", 1)) != devices * num_nodes:
        raise LaunchError(f"WORLD_SIZE is {total}, but trainer.devices x trainer.num_nodes is {devices * num_nodes}")
    ranks = {"NODE_RANK": (number(node) if node else 0, num_nodes, "trainer.num_nodes")}
    ranks["LOCAL_RANK"] = (number("LOCAL_RANK") if "LOCAL_RANK" in os.environ else 0, devices, "trainer.devices")
    for name, (rank, limit, key) in ranks.items():
        _below(rank, limit, name, key)
    return ranks["NODE_RANK"][0] * devices + ranks["LOCAL_RANK"][0]


def _below(rank: int, limit: int, name: str, of: str) -> None:
    if rank >= limit:
        raise LaunchError(f"{name} must be below {of} ({limit}), got {rank}")


def _refuse_a_part(names: list[str], mark: str, launcher: str) -> None:
    """Refuse a launcher's mark without its other variables, as an environment has them that was copied in part."""
    if absent := [name for name in names if name not in os.environ]:
        raise LaunchError(
            f"{mark} is set, as {launcher} sets it, but not {', '.join(absent)}: start with {launcher}, or unset {mark}"
        )


def _advice(devices: int, num_nodes: int) -> str:
    if devices * num_nodes == 1:
        return "start one process, or set both to what was started"
    srun = f"srun --nodes={num_nodes} --ntasks-per-node={devices}"
    return f"start them with '{srun} iclgd ...' or 'torchrun --nnodes={num_nodes} --nproc-per-node={devices} ...'"
