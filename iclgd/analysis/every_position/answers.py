"""Predictions at many positions, and their gradients by each position's own query."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from iclgd.analysis.algorithms import Answers
from iclgd.analysis.sensitivity import predict_with_sensitivity
from iclgd.data.functions import FunctionBatch
from iclgd.models import Predictor
from iclgd.models.every_position import EveryPositionLearner

PROMPTS = 256  # at once: a transformer's hidden states of all of them are held for the gradient


def predictions(learner: EveryPositionLearner, batch: FunctionBatch) -> Tensor:
    """Return predictions at all positions, (B, N), in double precision."""
    is_standard, found = batch.query is batch.x, []
    with torch.no_grad():
        for x, y, query in _parts(learner, batch):
            found.append(learner.at_every_position(x, y, None if is_standard else query).double().cpu())
    return torch.cat(found)


def answer_at_positions(learner: Predictor, batch: FunctionBatch, positions: Sequence[int]) -> Answers:
    """Return predictions and sensitivities at positions, as if each was an output, in double precision.

    Args:
        learner: a learner at every position, which is asked once; any other predictor is asked position by position.
        batch: B prompts.
        positions: P positions, from 1 on.

    Returns:
        The predictions, (B, P), and each one's gradient by its own query while the examples stay, (B, P, D).

    Example:
        >>> from iclgd.data.functions import LinearFunctionTask
        >>> from iclgd.models.every_position import Averaging
        >>> batch = LinearFunctionTask(num_points=6, input_dim=3).sample(2, torch.Generator())
        >>> [tuple(tensor.shape) for tensor in answer_at_positions(Averaging(), batch, [1, 5])]
        [(2, 2), (2, 2, 3)]
    """
    if isinstance(learner, EveryPositionLearner):
        parts = [_asked_once(learner, x, y, query, list(positions)) for x, y, query in _parts(learner, batch)]
        return Answers(*(torch.cat(tensors).double() for tensors in zip(*parts, strict=True)))
    asked = [predict_with_sensitivity(learner, *batch.at(position)[:3]) for position in positions]
    return Answers(*(torch.cat(tensors, 1).double() for tensors in zip(*asked, strict=True)))


def _asked_once(
    learner: EveryPositionLearner, x: Tensor, y: Tensor, query: Tensor, positions: list[int]
) -> tuple[Tensor, Tensor]:
    with torch.enable_grad():
        query = query.detach().clone().requires_grad_()  # another tensor than x: the examples are no queries
        prediction = learner.at_every_position(x, y, query, positions)
        # No position sees another one's query: the gradient of the sum holds each position's own.
        (gradient,) = torch.autograd.grad(prediction.sum(), query)
    return prediction.detach().cpu(), gradient[:, positions].cpu()


def _parts(learner: EveryPositionLearner, batch: FunctionBatch) -> Iterator[tuple[Tensor, ...]]:
    """Yield examples and queries of some prompts, on the learner's device and in its precision."""
    parameter = next(learner.parameters(), None) if isinstance(learner, nn.Module) else None
    for part in zip(*(torch.split(tensor, PROMPTS) for tensor in (batch.x, batch.y, batch.query)), strict=True):
        yield part if parameter is None else tuple(tensor.to(parameter) for tensor in part)
