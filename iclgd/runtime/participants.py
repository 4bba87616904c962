"""Which processes take part in a run; all of them must do the same."""

import socket
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from iclgd.checks import InputError
from iclgd.full_keys import flat
from iclgd.tracking.checkpoints import CONFIG
from iclgd.tracking.environment import record_processes
from iclgd.tracking.run_directory import RunDirectory


class DifferentConfigsError(InputError):
    """Processes of one run with different configs; all of them raise it."""


class Participants(Callback):
    """Once the processes are connected, compares their configs and writes down who they are.

    Args:
        config: this process's resolved config, a dataclass.
        checkpoint: from which this process would go on.
        directory: whose ``environment.json`` is completed; ``None`` on all processes but the first.
    """

    def __init__(self, config: Any, checkpoint: Path | None, directory: RunDirectory | None) -> None:
        self.config = asdict(config)
        self.values = {**flat(self.config), "the checkpoint": checkpoint.name if checkpoint else None}
        self.directory = directory
        self.is_done = False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Compare and write, the first time.

        Raises:
            DifferentConfigsError: if a process has another config than the first.
        """
        if self.is_done:
            return
        self.is_done = True
        device = trainer.strategy.root_device
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
        process = {"rank": trainer.global_rank, "host": socket.gethostname(), "device": name}
        everyone = _gather((process, self.values), trainer.world_size)
        first, expected = everyone[0]
        for other, values in everyone[1:]:
            for key in chain(expected, values):
                if (ours := expected.get(key)) != (theirs := values.get(key)):
                    raise DifferentConfigsError(
                        f"all processes of a run need the same config, but {key} is {ours!r} on rank 0 "
                        f"({first['host']}) and {theirs!r} on rank {other['rank']} ({other['host']})"
                    )
        if self.directory is not None:
            record_processes(self.directory, [process for process, _ in everyone])

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Say in the checkpoint whose it is."""
        checkpoint[CONFIG] = self.config


def _gather(mine: Any, num_processes: int) -> list[Any]:
    """Return every process's, by rank."""
    everyone = [mine] * num_processes
    if num_processes > 1:
        torch.distributed.all_gather_object(everyone, mine)
    return everyone
