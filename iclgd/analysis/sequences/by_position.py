"""The loss at every position of a sequence, beside the learners'."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from iclgd.analysis.sequences.controls import Controls
from iclgd.data.sequences import SequenceBatch
from iclgd.models.sequences.solvers import sequence_losses
from iclgd.student_t import t_quantile

BATCH = 256


@torch.no_grad()
def by_position(model: nn.Module, controls: Controls, batch: SequenceBatch) -> dict[str, Any]:
    """Return mean losses over sequences at each position, with 95 % intervals, of a model and of the learners.

    Args:
        model: predicts the next observation, (B, T, N) -> (B, T, N).
        controls: the learners.
        batch: at least two sequences.
    """
    losses: dict[str, list[Tensor]] = {}
    for part in batch.split(BATCH):
        predicted = {"transformer": model(part.inputs), **controls.predictions(part.inputs)}
        for name, each in predicted.items():
            losses.setdefault(name, []).append(sequence_losses(each, part.targets).double())
    return {
        "num_sequences": len(batch.inputs),
        "regularization": controls.regularization,
        "learning_rate": controls.learning_rate,
        "learners": {name: mean_with_interval(torch.cat(each)) for name, each in losses.items()},
    }


def mean_with_interval(values: Tensor) -> dict[str, list[float]]:
    """Return means of values (B, ...) over B with their 95 % intervals by Student's t; NaN stays NaN.

    Example:
        >>> found = mean_with_interval(torch.tensor([[1.0], [3.0]]))
        >>> {name: round(value[0], 3) for name, value in found.items()}
        {'mean': 2.0, 'low': -10.706, 'high': 14.706}
    """
    mean = values.mean(0)
    half = t_quantile(len(values) - 1) * values.std(0) / math.sqrt(len(values))
    return {"mean": mean.tolist(), "low": (mean - half).tolist(), "high": (mean + half).tolist()}
