"""The analyses that a run can add after training: which there are, what they need, what they return."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from iclgd import checks
from iclgd.analysis.algorithms import Candidate, algorithms_by_layer, candidate_learners
from iclgd.analysis.functions import functions
from iclgd.analysis.iterated import iterated
from iclgd.analysis.out_of_distribution import SHIFTS, losses_under_shifts
from iclgd.analysis.subject import Subject
from iclgd.data import LinearRegressionTask, RegressionTask, SineTask
from iclgd.data.seeding import named_generator
from iclgd.models import Predictor
from iclgd.models.constructions import interpolated
from iclgd.models.transformer import SCALES, Transformer, TransformerConfig

Record = dict[str, Any]  # plain numbers, texts, lists and dictionaries

ANALYSES = {
    "out_of_distribution": "losses on shifted tasks: scales, distributions, noise, context lengths, covariances",
    "iterated": "one layer applied many times beside as many gradient steps",
    "which_algorithm": "the nearest textbook learner to every layer, with bootstrap intervals",
    "functions": "sine waves before and after the context is seen, and the kernels",
}


MOST_APPLICATIONS = 10_000  # each takes about as long as a step of training


@dataclass(frozen=True)
class AnalysisConfig:
    """What to look at after training.

    Raises:
        ValueError: if a value is out of its range, or for an unknown analysis or shift.
    """

    run: list[str] = field(default_factory=list)
    num_tasks: int = 10_000
    shifts: list[str] = field(default_factory=lambda: list(SHIFTS))  # of out_of_distribution
    num_applications: int = 50  # of iterated
    dampening: float = 0.75  # of iterated: of the layer's updates and of the learning rate
    num_resamples: int = 500  # of which_algorithm

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
            if name == "functions":
                is_one = model.num_layers == model.num_heads == 1 and model.tokens == "joint"
                if not isinstance(task, SineTask) or not is_one:
                    raise ValueError(
                        "analysis.run: functions needs task.name=sine, one layer, one head and model.tokens=joint"
                    )
            elif not isinstance(task, LinearRegressionTask):
                raise ValueError(f"analysis.run: {name} needs task.name=linear, got {task.name}")
            if name == "iterated" and (model.num_layers > 1 or model.mlp):
                raise ValueError("analysis.run: iterated needs model.num_layers=1 and model.mlp=false")
            if name == "iterated" and (model.tokens != "joint" or model.in_projection or model.out_projection):
                raise ValueError(
                    "analysis.run: iterated needs tokens with target channels of their own: model.tokens=joint, "
                    "model.in_projection=null and model.out_projection=false"
                )
            if name == "out_of_distribution" and not self._have_values(task, model):
                raise ValueError(f"analysis.shifts: {', '.join(self.shifts)} has no value for this task and this model")

    def possible_shifts(self, model: TransformerConfig) -> list[str]:
        """Return the shifts that a model can see; the places of separate tokens end with the context of training."""
        return [name for name in self.shifts if name != "num_context" or model.tokens == "joint"]

    def _have_values(self, task: RegressionTask, model: TransformerConfig) -> bool:
        possible = self.possible_shifts(model)
        return isinstance(task, LinearRegressionTask) and any(SHIFTS[name].values(task) for name in possible)


def run_analyses(config: AnalysisConfig, subjects: Sequence[Subject]) -> dict[str, Record]:
    """Return the records of the chosen analyses, by name; ready for JSON."""
    makers: dict[str, Callable[[AnalysisConfig, Sequence[Subject]], Record]] = {
        "out_of_distribution": _out_of_distribution,
        "iterated": lambda c, s: iterated(s, c.num_tasks, c.num_applications, c.dampening),
        "which_algorithm": _which_algorithm,
        "functions": lambda _, s: functions(s),
    }
    return {name: makers[name](config, subjects) for name in config.run}


def predictors(subject: Subject) -> dict[str, Predictor]:
    """Return the transformer, its references, and where it is defined the mean of transformer and gradient descent."""
    named: dict[str, Predictor] = {"transformer": subject.transformer, **subject.references}
    if (mixture := interpolated(subject.transformer, subject.references)) is not None:
        named["interpolated"] = mixture
    return named


def _out_of_distribution(config: AnalysisConfig, subjects: Sequence[Subject]) -> Record:
    """Return for each shift ``values`` and every predictor's ``losses``, a list over seeds of lists over values."""
    record: Record = {}
    for subject in subjects:
        assert isinstance(subject.task, LinearRegressionTask)
        shifts = config.possible_shifts(subject.transformer.config)
        results = losses_under_shifts(
            subject.task, predictors(subject), subject.seed, config.num_tasks, shifts, dtype=subject.dtype
        )
        for name, result in results.items():
            entry = record.setdefault(name, {"values": result["values"], "losses": {}})
            for predictor, losses in result["losses"].items():
                entry["losses"].setdefault(predictor, []).append(losses)
    return record


def _which_algorithm(config: AnalysisConfig, subjects: Sequence[Subject]) -> Record:
    """Return ``seeds``: for each its ``seed`` and what :func:`algorithms_by_layer` returns."""
    found = []
    for subject in subjects:
        task, depth = subject.task, subject.transformer.config.num_layers
        assert isinstance(task, LinearRegressionTask)
        generator = named_generator(subject.seed, "which_algorithm")
        fitted_on, compared_on = (task.sample(config.num_tasks, generator, subject.dtype) for _ in range(2))
        candidates = candidate_learners(fitted_on, depth, task)
        if subject.transformer.config.clip:
            candidates |= _bounded(subject.references, depth)
        layers = [_after(subject.transformer, layer) for layer in range(1, depth + 1)]
        result = algorithms_by_layer(layers, candidates, compared_on, config.num_resamples, generator)
        found.append({"seed": subject.seed, **result})
    return {"seeds": found}


def _bounded(references: Mapping[str, nn.Module], depth: int) -> dict[str, Candidate]:
    """Return the GD++ that was tuned with the transformer's bound on activations, which the textbook one has not."""
    reference = references.get("gd_plus_plus")
    if not isinstance(reference, Transformer) or reference.config.num_layers != depth:
        return {}
    num_parameters = 2 * len(reference.layers)
    steps = {f"gd_plus_plus({k} of {depth})": k for k in range(1, depth)} | {f"gd_plus_plus({depth})": depth}
    return {name: Candidate(_after(reference, k), num_parameters) for name, k in steps.items()}


def _after(transformer: Transformer, num_layers: int) -> Predictor:
    return lambda x, y, query: transformer(x, y, query, num_layers=num_layers)
