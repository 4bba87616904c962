"""A run's config and experiment as the objects that they were: what this imports takes seconds."""

from collections.abc import Sequence
from typing import Any

import torch

from iclgd import config as configs
from iclgd.config import Experiment, ExperimentConfig
from iclgd.runs.opening import recorded_values
from iclgd.tracking.run_directory import RunDirectory

# Changes to a run's config with which what it has left is looked at, whatever the run had.
ONE_PROCESS = ("trainer.devices=1", "trainer.num_nodes=1", "trainer.strategy=auto")


def recorded_config(directory: RunDirectory, overrides: Sequence[str] = ()) -> ExperimentConfig:
    """Return a run's config; of one that was made on GPUs which are not here, ``trainer.accelerator`` is ``auto``.

    Args:
        directory: the run's.
        overrides: ``key=value`` on it.

    Raises:
        ConfigError: if it cannot be read.
    """
    trainer = recorded_values(directory).get("trainer")
    is_elsewhere = (
        isinstance(trainer, dict)
        and trainer.get("accelerator") == "gpu"
        and torch.cuda.device_count() < trainer.get("devices", 1)
    )
    return configs.load(directory.config_path, [*(["trainer.accelerator=auto"] if is_elsewhere else []), *overrides])


def recorded_experiment(directory: RunDirectory) -> Experiment[Any, Any]:
    """Return what kind of experiment a run is.

    Raises:
        ConfigError: if it is none that there is.
    """
    return configs.find_experiment(recorded_values(directory).get("experiment"))
