"""The analyses that a regression run can add after training, each one entry of ``ANALYSES``."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rich.table import Table

from iclgd import checks
from iclgd.analysis.algorithms import which_algorithm
from iclgd.analysis.functions import functions
from iclgd.analysis.iterated import iterated
from iclgd.analysis.out_of_distribution import SHIFTS, out_of_distribution, shifts_with_values
from iclgd.analysis.subject import Subject
from iclgd.data import LinearRegressionTask, RegressionTask, SineTask
from iclgd.experiments.protocol import DrawRecord, Record
from iclgd.experiments.regression_memory import of_which_algorithm
from iclgd.models.transformer import SCALES, TransformerConfig
from iclgd.report import algorithm_figures, function_figures, shift_figures
from iclgd.report.tables import algorithm_table

if TYPE_CHECKING:
    from iclgd.experiments.regression import Config

MOST_APPLICATIONS = 10_000  # each takes about as long as a step of training


@dataclass(frozen=True)
class AnalysisConfig:
    """What to look at after training.

    Raises:
        ValueError: if a value is out of its range, or for an unknown analysis or shift.
    """

    run: list[str] = field(default_factory=list)
    """Analyses to make after training."""
    num_tasks: int = 10_000
    """Tasks on which each analysis looks."""
    shifts: list[str] = field(default_factory=lambda: list(SHIFTS))
    """Shifts of out_of_distribution."""
    num_applications: int = 50
    """How often iterated applies the layer."""
    dampening: float = 0.75
    """Factor of the layer's updates, and of the learning rate, in iterated."""
    num_resamples: int = 500
    """Bootstrap resamples of which_algorithm."""

    def __post_init__(self) -> None:
        checks.all_of(ANALYSES, "analysis", self, "run")
        checks.all_of(SHIFTS, "analysis", self, "shifts")
        if not self.shifts:
            raise ValueError(f"analysis.shifts must have at least one of: {', '.join(SHIFTS)}; got []")
        checks.at_least(2, "analysis", self, "num_tasks")
        checks.at_least(1, "analysis", self, "num_resamples", most=1_000_000)
        checks.at_least(1, "analysis", self, "num_applications", most=MOST_APPLICATIONS)
        checks.positive("analysis", self, "dampening", between=SCALES)

    def check(self, task: RegressionTask, model: TransformerConfig) -> None:
        """Refuse analyses that are not defined for a task or a model.

        Raises:
            ValueError: with the reason.
        """
        for name in self.run:
            if (reason := ANALYSES[name].refuse(task, model, self)) is not None:
                raise ValueError(f"analysis.run: {name} {reason}")


def _any_task_and_model(task: RegressionTask, model: TransformerConfig, config: AnalysisConfig) -> str | None:
    return None


def _nothing_more(config: "Config") -> float:
    return 0.0


@dataclass(frozen=True)
class Analysis:
    """An analysis: what it looks at, where it is not defined, and how it is shown.

    Args:
        description: one line.
        run: looks at every seed's trained models, as the config says; returns plain numbers, texts, lists and
            dictionaries, which become ``analysis/NAME.json``.
        refuse: says why a task or a model has no such analysis, such as ``"needs task.name=linear"``; ``None`` where
            it has. Asked before training; the reason is one line.
        memory: bytes that it holds for each of its tasks, beside the tasks and their tokens.
        figure: draws the record, beside the run's results; may return ``None`` if there is nothing to show.
        table: shows the record at the end of the run.
    """

    description: str
    run: Callable[[Sequence[Subject], AnalysisConfig], Record]
    refuse: Callable[[RegressionTask, TransformerConfig, AnalysisConfig], str | None] = _any_task_and_model
    memory: Callable[["Config"], float] = _nothing_more
    figure: DrawRecord | None = None
    table: Callable[[Record], Table] | None = None


def _needs_linear_task(task: RegressionTask, model: TransformerConfig, config: AnalysisConfig) -> str | None:
    return None if isinstance(task, LinearRegressionTask) else f"needs task.name=linear, got {task.name}"


def _needs_one_layer(task: RegressionTask, model: TransformerConfig, config: AnalysisConfig) -> str | None:
    if (reason := _needs_linear_task(task, model, config)) is not None:
        return reason
    if model.num_layers > 1 or model.mlp:
        return "needs model.num_layers=1 and model.mlp=false"
    if model.tokens != "joint" or model.in_projection or model.out_projection:
        return (
            "needs tokens with target channels of their own: model.tokens=joint, model.in_projection=null and "
            "model.out_projection=false"
        )
    return None


def _needs_values(task: RegressionTask, model: TransformerConfig, config: AnalysisConfig) -> str | None:
    if (reason := _needs_linear_task(task, model, config)) is not None:
        return reason
    assert isinstance(task, LinearRegressionTask)
    if shifts_with_values(config.shifts, task, model):
        return None
    return f"has no value for this task and this model with analysis.shifts=[{', '.join(config.shifts)}]"


def _needs_sine(task: RegressionTask, model: TransformerConfig, config: AnalysisConfig) -> str | None:
    is_one = model.num_layers == model.num_heads == 1 and model.tokens == "joint"
    is_defined = isinstance(task, SineTask) and is_one
    return None if is_defined else "needs task.name=sine, one layer, one head and model.tokens=joint"


ANALYSES: dict[str, Analysis] = {
    "out_of_distribution": Analysis(
        "losses on shifted tasks: scales, distributions, noise, context lengths, covariances",
        run=lambda subjects, config: out_of_distribution(subjects, config.num_tasks, config.shifts),
        refuse=_needs_values,
        figure=shift_figures.out_of_distribution,
    ),
    "iterated": Analysis(
        "one layer applied many times beside as many gradient steps",
        run=lambda subjects, config: iterated(subjects, config.num_tasks, config.num_applications, config.dampening),
        refuse=_needs_one_layer,
        figure=shift_figures.iterated,
    ),
    "which_algorithm": Analysis(
        "the nearest textbook learner to every layer, with bootstrap intervals",
        run=lambda subjects, config: which_algorithm(subjects, config.num_tasks, config.num_resamples),
        refuse=_needs_linear_task,
        memory=of_which_algorithm,
        figure=algorithm_figures.algorithms,
        table=algorithm_table,
    ),
    "functions": Analysis(
        "sine waves before and after the context is seen, and the kernels",
        run=lambda subjects, _: functions(subjects),
        refuse=_needs_sine,
        figure=function_figures.functions,
    ),
}
