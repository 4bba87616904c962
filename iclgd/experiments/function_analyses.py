"""The analyses that a run on functions can add after training, each one entry of ``ANALYSES``."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from rich.table import Table

from iclgd import checks
from iclgd.analysis.every_position.algorithms import compare_at_positions, spread_positions
from iclgd.analysis.every_position.gradient_by_query import gradient_by_query
from iclgd.analysis.every_position.interpolated_tasks import interpolated_tasks
from iclgd.analysis.every_position.optimal import DMMSE, is_dense_linear, optimal_learners
from iclgd.analysis.every_position.shifts import SHIFTS, function_shifts
from iclgd.analysis.every_position.subject import FunctionSubject
from iclgd.analysis.every_position.task_diversity import distances_of, task_diversity
from iclgd.data.function_datamodule import FunctionDataModule
from iclgd.data.functions import FunctionTask, LinearFunctionTask
from iclgd.experiments.protocol import DrawRecord, Record
from iclgd.models.function_transformer import FunctionTransformer
from iclgd.report import algorithm_figures, function_analysis_figures
from iclgd.report.tables import algorithm_table
from iclgd.tracking.run_directory import RunDirectory

if TYPE_CHECKING:
    from iclgd.experiments.functions import Config

TASK_DIVERSITY = "task_diversity"  # the record's name, and the figure's


@dataclass(frozen=True)
class FunctionAnalysisConfig:
    """What to look at after training.

    Raises:
        ValueError: if a value is out of its range, or for an unknown analysis or shift.
    """

    run: list[str] = field(default_factory=list)
    """Analyses to make after training."""
    num_prompts: int = 1280
    """Prompts on which each analysis looks."""
    num_resamples: int = 500
    """Bootstrap resamples of the prompts, for the intervals of 95%."""
    positions: list[int] = field(default_factory=list)
    """Positions at which which_algorithm asks; none: eight, evenly from 1 to the last."""
    shifts: list[str] = field(default_factory=lambda: list(SHIFTS))
    """Shifts of function_shifts."""

    def __post_init__(self) -> None:
        checks.all_of(ANALYSES, "analysis", self, "run")
        checks.all_of(SHIFTS, "analysis", self, "shifts")
        if not self.shifts:
            raise ValueError(f"analysis.shifts must have at least one of: {', '.join(SHIFTS)}; got []")
        checks.at_least(2, "analysis", self, "num_prompts")
        checks.at_least(1, "analysis", self, "num_resamples", most=1_000_000)

    def check(self, task: FunctionTask) -> None:
        """Refuse analyses and positions that are not defined for a function class.

        Raises:
            ValueError: with the reason.
        """
        last = task.num_points - 1
        if not all(1 <= position <= last for position in self.positions):
            raise ValueError(f"analysis.positions must be from 1 to {last} (task.num_points - 1), got {self.positions}")
        for name in self.run:
            if (reason := ANALYSES[name].refuse(task)) is not None:
                raise ValueError(f"analysis.run: {name} {reason}")


def _needs_an_example(task: FunctionTask) -> str | None:
    return None if task.num_points > 1 else f"needs task.num_points of at least 2, got {task.num_points}"


def _needs_linear(task: FunctionTask) -> str | None:
    if not isinstance(task, LinearFunctionTask):
        return f"needs linear functions (task.name=linear, noisy_linear or sparse_linear), got {task.name}"
    return _needs_an_example(task)


def _needs_dense_linear(task: FunctionTask) -> str | None:
    return None if is_dense_linear(task) else f"needs task.name=linear or noisy_linear, got {task.name}"


def _needs_two_tasks(task: FunctionTask) -> str | None:
    if not is_dense_linear(task) or not task.noise_std or task.renormalize:
        return "needs task.name=noisy_linear and task.renormalize=false"
    return None if task.num_tasks > 1 else f"needs task.num_tasks of at least 2, got {task.num_tasks}"


@dataclass(frozen=True)
class FunctionAnalysis:
    """An analysis of a model that answers at every position.

    Args:
        description: one line.
        run: looks at the trained model, as the config says; returns plain numbers, texts, lists and dictionaries,
            which become ``analysis/NAME.json``.
        refuse: says why a function class has no such analysis; ``None`` where it has. Asked before training.
        figure: draws the record, beside the run's results.
        table: shows the record at the end of the run.
    """

    description: str
    run: Callable[[FunctionSubject, FunctionAnalysisConfig], Record]
    refuse: Callable[[FunctionTask], str | None]
    figure: DrawRecord | None = None
    table: Callable[[Record], Table] | None = None


def _which_algorithm(subject: FunctionSubject, config: FunctionAnalysisConfig) -> Record:
    found = compare_at_positions(
        subject.model,
        subject.task,
        config.positions or spread_positions(subject.task),
        subject.seed,
        num_prompts=config.num_prompts,
        num_resamples=config.num_resamples,
        dtype=torch.float32,
    )
    return {"seeds": [{"seed": subject.seed, **found}]}


ANALYSES: dict[str, FunctionAnalysis] = {
    "which_algorithm": FunctionAnalysis(
        "the nearest textbook learner over positions, with bootstrap intervals",
        run=_which_algorithm,
        refuse=_needs_an_example,
        figure=algorithm_figures.algorithms,
        table=algorithm_table,
    ),
    "gradient_by_query": FunctionAnalysis(
        "gradients of predictions by the query beside the true weights, and those that the examples tell",
        run=lambda subject, config: gradient_by_query(subject, config.num_prompts, config.num_resamples),
        refuse=_needs_linear,
        figure=function_analysis_figures.gradient_by_query,
    ),
    "interpolated_tasks": FunctionAnalysis(
        "errors on tasks between two of the pool, beside ridge and dMMSE",
        run=lambda subject, config: interpolated_tasks(subject, config.num_prompts, config.num_resamples),
        refuse=_needs_two_tasks,
        figure=function_analysis_figures.interpolated_tasks,
    ),
    "function_shifts": FunctionAnalysis(
        "errors on prompts unlike those of training: covariances, queries, scales, noise",
        run=lambda subject, config: function_shifts(subject, config.shifts, config.num_prompts, config.num_resamples),
        refuse=_needs_dense_linear,
        figure=function_analysis_figures.function_shifts,
    ),
}


def distances_to_optimal(
    config: "Config", directory: RunDirectory, model: FunctionTransformer, data: FunctionDataModule
) -> dict[str, float]:
    """Write how far a model is from ridge and dMMSE, where the task defines both; return numbers for the summary."""
    learners = optimal_learners(config.task)
    if DMMSE not in learners:
        return {}
    dtype = torch.float64 if config.trainer.precision == "64-true" else torch.float32
    batches = {prefix: data.evaluation_batch(prefix, dtype) for prefix in data.evaluation_tasks()}
    record = task_diversity(model, learners, batches, config.seed, config.evaluation.num_resamples)
    directory.write_analysis(TASK_DIVERSITY, record, {})
    return distances_of(record)
