"""In-context learning of function classes: train a transformer on prompts, evaluate it at every position."""

from dataclasses import dataclass, field

from omegaconf import MISSING
from torch import nn

from iclgd.analysis.every_position.subject import FunctionSubject
from iclgd.data.function_datamodule import FunctionDataModule
from iclgd.data.functions import FUNCTION_TASKS, FunctionTask
from iclgd.data.seeding import named_generator
from iclgd.experiments.function_analyses import (
    ANALYSES,
    TASK_DIVERSITY,
    FunctionAnalysisConfig,
    distances_to_optimal,
)
from iclgd.experiments.function_evaluation import ERROR_BY_POSITION, error_by_position, summary_of
from iclgd.experiments.function_memory import memory_needs
from iclgd.experiments.protocol import ChosenGroup, Experiment, Record, RunContext
from iclgd.experiments.training import SMALL_STEPS, check_training, train
from iclgd.experiments.weight_files import read_weights, write_weights
from iclgd.memory import check
from iclgd.models.function_transformer import FunctionTransformer, FunctionTransformerConfig
from iclgd.modules.functions import EvaluationConfig, FunctionModule, TrainingConfig
from iclgd.report.figures import Draw
from iclgd.report.position_figures import error_by_position as draw_errors
from iclgd.report.position_figures import error_over_training
from iclgd.report.position_tables import error_table
from iclgd.report.task_diversity_figures import distances_by_position as draw_distances
from iclgd.report.titles import of_functions
from iclgd.runtime.trainer import TrainerConfig
from iclgd.tracking.run_directory import RunDirectory
from iclgd.tracking.wandb import TrackingConfig

FIGURES: dict[str, Draw] = {
    ERROR_BY_POSITION: draw_errors,
    "error_over_training": error_over_training,
    TASK_DIVERSITY: draw_distances,
}
PREFIX = "transformer."  # of the weights' names


@dataclass(frozen=True)
class Config:
    """An experiment on function classes: train a transformer on prompts of examples, evaluate it at every position."""

    experiment: str = "functions"
    """Which experiment."""
    seed: int = 0
    """Seed of everything random."""
    task: FunctionTask = MISSING
    """What is learned; task.name chooses it, linear if it is not said."""
    model: FunctionTransformerConfig = field(default_factory=FunctionTransformerConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    analysis: FunctionAnalysisConfig = field(default_factory=FunctionAnalysisConfig)
    trainer: TrainerConfig = MISSING
    """Where and for how long to train."""
    tracking: TrackingConfig = field(default_factory=TrackingConfig)

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ValueError(f"seed must be at least 0, got {self.seed}")
        self.model.points_for(self.task.num_points)
        self.task.check_batch_size(self.training.batch_size)
        self.training.curriculum.check(self.task)
        if self.training.schedule == "triangle" and self.training.warmup_steps >= self.trainer.max_steps:
            raise ValueError(
                f"training.warmup_steps must be below trainer.max_steps ({self.trainer.max_steps}) with "
                f"training.schedule=triangle, got {self.training.warmup_steps}"
            )
        shared = {
            "training.batch_size": self.training.batch_size,
            "evaluation.num_prompts": self.evaluation.num_prompts,
        }
        check_training(self.trainer, "functions", SMALL_STEPS, shared)
        self.evaluation.baselines_of(self.task)
        self.analysis.check(self.task)


Prepared = tuple[FunctionDataModule, FunctionModule]


def prepare(config: Config) -> Prepared:
    """Return an experiment's data and model.

    Raises:
        TooLargeError: if this machine's memory cannot hold them.
    """
    check(memory_needs(config), config.trainer.lightning_accelerator == "gpu")
    return make_data(config), FunctionModule(
        make_model(config), config.task, config.training, config.evaluation.noiseless
    )


def make_data(config: Config) -> FunctionDataModule:
    """Return the prompts of a run."""
    return FunctionDataModule(
        config.task,
        config.training.curriculum,
        config.seed,
        batch_size=config.training.batch_size,
        steps_per_epoch=config.evaluation.every_num_steps,
        num_evaluation_prompts=config.evaluation.num_prompts,
    )


def make_model(config: Config) -> FunctionTransformer:
    """Return the transformer as training begins with it."""
    return FunctionTransformer(
        config.model,
        config.task.input_dim,
        config.model.points_for(config.task.num_points),
        named_generator(config.seed, "initialization"),
    )


def execute(context: RunContext[Config], prepared: Prepared) -> dict[str, float]:
    """Train and evaluate; on the first process also evaluate other learners and write weights and errors.

    Returns the summary.
    """
    config, directory = context.config, context.directory
    data, module = prepared
    summary = train(context, module, data, {"error": "error/transformer"})
    if directory is not None:
        write_weights(directory, {PREFIX: module.model})
        record = error_by_position(config, data, module.errors)
        directory.write_analysis(ERROR_BY_POSITION, record, {})
        summary |= summary_of(config, record)
        summary |= distances_to_optimal(config, directory, module.model, data)
    return summary


def models(config: Config, directory: RunDirectory) -> dict[str, nn.Module]:
    """Return the trained transformer, as ``transformer``.

    Raises:
        RunDirectoryError: if the weights cannot be used.
    """
    model = make_model(config).eval()
    read_weights(directory, {PREFIX: model})
    return {"transformer": model}


def analyze(name: str, config: Config, directory: RunDirectory) -> Record:
    """Make one analysis of a complete run, from the weights in its directory.

    Raises:
        RunDirectoryError: if the weights cannot be used.
    """
    model = models(config, directory)["transformer"]
    assert isinstance(model, FunctionTransformer)
    return ANALYSES[name].run(FunctionSubject(config.seed, config.task, model), config.analysis)


EXPERIMENT = Experiment(
    config=Config,
    prepare=prepare,
    execute=execute,
    needs_memory="training.batch_size, evaluation.num_prompts or the sizes of model and task",
    chosen_groups={"task": ChosenGroup("linear", FUNCTION_TASKS)},
    figures=FIGURES,
    title=of_functions,
    analyses=ANALYSES,
    chosen_analyses=lambda config: config.analysis.run,
    analyze=analyze,
    table=error_table,
    models=models,
)
