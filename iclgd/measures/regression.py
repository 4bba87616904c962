"""The measures of regression runs, by the name that their summary names are made of."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import iclgd

if TYPE_CHECKING:  # a report reads the entries, and has no seconds for torch
    from torch import Tensor
    from torchmetrics import Metric

COSINE = "mean cosine"  # the axis of what ends at 1; in the figure it is the right one


class Learned(NamedTuple):
    """What a learner has made of a batch of B tasks.

    Args:
        prediction: shape ``(B, O)``.
        sensitivity: of the prediction to the query, shape ``(B, O, D)``.
    """

    prediction: "Tensor"
    sensitivity: "Tensor"


@dataclass(frozen=True)
class ErrorMetric:
    """How far a prediction is from its target: ``NAME/LEARNER``, of every learner and after every layer of deep ones.

    Args:
        metric: makes it; ``update(prediction, target)``, each of shape ``(B, O)``.
        axis: label of its axis in the learning curve.
    """

    metric: "Callable[[], Metric]"
    axis: str


@dataclass(frozen=True)
class AlignmentMetric:
    """How alike the transformer and a reference are: ``alignment/NAME`` (the first one), ``alignment/NAME_REFERENCE``.

    Args:
        metric: makes it; ``update`` takes what ``of`` returns, of the transformer and of the reference.
        of: what is compared.
        axis: label of its axis in the figure over training.
        label: in the figure's legend.
        colour: of its line.
    """

    metric: "Callable[[], Metric]"
    of: "Callable[[Learned], Tensor]"
    axis: str
    label: str
    colour: str


ERRORS: dict[str, ErrorMetric] = {
    "loss": ErrorMetric(lambda: iclgd.metrics.HalfMeanSquaredError(), "loss (0.5 x mean squared error)"),
}
ALIGNMENTS: dict[str, AlignmentMetric] = {
    "prediction_l2": AlignmentMetric(
        lambda: iclgd.metrics.PredictionL2(),
        lambda learned: learned.prediction,
        "mean L2 distance",
        "predictions, L2",
        "#009E73",
    ),
    "sensitivity_l2": AlignmentMetric(
        lambda: iclgd.metrics.SensitivityL2(),
        lambda learned: learned.sensitivity,
        "mean L2 distance",
        "sensitivities, L2",
        "#E69F00",
    ),
    "sensitivity_cosine": AlignmentMetric(
        lambda: iclgd.metrics.SensitivityCosine(),
        lambda learned: learned.sensitivity,
        COSINE,
        "sensitivities, cosine",
        "#0072B2",
    ),
}
