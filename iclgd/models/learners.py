"""Textbook learners with the models' call: ``(x (B,N,D), y (B,N,O), query (B,D)) -> prediction (B,O)``."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class GradientDescent:
    r"""Steps of gradient descent on half the summed squared error; [vO] equation 4.

    The loss, :math:`\frac12 \sum_i |W x_i - y_i|^2`, is a sum over the context points: the learning rate is the one
    that [vO] quotes, its code's ``lr`` divided by N.

    Args:
        learning_rate: of each step.
        num_steps: number of steps.
        initial_weight: W0, (O, D); zero if ``None``.
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
            weight = weight + self.initial_weight
        for _ in range(self.num_steps):
            residual = torch.einsum("bod,bnd->bno", weight, x) - y
            weight = weight - self.learning_rate * torch.einsum("bno,bnd->bod", residual, x)
        return weight


@dataclass(frozen=True)
class Ridge:
    r"""Least squares with a penalty on the weight's norm.

    The minimiser of :math:`\frac12 \sum_i |W x_i - y_i|^2 + \frac{\lambda}{2} |W|^2`.

    Args:
        regularization: lambda, positive.
    """

    regularization: float

    def __call__(self, x: Tensor, y: Tensor, query: Tensor) -> Tensor:
        """Predict the query's target; solved in double precision."""
        inputs = x.double()
        gram = inputs.mT @ inputs + self.regularization * torch.eye(x.shape[-1], dtype=torch.float64, device=x.device)
        weight = torch.linalg.solve(gram, inputs.mT @ y.double())  # (B, D, O)
        return torch.einsum("bdo,bd->bo", weight, query.double()).to(x.dtype)


@dataclass(frozen=True)
class LeastSquares:
    """The weight of smallest norm among those that fit the context best."""

    def __call__(self, x: Tensor, y: Tensor, query: Tensor) -> Tensor:
        """Predict the query's target; solved in double precision."""
        weight = torch.linalg.pinv(x.double()) @ y.double()  # (B, D, O)
        return torch.einsum("bdo,bd->bo", weight, query.double()).to(x.dtype)


class Optimum(NamedTuple):
    """The best that gradient descent can do on given tasks."""

    learning_rate: float
    loss: float


def best_learning_rate(x: Tensor, y: Tensor, query: Tensor, target: Tensor, num_steps: int = 1) -> Optimum:
    r"""Find the learning rate at which ``num_steps`` of gradient descent from zero have the smallest loss.

    The prediction is a polynomial in the rate :math:`\eta`: with :math:`G = \sum_i x_i x_i^T` and
    :math:`b = \sum_i y_i x_i^T`,

    .. math:: W_k x = \sum_{m=1}^{k} \binom{k}{m} (-1)^{m-1} \eta^m \; b\, G^{m-1} x

    so the loss is one of degree 2k, whose minimum is found from the roots of its derivative: exactly, where the
    published code scans 250 values. For one step it is a parabola.

    Args:
        x: context inputs, (B, N, D).
        y: context targets, (B, N, O).
        query: query inputs, (B, D).
        target: the queries' targets, (B, O).
        num_steps: number of steps k.

    Returns:
        The learning rate, for the loss summed over the context points, and 0.5 x the mean squared error there.
    """
    x, y, query, target = (tensor.double() for tensor in (x, y, query, target))
    columns = []
    direction = query  # G^(m-1) x_query, (B, D)
    for step in range(1, num_steps + 1):
        scores = torch.einsum("bnd,bd->bn", x, direction)
        columns.append((-1) ** (step - 1) * math.comb(num_steps, step) * torch.einsum("bno,bn->bo", y, scores))
        direction = torch.einsum("bnd,bn->bd", x, scores)
    terms = torch.stack([target, *columns])  # coefficient of eta^m in row m; the error is row 0 minus the others
    terms[1:] *= -1
    products = torch.einsum("ibo,jbo->ij", terms, terms).cpu().numpy() / (2 * len(target))
    loss = np.polynomial.Polynomial(
        [np.trace(products[:, ::-1], offset=num_steps - power) for power in range(2 * num_steps + 1)]
    )
    roots = loss.deriv().roots()
    candidates = np.real(roots[np.abs(np.imag(roots)) < 1e-9 * np.maximum(1, np.abs(roots))])
    best = min(candidates, key=lambda rate: float(loss(rate)))
    return Optimum(float(best), float(loss(best)))
