"""In-context regression: train a toy transformer, compare it with gradient descent."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from omegaconf import MISSING
from torch import nn

from iclgd.analysis.learners import make_baselines, make_references
from iclgd.data import REGRESSION_TASKS, RegressionTask
from iclgd.data.datamodules import RegressionDataModule
from iclgd.data.seeding import named_generator
from iclgd.experiments.analyses import ANALYSES, AnalysisConfig
from iclgd.experiments.protocol import ChosenGroup, Experiment, Record, RunContext
from iclgd.experiments.regression_memory import analysis_needs, memory_needs
from iclgd.experiments.regression_models import (
    by_name,
    learned_momenta,
    make_data,
    models_by_prefix,
    reference_setting,
    trained_subjects,
)
from iclgd.experiments.regression_per_task import per_task
from iclgd.experiments.training import SMALL_STEPS, check_training, train
from iclgd.experiments.weight_files import write_weights
from iclgd.memory import check
from iclgd.models.transformer import Transformer, TransformerConfig
from iclgd.modules.regression import EvaluationConfig, RegressionModule, TrainingConfig, over_seeds
from iclgd.modules.regression_evaluation import RegressionEvaluation
from iclgd.report.figures import Draw
from iclgd.report.titles import of_regression
from iclgd.report.training_figures import alignment, copying, layers, learning_curve
from iclgd.report.weight_figures import weight_products
from iclgd.runtime.trainer import TrainerConfig
from iclgd.tracking.run_directory import RunDirectory
from iclgd.tracking.wandb import TrackingConfig

FIGURES: dict[str, Draw] = {
    "learning_curve": learning_curve,
    "alignment": alignment,
    "weights": weight_products,
    "layers": layers,
    "copying": copying,
}


@dataclass(frozen=True)
class Config:
    """A regression experiment: train a toy transformer, compare it with gradient descent."""

    experiment: str = "regression"
    """Which experiment."""
    seed: int = 0
    """Seed of everything random."""
    task: RegressionTask = MISSING
    """What is learned; task.name chooses it, linear if it is not said."""
    model: TransformerConfig = field(default_factory=TransformerConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    analysis: AnalysisConfig = field(default_factory=AnalysisConfig)
    trainer: TrainerConfig = MISSING
    """Where and for how long to train."""
    tracking: TrackingConfig = field(default_factory=TrackingConfig)

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ValueError(f"seed must be at least 0, got {self.seed}")
        if self.model.tokens == "separate" and self.task.output_dim > self.task.input_dim:
            raise ValueError(
                f"task.output_dim must be at most task.input_dim ({self.task.input_dim}) with model.tokens=separate, "
                f"got {self.task.output_dim}"
            )
        if self.model.positional_encoding == "add" and (self.model.in_projection or self.task.input_dim) % 2:
            width = "model.in_projection" if self.model.in_projection else "task.input_dim"
            raise ValueError(f"{width} must be even with model.positional_encoding=add")
        if self.model.clip and self.evaluation.gd_plus_plus == "optimal":
            raise ValueError("evaluation.gd_plus_plus must not be optimal with model.clip: it knows no bound")
        self.analysis.check(self.task, self.model)
        check_training(self.trainer, "regression", SMALL_STEPS, {"training.batch_size": self.training.batch_size})


Prepared = tuple[RegressionDataModule, RegressionModule, dict[str, float]]


def prepare(config: Config) -> Prepared:
    """Return an experiment's data and models, and what was chosen for the references, by summary names.

    Raises:
        TooLargeError: if this machine's memory cannot hold them.
    """
    check(memory_needs(config), config.trainer.lightning_accelerator == "gpu")
    task, data = config.task, make_data(config)
    comparisons, chosen = [], []
    for seed in data.seeds:
        transformer = Transformer(config.model, task.input_dim, task.output_dim)
        transformer.initialize(named_generator(seed, "initialization"))
        setting = reference_setting(config, data, seed)
        references, numbers = make_references(setting)
        comparisons.append(RegressionEvaluation(transformer, references, make_baselines(setting)))
        chosen.append(numbers)
    return data, RegressionModule(comparisons, config.training, data.seeds), _all_seeds(chosen, data.seeds)


def execute(context: RunContext[Config], prepared: Prepared) -> dict[str, float]:
    """Train and compare; on the first process also write the models' weights; return the summary."""
    config, directory = context.config, context.directory
    data, module, chosen = prepared
    (reference, *_) = module.comparisons[0].references  # type: ignore[misc]
    quantities = {"loss": "loss/transformer", reference: f"loss/{reference}", "cosine": "alignment/sensitivity_cosine"}
    summary = train(context, module, data, quantities)
    subjects = module.subjects(config.task)
    if directory is not None:
        write_weights(directory, models_by_prefix(subjects))
    learned = _all_seeds([learned_momenta(subject.transformer) for subject in subjects], module.seeds)
    return {**summary, **chosen, **learned}


def _all_seeds(of_seeds: Sequence[dict[str, float]], seeds: Sequence[int]) -> dict[str, float]:
    """Return each seed's numbers by the summary names of all."""
    found: dict[str, float] = {}
    for name in of_seeds[0]:
        values = torch.tensor([numbers[name] for numbers in of_seeds], dtype=torch.float64)
        found |= {full_name: value.item() for full_name, value in over_seeds(name, values, seeds).items()}
    return found


def analyze(name: str, config: Config, directory: RunDirectory) -> Record:
    """Make one analysis of a complete run, from the weights in its directory.

    Raises:
        TooLargeError: if it cannot fit into memory.
        RunDirectoryError: if the weights cannot be used.
    """
    analysis = ANALYSES[name]
    check(analysis_needs(config, analysis.memory(config)))
    return analysis.run(trained_subjects(config, directory), config.analysis)


def models(config: Config, directory: RunDirectory) -> dict[str, nn.Module]:
    """Return the transformer and its references by name, of several seeds ``MODEL/seed_S``, with their final weights.

    Raises:
        RunDirectoryError: if the weights cannot be used.
    """
    return by_name(trained_subjects(config, directory))


EXPERIMENT = Experiment(
    config=Config,
    prepare=prepare,
    execute=execute,
    needs_memory="training.batch_size, evaluation.num_tasks, training.num_seeds or the sizes of model and task",
    chosen_groups={"task": ChosenGroup("linear", REGRESSION_TASKS)},
    figures=FIGURES,
    title=of_regression,
    analyses=ANALYSES,
    chosen_analyses=lambda config: config.analysis.run,
    analyze=analyze,
    models=models,
    per_task=per_task,
)
