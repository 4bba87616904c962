"""Which algorithm has a model of yours learned? The analysis of a run for any callable, in a notebook."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypedDict

import torch
from matplotlib.figure import Figure
from rich.table import Table
from torch import Tensor, nn

from iclgd.analysis.algorithms import compare_layers, layers_of
from iclgd.analysis.candidates import Candidate
from iclgd.analysis.every_position.algorithms import compare_at_positions, spread_positions
from iclgd.checks import InputError
from iclgd.data import REGRESSION_TASKS, RegressionTask
from iclgd.data.functions import FunctionTask, at_position
from iclgd.messages import first_line
from iclgd.models import Predictor
from iclgd.models.every_position import EveryPositionLearner
from iclgd.models.transformer import Transformer
from iclgd.report.algorithm_figures import algorithms
from iclgd.report.figures import draw
from iclgd.report.results import Results
from iclgd.report.tables import algorithm_table
from iclgd.report.verdicts import verdict_text

NUM_PROBES = 2  # tasks on which a model shows whether it can be compared at all


@dataclass(frozen=True, repr=False)
class AlgorithmResult:
    """What a model has become, layer by layer; shows itself as its verdicts.

    Args:
        record: as an analysis of a run writes it to ``analysis/which_algorithm.json``.
    """

    record: dict[str, Any]

    @property
    def verdicts(self) -> list[dict[str, Any]]:
        """Return each layer's verdict: ``learner``, ``nearest``, ``distance`` with its 95 % interval, and the rest."""
        verdicts: list[dict[str, Any]] = self.record["seeds"][0]["verdicts"]
        return verdicts

    @property
    def learner(self) -> str:
        """Return what the whole model is: a learner's name, or ``"none is near"``."""
        learner: str = self.verdicts[-1]["learner"]
        return learner

    @property
    def distances(self) -> dict[str, float]:
        """Return the whole model's mean distance to every learner, between sensitivities, the nearest first."""
        last = self.verdicts[-1]["layer"]
        rows = [row for row in self.record["seeds"][0]["rows"] if row["layer"] == last]
        return {row["learner"]: row["sensitivity_l2"] for row in sorted(rows, key=lambda row: row["sensitivity_l2"])}

    def table(self) -> Table:
        """Return the verdicts as a table."""
        return algorithm_table(self.record)

    def figure(self) -> Figure | None:
        """Return the distances to the nearest learners as a figure, with 95 % intervals."""
        return draw(lambda results: algorithms(self.record, results), Results())

    def __repr__(self) -> str:
        """Return the verdicts in words."""
        return "\n".join(verdict_text(verdict) for verdict in self.verdicts)


def which_algorithm(
    model: Predictor,
    task: RegressionTask | FunctionTask | str,
    *,
    positions: Sequence[int] | None = None,
    depth: int | None = None,
    num_tasks: int = 10_000,
    num_resamples: int = 500,
    seed: int = 0,
    dtype: torch.dtype | None = None,
    candidates: Mapping[str, Candidate] | None = None,
) -> AlgorithmResult:
    """Name the textbook learner that a model has become, if it is near to one.

    Learners are compared by their sensitivities, the gradients of their predictions by the query; see
    :func:`iclgd.analysis.algorithms.nearest_algorithm`. Of a :class:`~iclgd.models.transformer.Transformer` every layer
    is compared, as a run's analysis does; of any other callable its one prediction. A module is compared as it is in
    evaluation mode, on its own device, and left as it was.

    Of a function class (:class:`~iclgd.data.functions.FunctionTask`) prompts ask at every position: the verdict is one
    over several of them. A model that answers there in one call (:meth:`EveryPositionLearner.at_every_position`, as the
    GPT-2 of ``experiment: functions``) is asked once.

    Args:
        model: any differentiable ``(x (B, N, D), y (B, N, O), query (B, D)) -> prediction (B, O)``.
        task: what it has learned: a task, a function class, or the name of a task with its defaults, such as
            ``"linear"``.
        positions: of a function class's prompts, from 1; eight that are spread evenly if not given.
        depth: up to how many steps the iterative learners have; a transformer's layers if not given, else 1.
        num_tasks: to fit the learners on, and as many to compare on.
        num_resamples: of the tasks, for the intervals.
        seed: of tasks and resamples.
        dtype: of the tasks; that of the model's parameters if not given, else single precision.
        candidates: more learners to compare with, by name.

    Returns:
        The verdicts, distances, a table and a figure.

    Raises:
        InputError: for an unknown task, numbers out of their range, or a model without such a call or whose prediction
            cannot be differentiated by the query.

    Example:
        >>> from iclgd.data import LinearRegressionTask
        >>> from iclgd.models import GradientDescent
        >>> from iclgd.models.learners import best_learning_rate
        >>> task = LinearRegressionTask(num_context=4, input_dim=2)
        >>> rate = best_learning_rate(*task.sample(2000, torch.Generator().manual_seed(1))).learning_rate
        >>> which_algorithm(GradientDescent(rate), task, num_tasks=500, num_resamples=50).learner
        'gd(1)'
    """
    task = _task(task)
    asked = _positions(task, positions)
    for name, value, least in (("num_tasks", num_tasks, 2), ("num_resamples", num_resamples, 1), ("depth", depth, 1)):
        if value is not None and value < least:
            raise InputError(f"{name} must be at least {least}, got {value}")
    if not callable(model):
        raise InputError(f"the model must be a callable (x, y, query) -> prediction, got {type(model).__name__}")
    parameter = next(model.parameters(), None) if isinstance(model, nn.Module) else None
    if dtype is None:
        dtype = parameter.dtype if parameter is not None else torch.float32
    device = parameter.device if parameter is not None else torch.device("cpu")
    with _evaluating(model):
        numbers: _Numbers = {"num_resamples": num_resamples, "dtype": dtype, "more": candidates}
        if isinstance(task, FunctionTask):
            probed = _on(device, model)
            _probe(probed, at_position(task, asked[-1]), dtype)
            # A learner at every position is moved to its device batch by batch.
            whole = model if isinstance(model, EveryPositionLearner) else probed
            found = compare_at_positions(whole, task, asked, seed, depth=depth or 1, num_prompts=num_tasks, **numbers)
        else:
            layers = [_on(device, layer) for layer in (layers_of(model) if isinstance(model, Transformer) else [model])]
            _probe(layers[-1], task, dtype)
            found = compare_layers(layers, task, depth or len(layers), seed, num_tasks=num_tasks, **numbers)
    return AlgorithmResult({"seeds": [{"seed": seed, **found}]})


class _Numbers(TypedDict):
    """What both comparisons are made with."""

    num_resamples: int
    dtype: torch.dtype
    more: Mapping[str, Candidate] | None


def _task(task: RegressionTask | FunctionTask | str) -> RegressionTask | FunctionTask:
    if isinstance(task, RegressionTask | FunctionTask):
        return task
    if task not in REGRESSION_TASKS:
        known = ", ".join(REGRESSION_TASKS)
        raise InputError(f"task must be a regression task, a function class or one of: {known}; got {task!r}")
    kind: Any = REGRESSION_TASKS[task]  # each has a name by default
    chosen: RegressionTask = kind()
    return chosen


def _positions(task: RegressionTask | FunctionTask, positions: Sequence[int] | None) -> list[int]:
    if not isinstance(task, FunctionTask):
        if positions is not None:
            raise InputError("positions are those of a function class; the task is none")
        return []
    if task.num_points < 2:
        raise InputError("task.num_points must be at least 2: nothing is learned from no example")
    chosen = spread_positions(task) if positions is None else list(positions)
    if not chosen or not all(1 <= position < task.num_points for position in chosen):
        raise InputError(f"positions must be from 1 to {task.num_points - 1} (task.num_points - 1), got {chosen}")
    return chosen


@contextmanager
def _evaluating(model: Predictor) -> Iterator[None]:
    """Put a module's parts into evaluation mode, and back into the mode that each had."""
    modes = [(part, part.training) for part in model.modules()] if isinstance(model, nn.Module) else []
    try:
        for part, _ in modes:
            part.training = False
        yield
    finally:
        for part, mode in modes:
            part.training = mode


def _on(device: torch.device, model: Predictor) -> Predictor:
    """Return a model that is asked on its own device, and answers on the CPU, where tasks are drawn."""
    if device.type == "cpu":
        return model
    return lambda x, y, query: model(x.to(device), y.to(device), query.to(device)).cpu()


def _probe(model: Predictor, task: RegressionTask, dtype: torch.dtype) -> None:
    """Refuse a model that has another call, or no gradient."""
    x, y, query, target = task.sample(NUM_PROBES, torch.Generator().manual_seed(0), dtype)
    with torch.no_grad():
        prediction = model(x, y, query)
    if not isinstance(prediction, Tensor) or prediction.shape != target.shape:
        got = tuple(prediction.shape) if isinstance(prediction, Tensor) else type(prediction).__name__
        raise InputError(f"the model must return a tensor of shape (B, O) = {tuple(target.shape)}, got {got}")
    advice = "it must be computed from the query by differentiable operations of PyTorch"
    try:
        with torch.enable_grad():
            query = query.requires_grad_()
            (gradient,) = torch.autograd.grad(model(x, y, query).sum(), query, allow_unused=True)
    except RuntimeError as error:
        raise InputError(
            f"the model's prediction has no gradient by the query ({first_line(error)}): {advice}"
        ) from error
    if gradient is None:
        raise InputError(f"the model's prediction has no gradient by the query: {advice}")
