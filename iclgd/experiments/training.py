"""What experiments share that train a model of ours and write its numbers."""

from collections.abc import Mapping
from typing import Any

from lightning.pytorch import LightningDataModule, LightningModule

from iclgd.experiments.protocol import RunContext
from iclgd.runtime.checkpointing import KeepCheckpoints
from iclgd.runtime.participants import Participants
from iclgd.runtime.progress import TrainingProgress
from iclgd.runtime.recording import MetricsRecorder, Stopwatch
from iclgd.runtime.trainer import TrainerConfig, make_trainer, train_and_test

SMALL_STEPS = "an optimiser step would be smaller than the rounding of a weight in bfloat16"


def check_training(trainer: TrainerConfig, experiment: str, no_bfloat16: str, shared: Mapping[str, int]) -> None:
    """Refuse weights in bfloat16, and what cannot be shared out among the processes.

    Args:
        trainer: of the config.
        experiment: its name.
        no_bfloat16: why not, such as ``"least squares cannot be solved in bfloat16"``.
        shared: sizes that processes share out, by key.

    Raises:
        ValueError: with the reason.
    """
    if trainer.precision == "bf16-true":
        raise ValueError(
            f"trainer.precision must be one of: 32-true, 64-true, bf16-mixed with experiment={experiment}; got "
            f"'bf16-true' ({no_bfloat16})"
        )
    num_processes = trainer.devices * trainer.num_nodes
    for key, value in shared.items():
        if value % num_processes:
            raise ValueError(
                f"{key} must be a multiple of trainer.devices x trainer.num_nodes ({num_processes}), got {value}"
            )


def train(
    context: RunContext[Any], module: LightningModule, data: LightningDataModule, shown: Mapping[str, str]
) -> dict[str, float]:
    """Train, and evaluate at the end; return the numbers with ``train/steps_per_second``.

    Args:
        context: of the run.
        module: what is trained.
        data: what on.
        shown: names of metrics by what the line of progress calls them.
    """
    stopwatch = Stopwatch()
    trainer = make_trainer(
        context.config.trainer,
        checkpoints=KeepCheckpoints(context.directory),
        loggers=context.loggers,
        callbacks=[
            Participants(context.config, context.checkpoint, context.directory),
            stopwatch,
            MetricsRecorder(),
            TrainingProgress(dict(shown)),
        ],
        launch=context.launch,
    )
    summary = train_and_test(trainer, module, data, context.checkpoint)
    return {**summary, "train/steps_per_second": stopwatch.steps_per_second}
