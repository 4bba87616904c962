"""Has a model learned the weights? The gradient of its predictions by the query beside them; Garg et al., figure 3b."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from iclgd.analysis.every_position.answers import answer_at_positions
from iclgd.analysis.every_position.subject import MODEL, FunctionSubject
from iclgd.analysis.resampling import mean_intervals, resample
from iclgd.data.functions import LinearFunctions
from iclgd.data.seeding import named_generator
from iclgd.models import Predictor
from iclgd.models.every_position.least_squares import minimum_norm_weights
from iclgd.models.learners import LeastSquares


def projected_weights(x: Tensor, weight: Tensor) -> Tensor:
    """Return the part of weights that the examples before each position can tell: its projection on their span.

    Args:
        x: inputs, (B, N, D).
        weight: (B, D).

    Returns:
        (B, N, D) in double precision; zero at position 0, all of them from where the examples span everything.

    Example:
        >>> projected_weights(torch.tensor([[[2.0, 0.0], [1.0, 1.0]]]), torch.tensor([[3.0, 4.0]]))
        tensor([[[0., 0.],
                 [3., 0.]]], dtype=torch.float64)
    """
    # The smallest weight that fits all values without noise has no part orthogonal to the inputs.
    return minimum_norm_weights(x, LinearFunctions(weight.to(x))(x))


def gradient_by_query(subject: FunctionSubject, num_prompts: int, num_resamples: int) -> dict[str, Any]:
    """Compare the gradients of a model, and of least squares, with the true weights at every position.

    Args:
        subject: of linear functions.
        num_prompts: prompts to look at.
        num_resamples: of them, for the intervals.

    Returns:
        ``positions``, and for each learner of ``cosines`` the mean cosine with ``weight`` and with
        ``projected_weight``, each a ``mean``, ``low`` and ``high`` for every position.
    """
    task = subject.task
    batch = task.sample(num_prompts, named_generator(subject.seed, "gradient_by_query"))
    assert isinstance(batch.functions, LinearFunctions)
    positions = list(range(1, task.num_points))
    weight, projected = batch.functions.weight, projected_weights(batch.x, batch.functions.weight)[:, positions]
    truths = {"weight": weight.double()[:, None].expand_as(projected), "projected_weight": projected}
    shares = resample(num_prompts, num_resamples, named_generator(subject.seed, "resamples"))
    learners: dict[str, Predictor] = {MODEL: subject.model, "least_squares": LeastSquares()}
    cosines = {}
    for name, learner in learners.items():
        gradient = answer_at_positions(learner, batch, positions).sensitivity
        cosines[name] = {key: mean_intervals(_cosine(gradient, truth), shares) for key, truth in truths.items()}
    return {"positions": positions, "cosines": cosines}


def _cosine(first: Tensor, second: Tensor) -> Tensor:
    """Return cosines along the last axis; NaN where a vector has no direction."""
    norms = torch.linalg.vector_norm(first, dim=-1) * torch.linalg.vector_norm(second, dim=-1)
    return torch.where(norms > 0, F.cosine_similarity(first, second, dim=-1, eps=0.0), torch.nan)
