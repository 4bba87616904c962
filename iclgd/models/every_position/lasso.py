r"""Least squares with a penalty on the absolute weights, for all prompts and positions at once.

Sweeps of coordinate descent on the Gram matrices of all problems together, which find out what weights are not zero,
take turns with steps that solve for those exactly. What has a small enough duality gap is done.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from iclgd.models.every_position.learner import EveryPositionLearner

BATCH = 1024  # problems whose matrices fit into a core's cache
SWEEPS = 12  # of a round
MOST_ROUNDS = 1000
PROXIMITY = 1e-10


@dataclass(frozen=True)
class Lasso(EveryPositionLearner):
    r"""The minimiser of :math:`\frac{1}{2i} \sum_{j<i} (y_j - w x_j)^2 + \alpha |w|_1`; Garg et al. 2022, section 5.

    Args:
        alpha: positive.
        tolerance: of the duality gap, relative to the mean square of the targets; 1e-4 is what scikit-learn stops at,
            which for small alpha and few examples is far from the minimiser.

    Raises:
        ValueError: if a value is not positive.

    Example:
        >>> Lasso(alpha=0.5).at_every_position(torch.ones(1, 3, 1), torch.tensor([[2.0, 2.0, 2.0]]))
        tensor([[0.0000, 1.5000, 1.5000]])
    """

    alpha: float = 0.01
    tolerance: float = 1e-10

    def __post_init__(self) -> None:
        for name, value in (("alpha", self.alpha), ("tolerance", self.tolerance)):
            if not value > 0:
                raise ValueError(f"{name} must be positive, got {value}")

    def _predict(self, x: Tensor, y: Tensor, query: Tensor, positions: list[int]) -> Tensor:
        return (self._weights(x, y, positions) * query[:, positions]).sum(-1)

    def weights(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the weights that each position has learned from the examples before it, (B, N, D)."""
        return self._weights(x, y, list(range(y.shape[1]))).to(x.dtype)

    @torch.no_grad()
    def _weights(self, x: Tensor, y: Tensor, positions: list[int]) -> Tensor:
        problems = _problems(x.double(), y.double(), positions)
        solved = torch.zeros_like(problems.moment)
        pending = torch.arange(len(solved), device=x.device)
        for _ in range(MOST_ROUNDS):
            left = []
            for index in torch.split(pending, BATCH):
                some = problems.select(index)
                weight = _descend(some, solved[index], self.alpha)
                weight = solved[index] = _towards_stationary(some, weight, self.alpha)
                left.append(index[_duality_gap(some, weight, self.alpha) > self.tolerance * some.square])
            pending = torch.cat(left)
            if not len(pending):
                break
        return solved.view(len(y), len(positions), -1)


class _Problems(NamedTuple):
    """P least-squares problems, by the means over their examples."""

    gram: Tensor  # of x x^T, (P, D, D)
    moment: Tensor  # of y x, (P, D)
    square: Tensor  # of y^2, (P,)

    def select(self, index: Tensor) -> "_Problems":
        return _Problems(*(tensor[index] for tensor in self))


def _problems(x: Tensor, y: Tensor, positions: list[int]) -> _Problems:
    """Return the problems of all prompts and positions: means over the examples before each; zero at position 0."""

    def means(terms: Tensor) -> Tensor:  # (B, N, ...)
        sums = torch.cat([torch.zeros_like(terms[:, :1]), terms.cumsum(1)], 1)[:, positions]
        return (sums.flatten(2) / counts[:, None]).view_as(sums).flatten(0, 1)

    counts = torch.tensor(positions, dtype=x.dtype, device=x.device).clamp(min=1)
    gram = means(x[..., None] * x[:, :, None])
    return _Problems(gram, means(y[..., None] * x), means(y[..., None].square()).squeeze(-1))


def _descend(problems: _Problems, start: Tensor, alpha: float) -> Tensor:
    """Minimise along one coordinate after the other."""
    gram, moment = problems.gram.permute(1, 2, 0).contiguous(), problems.moment.T  # problems last: whole vectors
    weight = start.T.contiguous()
    gradient = moment - (gram * weight).sum(1)  # of minus the squared error, (D, P)
    curvature = gram.diagonal().T.clone()
    curvature[curvature == 0] = torch.inf  # an input that is always zero keeps its zero weight
    for _ in range(SWEEPS):
        for coordinate, (column, bend) in enumerate(zip(gram, curvature, strict=True)):
            old = weight[coordinate]
            new = torch.nn.functional.softshrink(torch.addcmul(gradient[coordinate], column[coordinate], old), alpha)
            new = new / bend
            gradient.addcmul_(column, old - new)
            weight[coordinate] = new
    return weight.T


def _towards_stationary(problems: _Problems, weight: Tensor, alpha: float) -> Tensor:
    """Go to the stationary weights with the same signs, but not beyond weights that become zero: from there, on anew.

    On the way the objective falls. With more weights than examples it is flat along some direction but for the penalty;
    with a little curvature there (PROXIMITY) that is the way, and it ends at a zero.
    """
    weight, crossing = weight.clone(), torch.arange(len(weight), device=weight.device)
    while len(crossing):
        some, start = problems.select(crossing), weight[crossing]
        signs = start.sign()
        is_used = signs != 0
        curvature = PROXIMITY * some.gram.diagonal(dim1=1, dim2=2).mean(1, keepdim=True)
        gram = torch.where(is_used[:, :, None] & is_used[:, None], some.gram, 0.0)
        gram.diagonal(dim1=1, dim2=2).add_(torch.where(is_used, curvature, 1.0))
        slope = some.moment - (some.gram @ start[..., None]).squeeze(-1) - alpha * signs
        factor = torch.linalg.cholesky_ex(gram).L
        change = torch.cholesky_solve(torch.where(is_used, slope, 0.0)[..., None], factor).squeeze(-1)
        to_zero = torch.where(is_used & ((start + change) * signs <= 0), -start / change, torch.inf)
        step, first = to_zero.min(1)
        crosses = step <= 1
        end = start + step.clamp(max=1)[:, None] * change
        end[crosses, first[crosses]] = 0
        weight[crossing] = end
        crossing = crossing[crosses]
    return weight


def _duality_gap(problems: _Problems, weight: Tensor, alpha: float) -> Tensor:
    """Return how far the objective is above the minimum at most, (P,)."""
    correlation = problems.moment - (problems.gram @ weight[..., None]).squeeze(-1)  # of the residuals with x
    fitted = (problems.moment * weight).sum(1)
    with_targets = problems.square - fitted
    residual = with_targets - (weight * correlation).sum(1)
    scale = (alpha / correlation.abs().amax(1)).clamp(max=1)  # makes the residuals feasible for the dual
    return 0.5 * residual * (1 + scale**2) + alpha * weight.abs().sum(1) - scale * with_targets
