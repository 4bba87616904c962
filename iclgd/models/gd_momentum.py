r"""Gradient descent with momentum, the heavy ball; Polyak 1964, doi 10.1016/0041-5553(64)90137-5.

Each step goes on a little as the one before did, so that directions of small curvature are not left behind.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.functional import hessian, jacobian

from iclgd.models.learners import lowest_rate
from iclgd.models.minimization import minimize

SCAN = (-0.8, -0.6, -0.4, -0.2, 0.0, 0.2, 0.4, 0.6, 0.8)  # momenta; from 1 on, and up to -1, no rate converges
NEWTON_STEPS = 3  # each doubles the number of right digits
ROUNDING = 1e-13  # of a loss


@dataclass(frozen=True)
class GradientDescentMomentum:
    r"""Steps of gradient descent with momentum on half the summed squared error; Polyak 1964.

    .. math::
        M_{k+1} = \beta M_k - \eta \sum_i (W_k x_i - y_i) x_i^T, \quad W_{k+1} = W_k + M_{k+1}, \quad M_0 = 0

    With :math:`\beta = 0`, and with a single step, this is :class:`~iclgd.models.GradientDescent`.

    Args:
        learning_rate: eta, for the loss summed over the context points.
        momentum: beta; where :math:`|\beta| < 1` small learning rates converge.
        num_steps: number of steps.
        initial_weight: W0, (O, D); zero if ``None``.

    Example:
        >>> x, y = torch.tensor([[[1.0], [2.0]]]), torch.tensor([[[2.0], [4.0]]])  # one task, y = 2 x
        >>> learner = GradientDescentMomentum(learning_rate=0.1, momentum=0.5, num_steps=2)
        >>> learner(x, y, torch.tensor([[3.0]]))  # W = 1, then 1 + 0.5 + 0.5
        tensor([[6.]])
    """

    learning_rate: float
    momentum: float
    num_steps: int = 1
    initial_weight: Tensor | None = None

    def __call__(self, x: Tensor, y: Tensor, query: Tensor) -> Tensor:
        """Predict the query's target."""
        return torch.einsum("bod,bd->bo", self.weight(x, y), query)

    def weight(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the learned weights, (B, O, D)."""
        weight = velocity = x.new_zeros(len(x), y.shape[-1], x.shape[-1])
        if self.initial_weight is not None:
            weight = weight + self.initial_weight.to(x.device)
        for _ in range(self.num_steps):
            residual = torch.einsum("bod,bnd->bno", weight, x) - y
            gradient = torch.einsum("bno,bnd->bod", residual, x)
            velocity = self.momentum * velocity - self.learning_rate * gradient
            weight = weight + velocity
        return weight


class MomentumOptimum(NamedTuple):
    """The best that gradient descent with momentum can do on given tasks."""

    learning_rate: float
    momentum: float
    loss: float


def best_gd_momentum(x: Tensor, y: Tensor, query: Tensor, target: Tensor, num_steps: int) -> MomentumOptimum:
    r"""Find the learning rate and the momentum at which ``num_steps`` from zero have the smallest loss.

    The loss is 0.5 x the mean squared error on all given tasks, in double precision. For a given momentum the best rate
    is exact, a root of a polynomial as in :func:`~iclgd.models.best_learning_rate`; from the best pair over a scan of
    the momentum, which has gradient descent at its best rate in it, L-BFGS and then Newton's method go down to the
    minimum, to rounding.

    Args:
        x: context inputs, (B, N, D).
        y: context targets, (B, N, O).
        query: query inputs, (B, D).
        target: the queries' targets, (B, O).
        num_steps: number of steps k, at least 2: the first one has no momentum.

    Returns:
        The rate, the momentum, and the loss there: never above that of gradient descent at its best.

    Raises:
        ValueError: if ``num_steps`` is below 2.

    Example:
        >>> x, y = torch.eye(2)[None] * torch.tensor([1.0, 2.0]), torch.tensor([[[1.0], [2.0]]])  # curvatures 1 and 4
        >>> best = best_gd_momentum(x, y, torch.ones(1, 2), torch.tensor([[2.0]]), num_steps=2)
        >>> round(best.loss, 12)
        0.0
    """
    if num_steps < 2:
        raise ValueError(f"momentum needs at least 2 steps, got {num_steps}")
    loss, largest_eigenvalue = _loss_of_pair(x.double(), y.double(), query.double(), target.double(), num_steps)
    unit = x.new_tensor((1 / largest_eigenvalue, 1.0), dtype=torch.float64)  # in which both are around 1

    def in_units(pair: Tensor) -> Tensor:
        return loss(unit * pair)

    def best_pair(momentum: float) -> Tensor:
        def loss_of_rate(rate: float) -> float:
            return loss(unit.new_tensor((rate, momentum))).item()

        return unit.new_tensor((lowest_rate(loss_of_rate, largest_eigenvalue, 2 * num_steps), momentum))

    start = min((best_pair(momentum) for momentum in SCAN), key=lambda pair: loss(pair).item())
    best = unit * _bottom(in_units, minimize(in_units, start / unit))
    learning_rate, momentum = best.tolist()
    return MomentumOptimum(learning_rate, momentum, loss(best).item())


def _bottom(loss: Callable[[Tensor], Tensor], near: Tensor) -> Tensor:
    """Take Newton's steps to the bottom of a valley, along which a loss hardly says any more where that is."""
    pair = near
    for _ in range(NEWTON_STEPS):
        gradient, curvature = jacobian(loss, pair), hessian(loss, pair)  # type: ignore[no-untyped-call]
        factor, is_no_minimum = torch.linalg.cholesky_ex(curvature)
        if is_no_minimum:
            return near
        pair = pair - torch.cholesky_solve(gradient[:, None], factor)[:, 0]
    return pair if loss(pair) <= (1 + ROUNDING) * loss(near) else near


def _loss_of_pair(
    x: Tensor, y: Tensor, query: Tensor, target: Tensor, num_steps: int
) -> tuple[Callable[[Tensor], Tensor], float]:
    r"""Return the loss as a function of rate and momentum, (2,), and the largest curvature of any task.

    Along the eigenvectors of a task's :math:`G = \sum_i x_i x_i^T` the steps do not mix: component j of the weight is
    that of :math:`\sum_i y_i x_i^T` times :math:`g(\lambda_j)`, with a polynomial g of degree k - 1 that all tasks
    share. It is known from its values at k points, in which the prediction is linear; so the loss of all tasks is a
    quadratic form in these k values, and costs as little as they do.
    """
    eigenvalues, eigenvectors = torch.linalg.eigh(x.mT @ x)  # (B, D), (B, D, D)
    projected = torch.einsum("bno,bnd,bdj->boj", y, x, eigenvectors)
    terms = projected * torch.einsum("bd,bdj->bj", query, eigenvectors)[:, None]  # (B, O, D)
    largest = eigenvalues.max().item()
    angles = (torch.arange(num_steps, dtype=torch.float64, device=x.device) + 0.5) * (torch.pi / num_steps)
    points = largest * (angles.cos() + 1) / 2  # where Chebyshev's polynomials are orthogonal
    basis = torch.cos(angles[:, None] * torch.arange(num_steps, device=x.device))  # of degree m at each point, (k, k)
    features = torch.stack([(terms * each[:, None]).sum(-1) for each in _chebyshev(eigenvalues, largest, num_steps)])
    per_value = torch.linalg.solve(basis.T, features.flatten(1))  # (k, B O): how predictions depend on g's values
    orthogonal, triangle = torch.linalg.qr(per_value.T)
    fitted = orthogonal.T @ target.flatten()
    unfitted = (target.flatten() - orthogonal @ fitted).square().sum()

    def loss(pair: Tensor) -> Tensor:
        rate, momentum = pair
        growth = velocity = torch.zeros_like(points)
        for _ in range(num_steps):
            velocity = momentum * velocity + rate * (1 - points * growth)
            growth = growth + velocity
        squared: Tensor = (fitted - triangle @ growth).square().sum() + unfitted
        return 0.5 * squared / len(target)

    return loss, largest


def _chebyshev(values: Tensor, largest: float, number: int) -> Iterator[Tensor]:
    """Yield the first Chebyshev polynomials of values between 0 and ``largest``."""
    scaled = 2 * values / largest - 1
    current, following = torch.ones_like(values), scaled
    for _ in range(number):
        yield current
        current, following = following, 2 * scaled * following - current
