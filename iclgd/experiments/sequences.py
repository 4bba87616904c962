"""Sequences: train a transformer to predict dynamical systems, compare it with least squares and gradient descent."""

from dataclasses import dataclass, field
from typing import Any

import torch
from omegaconf import MISSING
from torch import nn

from iclgd.analysis.sequences.controls import Controls, make_controls
from iclgd.data.seeding import named_generator
from iclgd.data.sequences import SEQUENCE_TASKS, SequenceTask
from iclgd.data.sequences.datamodule import NUM_DRAWN_TOGETHER, SequenceDataModule
from iclgd.experiments.protocol import ChosenGroup, Experiment, Record, RunContext
from iclgd.experiments.sequence_analyses import ANALYSES, AnalysisConfig
from iclgd.experiments.training import check_training, train
from iclgd.experiments.weight_files import read_weights, write_weights
from iclgd.memory import Need, check
from iclgd.models.sequences import SequenceTransformer, SequenceTransformerConfig
from iclgd.models.sequences.solvers import BATCH as NUM_SOLVED_TOGETHER
from iclgd.modules.sequences import EvaluationConfig, SequenceModule, TrainingConfig
from iclgd.report.figures import Draw
from iclgd.report.sequence_figures import learning_curve
from iclgd.report.titles import of_sequences
from iclgd.runtime.trainer import TrainerConfig
from iclgd.tracking.run_directory import RunDirectory
from iclgd.tracking.wandb import TrackingConfig

NUM_TUNING_SEQUENCES = 256
PREFIX = "transformer."  # of the weights' names
FIGURES: dict[str, Draw] = {"learning_curve": learning_curve}
SHOWN = {
    "loss": "loss/transformer",
    "least squares": "loss/least_squares",
    "gd": "loss/gd",
}


@dataclass(frozen=True)
class Config:
    """An experiment on sequences: train a transformer to predict them, compare it with least squares."""

    experiment: str = "sequences"
    """Which experiment."""
    seed: int = 0
    """Seed of everything random."""
    task: SequenceTask = MISSING
    """What is predicted; task.name chooses it, linear_system if it is not said."""
    model: SequenceTransformerConfig = field(default_factory=SequenceTransformerConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    analysis: AnalysisConfig = field(default_factory=AnalysisConfig)
    trainer: TrainerConfig = MISSING
    """Where and for how long to train."""
    tracking: TrackingConfig = field(default_factory=TrackingConfig)

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ValueError(f"seed must be at least 0, got {self.seed}")
        self.model.check(self.task.observed_size)
        self.analysis.check(self.model.width(self.task.observed_size))
        if (most := max(self.evaluation.num_lags, self.model.num_lags)) > self.task.length:
            raise ValueError(
                f"evaluation.num_lags and model.num_lags must be at most task.length ({self.task.length}), got {most}"
            )
        shared = {
            "training.batch_size": self.training.batch_size,
            "evaluation.num_sequences": self.evaluation.num_sequences,
        }
        check_training(self.trainer, "sequences", "least squares cannot be solved in bfloat16", shared)


Prepared = tuple[SequenceDataModule, SequenceModule]


def prepare(config: Config) -> Prepared:
    """Return an experiment's data and model, with the learners at their best.

    Raises:
        TooLargeError: if this machine's memory cannot hold them.
    """
    check(_memory_needs(config), config.trainer.lightning_accelerator == "gpu")
    data = _data(config)
    transformer = SequenceTransformer(config.model, config.task.observed_size)
    transformer.initialize(named_generator(config.seed, "initialization"))
    return data, SequenceModule(transformer, _controls(config, data), config.training)


def _data(config: Config) -> SequenceDataModule:
    return SequenceDataModule(
        config.task,
        config.seed,
        batch_size=config.training.batch_size,
        steps_per_epoch=config.evaluation.every_num_steps,
        num_evaluation_sequences=config.evaluation.num_sequences,
    )


def _controls(config: Config, data: SequenceDataModule) -> Controls:
    tuning = data.fixed_batch("tuning", NUM_TUNING_SEQUENCES, torch.float64)
    return make_controls(config.task, config.evaluation.num_lags, tuning)


def _memory_needs(config: Config) -> list[Need]:
    """Return what training and the learners hold in memory at the least."""
    task, model = config.task, config.model
    width, size = model.width(task.observed_size), task.observed_size
    batch, evaluated, looked_at = (
        config.training.batch_size,
        config.evaluation.num_sequences,
        config.analysis.num_sequences,
    )
    num_processes = config.trainer.devices * config.trainer.num_nodes
    of_heads = 3 * model.num_heads * (model.key_size or width // model.num_heads)
    of_layer = width * (of_heads + of_heads // 3 + 2 * model.mlp_width)
    inputs = size * config.evaluation.num_lags
    return [
        Need(
            4 * NUM_DRAWN_TOGETHER * batch * (task.length * size + task.state_dim**2)
            + 4 * batch / num_processes * task.length * model.num_layers * (width + of_heads),
            f"a batch of {batch:,} sequences",
            "training.batch_size (or task.length, task.state_dim, model.num_layers)",
        ),
        Need(
            8 * evaluated * task.length * size
            + 8 * min(evaluated, NUM_SOLVED_TOGETHER) * task.length * (2 * inputs**2 + inputs * size),
            f"the evaluation on {evaluated:,} sequences",
            "evaluation.num_sequences (or task.length, task.state_dim, evaluation.num_lags)",
        ),
        Need(
            8 * looked_at * task.length * (model.num_layers + 1) * width if config.analysis.run else 0,
            f"an analysis of {looked_at:,} sequences",
            "analysis.num_sequences",
        ),
        Need(
            16 * model.num_layers * of_layer,
            f"a model of {model.num_layers * of_layer:,} parameters",
            "model.num_layers, model.in_projection, model.key_size or model.mlp_width",
        ),
    ]


def execute(context: RunContext[Config], prepared: Prepared) -> dict[str, float]:
    """Train and compare; on the first process also write the model's weights; return the summary."""
    directory = context.directory
    data, module = prepared
    summary = train(context, module, data, SHOWN)
    if directory is not None:
        write_weights(directory, {PREFIX: module.transformer})
    learned = {
        f"transformer/lambda/layer_{index:02}": strength.mean().item()
        for index, strength in module.transformer.strengths().items()
    }
    return {
        **summary,
        **learned,
        "gd/learning_rate": module.controls.learning_rate,
        "least_squares/regularization": module.controls.regularization,
    }


def trained(config: Config, directory: RunDirectory) -> SequenceTransformer:
    """Return the transformer with the weights in a run's directory, on the CPU.

    Raises:
        RunDirectoryError: if they are missing or damaged, or of another model.
    """
    transformer = SequenceTransformer(config.model, config.task.observed_size).eval()
    read_weights(directory, {PREFIX: transformer})
    return transformer


def analyze(name: str, config: Config, directory: RunDirectory) -> Record:
    """Make one analysis of a complete run, from the weights in its directory.

    Raises:
        RunDirectoryError: if the weights cannot be used.
    """
    transformer, data = trained(config, directory), _data(config)
    dtype = next(transformer.parameters()).dtype
    batch = data.fixed_batch("analysis", config.analysis.num_sequences, dtype)
    return ANALYSES[name].run(transformer, _controls(config, data), batch, config.seed)


def models(config: Config, directory: RunDirectory) -> dict[str, nn.Module]:
    """Return the transformer by name, with its final weights.

    Raises:
        RunDirectoryError: if the weights cannot be used.
    """
    return {"transformer": trained(config, directory)}


EXPERIMENT = Experiment[Any, Any](
    config=Config,
    prepare=prepare,
    execute=execute,
    needs_memory="training.batch_size, evaluation.num_sequences, analysis.num_sequences or the sizes of model and task",
    chosen_groups={"task": ChosenGroup("linear_system", SEQUENCE_TASKS)},
    figures=FIGURES,
    title=of_sequences,
    analyses=ANALYSES,
    chosen_analyses=lambda config: config.analysis.run,
    analyze=analyze,
    models=models,
)
