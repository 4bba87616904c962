"""Beneath Lightning's public surface: how it starts processes, handles signals, and knows which process it is in."""

import subprocess
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.strategies.launchers.subprocess_script import _SubprocessScriptLauncher
from lightning.pytorch.utilities import rank_zero_only


class SubprocessLauncher(_SubprocessScriptLauncher):
    """Lightning's launcher of the other processes of a node, whose parts a subclass may use or replace."""

    def start_others(self) -> None:
        """Start the other processes; they are ``procs`` then."""
        self._call_children_scripts()


class OwnDDPStrategy(DDPStrategy):
    """Lightning's DDP with a launcher of one's own, and with or without hooks that average gradients."""

    launcher_type: type[SubprocessLauncher] = SubprocessLauncher
    averages_gradients = True

    def _configure_launcher(self) -> None:
        assert self.cluster_environment is not None
        if not self.cluster_environment.creates_processes_externally:
            self._launcher = self.launcher_type(self.cluster_environment, self.num_processes, self.num_nodes)

    def configure_ddp(self) -> None:
        """Wrap the module, if gradients are to be averaged."""
        if self.averages_gradients:
            super().configure_ddp()

    @property
    def children(self) -> list[subprocess.Popen[bytes]]:
        """Return the processes that the launcher has started."""
        return self._launcher.procs if isinstance(self._launcher, SubprocessLauncher) else []


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
