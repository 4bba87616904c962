"""How a worker works, and how launchers type that after ``sweep work``."""

import argparse
import os
from dataclasses import dataclass
from pathlib import Path

from iclgd.sweeps.workers import slurm_commands
from iclgd.sweeps.workers.liveness import SECONDS_UNTIL_DEAD


@dataclass(frozen=True)
class WorkerOptions:
    """How a worker works."""

    name: str
    position: int = 0  # among the workers that were started together
    launcher: str = "local"
    nodes_per_trial: int = 1
    gpus_per_node: int = 0
    retries: int = 3  # of a trial whose process was killed, for want of memory, say
    time_limit: float | None = None  # minutes of a trial
    grace: float = 60.0  # seconds from asking a trial for a checkpoint to killing it
    parent: int | None = None  # process without which the worker ends
    imports: tuple[Path, ...] = ()  # files of own entries, for every trial
    seconds_until_dead: float = SECONDS_UNTIL_DEAD

    @property
    def is_on_slurm(self) -> bool:
        """Return whether trials are started with ``srun``."""
        return self.launcher == "slurm"

    def is_orphan(self) -> bool:
        """Say whether the process is gone without which the worker ends."""
        return self.parent is not None and os.getppid() != self.parent

    def trial_prefix(self) -> list[str]:
        """Return what comes before the command of a trial."""
        return slurm_commands.trial_prefix(self.nodes_per_trial, self.gpus_per_node) if self.is_on_slurm else []

    def trial_overrides(self) -> list[str]:
        """Return the config's keys that tell a trial of its processes."""
        return slurm_commands.trial_overrides(self.nodes_per_trial, self.gpus_per_node) if self.is_on_slurm else []


def worker_arguments(arguments: argparse.Namespace) -> list[str]:
    """Return the arguments of ``iclgd sweep work`` that all workers of a launch share."""
    from iclgd import own_entries

    given = ["--retries", str(arguments.retries), "--grace", str(arguments.grace)]
    given += ["--time-limit", str(arguments.time_limit)] if arguments.time_limit is not None else []
    given += ["--retry-failed"] if arguments.resume else []
    given += own_entries.arguments(arguments.imports)
    if arguments.launcher == "slurm":
        given += ["--launcher", "slurm", "--nodes-per-trial", str(arguments.nodes_per_trial)]
        given += ["--gpus-per-node", str(arguments.gpus_per_node)]
    return given
