"""Textbook learners beside a transformer over sequences, with what makes each as good as it can be."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from iclgd.data.sequences import NonlinearSystemTask, SequenceBatch, SequenceTask
from iclgd.data.sequences.nonlinear_system import features
from iclgd.models.sequences.linear_attention import linear_attention
from iclgd.models.sequences.solvers import least_squares, sequence_losses
from iclgd.models.sequences.tokens import lagged_tokens, shifted

REGULARIZATIONS = tuple(10 ** (power / 2) for power in range(-8, 7))
CONTROLS = {
    "least_squares": "ridge regression on all steps so far, with the best regularization",
    "delayed_least_squares": "the same without the newest step, as the published control",
    "gd": "one step of gradient descent from zero on all steps so far, with the best learning rate",
}


@dataclass(frozen=True)
class Controls:
    """Learners that predict the next observation at every position, from the last ones.

    Args:
        num_lags: how many of the last observations.
        features: of them; ``None`` for themselves. A nonlinear system's network is known to them.
        regularization: of least squares.
        learning_rate: of gradient descent.
    """

    num_lags: int
    features: Callable[[Tensor], Tensor] | None
    regularization: float = 1.0
    learning_rate: float = 1.0

    def inputs(self, observations: Tensor) -> Tensor:
        """Return from what the next observation is predicted, (B, T, N) -> (B, T, D)."""
        tokens = observations if self.features is None else self.features(observations)
        return lagged_tokens(tokens, self.num_lags)

    def predictions(self, observations: Tensor) -> dict[str, Tensor]:
        """Return what each of ``CONTROLS`` predicts, (B, T, N)."""
        inputs = self.inputs(observations)
        solve = partial(least_squares, shifted(inputs), observations, inputs, self.regularization)
        return {
            "least_squares": solve(),
            "delayed_least_squares": solve(with_newest=False),
            "gd": self.learning_rate * self._direction(observations),
        }

    def _direction(self, observations: Tensor) -> Tensor:
        inputs = self.inputs(observations)
        return linear_attention(inputs, shifted(inputs), observations)


def make_controls(task: SequenceTask, num_lags: int, tuning: SequenceBatch) -> Controls:
    """Return the learners with the regularization and the learning rate that are best on given sequences.

    The loss is a parabola of the learning rate; regularizations are tried, two for each power of ten.

    Args:
        task: what they learn.
        num_lags: of their inputs.
        tuning: sequences that nothing is measured on.
    """
    feature = None
    if isinstance(task, NonlinearSystemTask):
        network = task.network(dtype=torch.float64)
        feature = partial(_features, network)
    bare = Controls(num_lags, feature)
    observations, targets = tuning.inputs.double(), tuning.targets.double()
    direction = bare._direction(observations)
    rate = ((direction * targets).sum() / direction.square().sum()).item()
    inputs = bare.inputs(observations)
    losses = [
        sequence_losses(least_squares(shifted(inputs), observations, inputs, choice), targets).mean().item()
        for choice in REGULARIZATIONS
    ]
    return Controls(num_lags, feature, REGULARIZATIONS[losses.index(min(losses))], rate)


def _features(network: tuple[Tensor, Tensor], observations: Tensor) -> Tensor:
    first, second = (each.to(observations) for each in network)
    return features(observations, first, second)
