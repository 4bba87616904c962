"""Beneath Lightning's public surface: how it starts processes, handles signals, and knows which process it is in."""

import subprocess
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy, ParallelStrategy
from lightning.pytorch.strategies.launchers.subprocess_script import _SubprocessScriptLauncher
from lightning.pytorch.utilities import rank_zero_only


class SubprocessLauncher(_SubprocessScriptLauncher):
    """Lightning's launcher of the other processes of a node, whose parts a subclass may use or replace."""

    def start_others(self) -> None:
        """Start the other processes; they are ``procs`` then."""
        self._call_children_scripts()


class OwnProcessesStrategy(ParallelStrategy):
    """Base of Lightning's strategies with a launcher of one's own."""

    launcher_type: type[SubprocessLauncher] = SubprocessLauncher
    num_nodes: int

    def _configure_launcher(self) -> None:
        environment = self.cluster_environment
        assert environment is not None
        if not environment.creates_processes_externally:
            self._launcher = self.launcher_type(environment, len(self.parallel_devices or []), self.num_nodes)

    @property
    def children(self) -> list[subprocess.Popen[bytes]]:
        """Return the processes that the launcher has started."""
        return self._launcher.procs if isinstance(self._launcher, SubprocessLauncher) else []


class OwnDDPStrategy(OwnProcessesStrategy, DDPStrategy):
    """Lightning's DDP with such a launcher, and with or without hooks that average gradients."""

    averages_gradients = True

    def configure_ddp(self) -> None:
        """Wrap the module, if gradients are to be averaged."""
        if self.averages_gradients:
            super().configure_ddp()


class OwnShardedStrategy(OwnProcessesStrategy, ModelParallelStrategy):
    """Lightning's FSDP2 with such a launcher, over all processes; a checkpoint is one file, as without it."""

    def __init__(self) -> None:
        super().__init__(save_distributed_checkpoint=False)

    def setup_environment(self) -> None:
        """Connect to the other processes; all of them share out each weight, whatever their nodes."""
        self._data_parallel_size, self._tensor_parallel_size = self.num_nodes * self.num_processes, 1
        super().setup_environment()

    def _setup_distributed(self) -> None:
        self.setup_distributed()

    def setup_distributed(self) -> None:
        """Connect to the other processes; Lightning's DDP has this name for it."""
        super()._setup_distributed()


def children_of(trainer: Trainer) -> list[subprocess.Popen[bytes]]:
    """Return the processes that a Trainer has started; its own list, which may be cleared."""
    procs: list[subprocess.Popen[bytes]] = getattr(trainer.strategy.launcher, "procs", [])
    return procs


def leave_signals_alone(trainer: Trainer) -> None:
    """Keep Lightning from handling SIGTERM: its handler broadcasts from where the signal happens to come.

    The other processes would wait elsewhere, for ever. There is no public way to say so.
    """
    connector: Any = trainer._signal_connector
    connector.register_signal_handlers = lambda: None


def set_rank(rank: int) -> None:
    """Tell Lightning this process's rank, which it would find out later, and take other variables for it."""
    rank_zero_only.rank = rank  # type: ignore[attr-defined]
