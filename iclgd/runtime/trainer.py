"""Lightning's Trainer as our config describes it."""

import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.loggers import Logger
from lightning.pytorch.strategies import Strategy

from iclgd import checks
from iclgd.runtime.checkpointing import SealedCheckpointIO
from iclgd.runtime.launch import Launch, find_launch
from iclgd.runtime.meeting import MeetingStrategy, ShardedStrategy
from iclgd.runtime.signals import stop_requests
from iclgd.runtime.stopping import StopTogether, interruptible
from iclgd.vendors.lightning import leave_signals_alone

ACCELERATORS = {"auto": "a CUDA GPU if there is one, else the CPU", "cpu": "the CPU", "gpu": "a CUDA GPU"}
PRECISIONS = {
    "32-true": "single precision",
    "64-true": "double precision",
    "bf16-mixed": "matrix products in bfloat16",
    "bf16-true": "weights in bfloat16 too: half the memory (not for regression)",
}
MOST_THREADS = 1024  # of a process
STRATEGIES = {
    "auto": "one process per device, as they need",
    "ddp": "one process per device, gradients averaged",
}
SHARDED_STRATEGIES = {
    **STRATEGIES,
    "fsdp": "as ddp, but each process keeps a part of each weight, of its gradient and of the optimiser's state",
}


@dataclass(frozen=True, kw_only=True)
class DeviceConfig:
    """Where to compute.

    Raises:
        ValueError: if a value is out of its range, or the devices are not there.
    """

    accelerator: str = "auto"
    """Kind of device; auto takes a GPU if there is one."""
    devices: int = 1
    """Devices of a node, each with a process of its own."""
    num_nodes: int = 1
    """Machines that take part."""
    strategy: str = "auto"
    """How processes share the work."""
    precision: str = "32-true"
    """Numbers with which models compute."""
    num_threads: int = 1
    """CPU threads of a process, beside one that draws data; toys gain little from more; 0: all cores, divided."""
    strategies: ClassVar[Mapping[str, str]] = STRATEGIES

    def __post_init__(self) -> None:
        checks.at_least(1, "trainer", self, "devices", most=1024)  # each is a process of this machine
        checks.at_least(1, "trainer", self, "num_nodes", most=100_000)
        checks.at_least(0, "trainer", self, "num_threads", most=MOST_THREADS)
        checks.one_of(ACCELERATORS, "trainer", self, "accelerator")
        checks.one_of(PRECISIONS, "trainer", self, "precision")
        checks.one_of(self.strategies, "trainer", self, "strategy")
        num_gpus = torch.cuda.device_count()
        if self.accelerator == "gpu" and num_gpus < self.devices:
            raise ValueError(f"trainer.accelerator=gpu with trainer.devices={self.devices}: found {num_gpus} GPUs")

    @property
    def threads_per_process(self) -> int:
        """Return how many threads each process gets; two that both take all cores slow each other many times."""
        return self.num_threads or max(1, num_usable_cores() // self.devices)

    @property
    def lightning_accelerator(self) -> str:
        """Return Lightning's name of the accelerator."""
        if self.accelerator == "auto":  # Lightning's own "auto" also takes Apple's GPU, which has no float64
            return "gpu" if torch.cuda.device_count() >= self.devices else "cpu"
        return self.accelerator


@dataclass(frozen=True, kw_only=True)
class TrainerConfig(DeviceConfig):
    """Where and for how long to train; errors as of :class:`DeviceConfig`."""

    max_steps: int
    """Steps of training."""

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.at_least(1, "trainer", self, "max_steps")


@dataclass(frozen=True, kw_only=True)
class ShardedTrainerConfig(TrainerConfig):
    """The same for one model that may be too large for a device; errors as of :class:`DeviceConfig`."""

    compile: bool = False
    """Whether torch.compile makes kernels of the model: a minute at the start; small models gain nothing on a CPU."""
    strategies = SHARDED_STRATEGIES

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.strategy == "fsdp" and self.compile:  # PyTorch would leave out what gathers a block's weights
            raise ValueError("trainer.compile=true does not go with trainer.strategy=fsdp")
        if self.strategy == "fsdp" and self.precision == "64-true":  # Lightning has no such precision for it
            raise ValueError("trainer.precision=64-true does not go with trainer.strategy=fsdp")


def check_compiler(config: ShardedTrainerConfig) -> None:
    """Refuse to compile for a CPU without a C++ compiler, which PyTorch would do in the first step.

    Raises:
        InputError: if there is none.
    """
    compiler = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")  # as PyTorch chooses it
    if config.compile and config.lightning_accelerator == "cpu" and shutil.which(compiler) is None:
        raise checks.InputError(
            f"trainer.compile=true needs a C++ compiler, and {compiler} is not there; set CXX to one, "
            "or trainer.compile=false"
        )


def num_usable_cores() -> int:
    """Return how many cores this process may use: ``OMP_NUM_THREADS`` if set, else those it may run on."""
    if (number := os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()).isdigit():  # a list: of nested levels
        return max(1, int(number))
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def train_and_test(
    trainer: Trainer, module: LightningModule, data: LightningDataModule, checkpoint: Path | None
) -> dict[str, float]:
    """Train from the start, evaluated before the first step, or from a checkpoint; test; return the final metrics.

    Raises:
        KeyboardInterrupt: on Ctrl-C; or after a stop signal, at the next place where nothing is lost.
    """
    with interruptible(trainer), stop_requests.deferred():
        if checkpoint is None:
            trainer.validate(module, data, verbose=False)
        trainer.fit(module, data, ckpt_path=checkpoint, weights_only=True)
        trainer.test(module, data, verbose=False)
    return {name: value.item() for name, value in trainer.callback_metrics.items()}


class ReplicatedStrategy(MeetingStrategy):
    """One process per device, each doing the same training: there is nothing to average."""

    averages_gradients = False


class KeepThreads(Callback):
    """Gives PyTorch back the number of threads that it had: Lightning takes all cores for several processes."""

    def __init__(self) -> None:
        self.num_threads = torch.get_num_threads()

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Set it again."""
        torch.set_num_threads(self.num_threads)


def make_trainer(
    config: DeviceConfig,
    checkpoints: Checkpoint | None,
    loggers: list[Logger],
    callbacks: list[Callback],
    is_replicated: bool = False,
    launch: Launch | None = None,
    accumulation: int = 1,
) -> Trainer:
    """Return a Trainer that evaluates, and then saves a checkpoint, after every epoch.

    Args:
        config: the ``trainer`` part of the config; without a number of steps there is a single epoch.
        checkpoints: writes and keeps them; ``None`` for no checkpoints.
        loggers: where metrics go.
        callbacks: ours, beside the checkpoint's.
        is_replicated: whether all processes train in the same way.
        launch: how this process was started; found out if it is not given.
        accumulation: batches of a step, whose gradients' mean it takes.

    Raises:
        LaunchError: if the processes that were started are not those of the config.
    """
    launch = launch or find_launch(config.devices, config.num_nodes)
    callbacks = [StopTogether(), KeepThreads(), *callbacks]
    if checkpoints is not None:
        callbacks.append(checkpoints)
    trainer = Trainer(
        max_steps=config.max_steps if isinstance(config, TrainerConfig) else -1,
        max_epochs=-1 if isinstance(config, TrainerConfig) else 1,
        accumulate_grad_batches=accumulation,
        accelerator=config.lightning_accelerator,
        devices=config.devices,
        num_nodes=config.num_nodes,
        strategy=_strategy(config, is_replicated),
        precision=config.precision,  # type: ignore[arg-type]
        logger=loggers or False,
        callbacks=callbacks,
        enable_checkpointing=checkpoints is not None,
        plugins=[SealedCheckpointIO(), launch.environment],
        reload_dataloaders_every_n_epochs=1,  # each epoch has its own stream of fresh tasks
        num_sanity_val_steps=0,
        inference_mode=False,  # sensitivities are gradients
        enable_progress_bar=False,  # ours counts optimiser steps, see iclgd.runtime.progress
        enable_model_summary=False,
        use_distributed_sampler=False,  # the data modules divide the tasks themselves
    )
    leave_signals_alone(trainer)
    return trainer


def _strategy(config: DeviceConfig, is_replicated: bool) -> Strategy | str:
    if config.strategy == "fsdp":
        return ShardedStrategy()
    if config.devices * config.num_nodes > 1:
        return ReplicatedStrategy() if is_replicated else MeetingStrategy()
    return MeetingStrategy() if config.strategy == "ddp" else config.strategy
