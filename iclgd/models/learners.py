"""Textbook learners with the models' call: ``(x (B,N,D), y (B,N,O), query (B,D)) -> prediction (B,O)``."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.polynomial import Chebyshev
from torch import Tensor

from iclgd.models.every_position.learner import EveryPositionLearner
from iclgd.models.every_position.least_squares import minimum_norm_weights, ridge_weights
from iclgd.models.loss import half_mean_squared_error


@dataclass(frozen=True)
class GradientDescent:
    r"""Steps of gradient descent on half the summed squared error; [vO] equation 4.

    The loss, :math:`\frac12 \sum_i |W x_i - y_i|^2`, is a sum over the context points: the learning rate is the one
    that [vO] quotes, its code's ``lr`` divided by N.

    Args:
        learning_rate: of each step.
        num_steps: number of steps.
        initial_weight: W0, (O, D); zero if ``None``.

    Example:
        >>> x, y = torch.tensor([[[1.0], [2.0]]]), torch.tensor([[[2.0], [4.0]]])  # one task, y = 2 x
        >>> GradientDescent(learning_rate=0.1)(x, y, torch.tensor([[3.0]]))
        tensor([[3.]])
    """

    learning_rate: float
    num_steps: int = 1
    initial_weight: Tensor | None = None

    def __call__(self, x: Tensor, y: Tensor, query: Tensor) -> Tensor:
        """Predict the query's target."""
        return torch.einsum("bod,bd->bo", self.weight(x, y), query)

    def weight(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the learned weights, (B, O, D)."""
        weight = x.new_zeros(len(x), y.shape[-1], x.shape[-1])
        if self.initial_weight is not None:
            weight = weight + self.initial_weight.to(x.device)
        for _ in range(self.num_steps):
            residual = torch.einsum("bod,bnd->bno", weight, x) - y
            weight = weight - self.learning_rate * torch.einsum("bno,bnd->bod", residual, x)
        return weight


@dataclass(frozen=True)
class Ridge(EveryPositionLearner):
    r"""Least squares with a penalty on the weight's norm.

    The minimiser of :math:`\frac12 \sum_i |W x_i - y_i|^2 + \frac{\lambda}{2} |W|^2`.

    Args:
        regularization: lambda, positive.

    Example:
        >>> x, y = torch.tensor([[[1.0], [2.0]]]), torch.tensor([[[2.0], [4.0]]])
        >>> Ridge(regularization=5.0)(x, y, torch.tensor([[3.0]]))
        tensor([[3.]])
    """

    regularization: float

    def __call__(self, x: Tensor, y: Tensor, query: Tensor) -> Tensor:
        """Predict the query's target; solved in double precision."""
        inputs = x.double()
        gram = inputs.mT @ inputs + self.regularization * torch.eye(x.shape[-1], dtype=torch.float64, device=x.device)
        # A matrix that is singular up to rounding makes its own task not a number, and no exception of the whole batch.
        weight = torch.linalg.solve_ex(gram, inputs.mT @ y.double()).result  # (B, D, O)
        return torch.einsum("bdo,bd->bo", weight, query.double()).to(x.dtype)

    def _predict(self, x: Tensor, y: Tensor, query: Tensor, positions: list[int]) -> Tensor:
        return (ridge_weights(x, y, self.regularization) * query).sum(-1)[:, positions]


@dataclass(frozen=True)
class LeastSquares(EveryPositionLearner):
    """The weight of smallest norm among those that fit the context best.

    Example:
        >>> x, y = torch.tensor([[[1.0], [2.0]]]), torch.tensor([[[2.0], [4.0]]])
        >>> LeastSquares()(x, y, torch.tensor([[3.0]])).round(decimals=4)
        tensor([[6.]])
    """

    def __call__(self, x: Tensor, y: Tensor, query: Tensor) -> Tensor:
        """Predict the query's target; solved in double precision."""
        # Directions in which x has but the rounding errors of its own precision are none.
        rounding = torch.finfo(x.dtype).eps * max(x.shape[1:])
        weight = torch.linalg.pinv(x.double(), rtol=rounding) @ y.double()  # (B, D, O)
        return torch.einsum("bdo,bd->bo", weight, query.double()).to(x.dtype)

    def _predict(self, x: Tensor, y: Tensor, query: Tensor, positions: list[int]) -> Tensor:
        return (minimum_norm_weights(x, y) * query).sum(-1)[:, positions]


class Optimum(NamedTuple):
    """The best that gradient descent can do on given tasks."""

    learning_rate: float
    loss: float


def best_learning_rate(x: Tensor, y: Tensor, query: Tensor, target: Tensor, num_steps: int = 1) -> Optimum:
    r"""Find the learning rate at which ``num_steps`` of gradient descent from zero have the smallest loss.

    The loss is a polynomial of degree 2k in the rate (for one step a parabola): it is interpolated, and its minimum
    taken from the roots of its derivative. That is exact up to rounding; the published code scans 250 values.

    Args:
        x: context inputs, (B, N, D).
        y: context targets, (B, N, O).
        query: query inputs, (B, D).
        target: the queries' targets, (B, O).
        num_steps: number of steps k.

    Returns:
        The learning rate, for the loss summed over the context points, and 0.5 x the mean squared error there.

    Example:
        >>> x, y = torch.tensor([[[1.0], [2.0]]]), torch.tensor([[[2.0], [4.0]]])
        >>> round(best_learning_rate(x, y, torch.tensor([[3.0]]), torch.tensor([[6.0]])).learning_rate, 6)
        0.2
    """
    loss, largest_eigenvalue = _loss_of_rate(x.double(), y.double(), query.double(), target.double(), num_steps)
    best = lowest_rate(loss, largest_eigenvalue, 2 * num_steps)
    return Optimum(best, loss(best))


def lowest_rate(loss: Callable[[float], float], largest_eigenvalue: float, degree: int) -> float:
    """Return the learning rate at which a loss is smallest that is a polynomial of the rate, exact up to rounding.

    Args:
        loss: of a learning rate; defined from 0 on.
        largest_eigenvalue: the largest curvature of any task: below its inverse learning does no harm.
        degree: of the polynomial.
    """
    # Beyond the rate at which learning doubles the loss there is no minimum, and for many steps soon no precision left.
    low, high, ceiling = 0.0, 1 / largest_eigenvalue, 2 * loss(0.0)
    while loss(high) < ceiling:
        low, high = high, 1.25 * high
    for _ in range(20):
        middle = (low + high) / 2
        low, high = (middle, high) if loss(middle) < ceiling else (low, middle)
    polynomial = Chebyshev.interpolate(np.vectorize(loss), degree, domain=[0.0, high])
    roots = polynomial.deriv().roots()
    candidates = [0.0, *np.real(roots[np.abs(np.imag(roots)) < 1e-9 * high])]
    return min((float(rate) for rate in candidates if 0 <= rate <= high), key=loss)


def _loss_of_rate(
    x: Tensor, y: Tensor, query: Tensor, target: Tensor, num_steps: int
) -> tuple[Callable[[float], float], float]:
    r"""Return the loss as a function of the learning rate, and the largest curvature of any task.

    Along the eigenvectors of a task's :math:`G = \sum_i x_i x_i^T` the steps do not mix: component j of the weight has
    grown to :math:`\eta \sum_{m<k} (1 - \eta \lambda_j)^m` times that of :math:`\sum_i y_i x_i^T`.
    """
    eigenvalues, eigenvectors = torch.linalg.eigh(x.mT @ x)  # (B, D), (B, D, D)
    projected = torch.einsum("bno,bnd,bdj->boj", y, x, eigenvectors)
    terms = projected * torch.einsum("bd,bdj->bj", query, eigenvectors)[:, None]  # (B, O, D)

    def loss(rate: float) -> float:
        power = growth = torch.full_like(eigenvalues, rate)
        for _ in range(num_steps - 1):
            power = power * (1 - rate * eigenvalues)
            growth = growth + power
        prediction = (terms * growth[:, None]).sum(-1)
        return half_mean_squared_error(prediction, target).item()

    return loss, eigenvalues.max().item()
