"""Losses on tasks that differ from those of training; [vO] section 3 and appendix A.2.

Learners that have become the same algorithm stay alike where neither was trained, and fail alike.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypedDict

import torch

from iclgd.analysis.subject import Subject
from iclgd.data import LinearRegressionTask
from iclgd.data.covariates import DISTRIBUTIONS
from iclgd.data.seeding import named_generator
from iclgd.metrics.functional import half_mean_squared_error
from iclgd.models import Predictor
from iclgd.models.constructions import interpolated
from iclgd.models.transformer import TransformerConfig

Value = float | str  # int too: every int is a float to the type checker


class ShiftLosses(TypedDict):
    """Losses under one shift."""

    values: list[Value]
    losses: dict[str, list[float]]  # for each predictor one loss per value


@dataclass(frozen=True)
class Shift:
    """A key of the task that takes several values, while all others stay as they are in training.

    Args:
        description: one line.
        key: which key of the task is varied.
        values: its values for a given task; none where the shift makes no sense.
        changes: other keys that differ from training, with their values.
    """

    description: str
    key: str
    values: Callable[[LinearRegressionTask], Sequence[Value]]
    changes: Mapping[str, Any] = field(default_factory=dict)

    def tasks(self, base: LinearRegressionTask) -> list[tuple[Value, LinearRegressionTask]]:
        """Return each value with the shifted task.

        Example:
            >>> shifted = SHIFTS["num_noise"].tasks(LinearRegressionTask(num_context=4))
            >>> [(value, task.num_noise) for value, task in shifted]
            [(0, 0), (2, 2)]
        """
        return [(value, replace(base, **{**self.changes, self.key: value})) for value in self.values(base)]


def _input_ranges(base: LinearRegressionTask) -> list[float]:
    return [step / 10 for step in range(5, 21)]


def _wide_scales(base: LinearRegressionTask) -> list[float]:
    return [step / 2 for step in range(1, 11)]


def _noise_counts(base: LinearRegressionTask) -> range:
    return range(0, base.num_context, 2)


def _context_sizes(base: LinearRegressionTask) -> list[int]:
    sizes = {max(2, round(factor * base.num_context)) for factor in (0.2, 0.5, 0.75, 1, 1.5, 2, 3, 4)}
    return sorted(size for size in sizes if size >= base.num_noise)


def _distributions(base: LinearRegressionTask) -> list[str]:
    return list(DISTRIBUTIONS)


def _condition_numbers(base: LinearRegressionTask) -> list[float]:
    return [1, 3, 10, 30, 100, 300, 1000] if base.input_dim > 1 else []


MIXTURE = {"distribution": "mixture", "normalize": True}

SHIFTS = {
    "input_range": Shift("wider or narrower inputs, over [vO]'s interval 0.5 to 2", "input_range", _input_ranges),
    "weight_scale": Shift("larger or smaller true weights, [vO]'s 0.5 to 5", "weight_scale", _wide_scales),
    "mixture_input_range": Shift("[vO]'s other distributions, norm 0.5 to 5", "input_range", _wide_scales, MIXTURE),
    "mixture_weight_scale": Shift("... their weights 0.5 to 5", "weight_scale", _wide_scales, MIXTURE),
    "num_noise": Shift("context targets replaced by noise", "num_noise", _noise_counts),
    "num_context": Shift("fewer or more context points", "num_context", _context_sizes),
    "distribution": Shift("each distribution of the covariates, of the same variance", "distribution", _distributions),
    "condition_number": Shift(
        "ever more uneven covariates, along rotated axes",
        "condition_number",
        _condition_numbers,
        {"covariance": "rotated"},
    ),
}


@torch.no_grad()
def losses_under_shifts(
    base: LinearRegressionTask,
    predictors: Mapping[str, Predictor],
    seed: int,
    num_tasks: int = 10_000,
    names: Iterable[str] = tuple(SHIFTS),
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> dict[str, ShiftLosses]:
    """Return 0.5 x the mean squared error of each predictor at every value of each shift.

    As in [vO]'s code every value sees the same random numbers (common random numbers), and every predictor the same
    tasks: differences along a curve and between curves are not those of the draw.

    Args:
        base: the tasks of training.
        predictors: name and call ``(x (B, N, D), y (B, N, O), query (B, D)) -> prediction (B, O)``.
        seed: of the tasks.
        num_tasks: B, for each value.
        names: which of ``SHIFTS``.
        device: where the tasks are drawn.
        dtype: of the tasks, which are the same in each.

    Returns:
        For each shift its values and losses, ready for JSON. A shift without values for this task is left out
        (``condition_number`` with one input).

    Raises:
        ValueError: for an unknown shift.

    Example:
        >>> zero = lambda x, y, query: torch.zeros(len(query), 1)
        >>> result = losses_under_shifts(LinearRegressionTask(), {"zero": zero}, 0, 2000, ["weight_scale"])
        >>> losses = result["weight_scale"]["losses"]["zero"]
        >>> result["weight_scale"]["values"][:3], [round(loss / losses[0], 3) for loss in losses[:3]]
        ([0.5, 1.0, 1.5], [1.0, 4.0, 9.0])
    """
    names = list(names)
    for name in names:
        if name not in SHIFTS:
            raise ValueError(f"shift must be one of: {', '.join(SHIFTS)}; got {name!r}")
    results: dict[str, ShiftLosses] = {}
    for name in names:
        shifted = SHIFTS[name].tasks(base)
        losses: dict[str, list[float]] = {predictor: [] for predictor in predictors}
        for _, task in shifted:
            batch = task.sample(num_tasks, named_generator(seed, "out_of_distribution", device), dtype)
            for predictor, predict in predictors.items():
                total, count = half_mean_squared_error(predict(batch.x, batch.y, batch.query), batch.target)
                losses[predictor].append(total.item() / count)
        if shifted:
            results[name] = {"values": [value for value, _ in shifted], "losses": losses}
    return results


def possible_shifts(names: Iterable[str], model: TransformerConfig) -> list[str]:
    """Return the shifts that a model can see; the places of separate tokens end with the context of training."""
    return [name for name in names if name != "num_context" or model.tokens == "joint"]


def shifts_with_values(names: Iterable[str], task: LinearRegressionTask, model: TransformerConfig) -> list[str]:
    """Return the shifts that have values for a task and a model."""
    return [name for name in possible_shifts(names, model) if SHIFTS[name].values(task)]


def predictors(subject: Subject) -> dict[str, Predictor]:
    """Return the transformer, its references, and where it is defined the mean of transformer and gradient descent."""
    named: dict[str, Predictor] = {"transformer": subject.transformer, **subject.references}
    if (mixture := interpolated(subject.transformer, subject.references)) is not None:
        named["interpolated"] = mixture
    return named


def out_of_distribution(subjects: Sequence[Subject], num_tasks: int, shifts: Sequence[str]) -> dict[str, Any]:
    """Compare every seed's predictors under shifts.

    Args:
        subjects: one for each seed, of linear tasks.
        num_tasks: for each value.
        shifts: which of ``SHIFTS``.

    Returns:
        For each shift ``values`` and every predictor's ``losses``, a list over seeds of lists over values.
    """
    record: dict[str, Any] = {}
    for subject in subjects:
        assert isinstance(subject.task, LinearRegressionTask)
        names = possible_shifts(shifts, subject.transformer.config)
        results = losses_under_shifts(
            subject.task, predictors(subject), subject.seed, num_tasks, names, dtype=subject.dtype
        )
        for name, result in results.items():
            entry = record.setdefault(name, {"values": result["values"], "losses": {}})
            for predictor, losses in result["losses"].items():
                entry["losses"].setdefault(predictor, []).append(losses)
    return record
