r"""GD++: gradient descent whose steps also transform the inputs; [vO] section 3 and appendix A.10.

A linear self-attention layer can update the inputs beside the targets. GD++ uses that to shrink each input along the
directions in which the context's inputs are large: the next step then meets a better conditioned problem.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from iclgd.models.learners import best_learning_rate
from iclgd.models.loss import half_mean_squared_error
from iclgd.models.minimization import minimize


@dataclass(frozen=True)
class GradientDescentPlusPlus:
    r"""Gradient steps on the targets, each beside a step on the inputs; [vO] section 3.

    One step changes all context tokens (x_j, y_j), and the query's with y = 0 at first, at once:

    .. math::
        y_j \leftarrow y_j - \eta \sum_i y_i (x_i \cdot x_j), \quad
        x_j \leftarrow x_j - \gamma \sum_i x_i (x_i \cdot x_j),

    where i runs over the context. The prediction is minus the query's y. With all :math:`\gamma = 0` this is
    :class:`~iclgd.models.GradientDescent`. In the published construction with ``lr``, eta is lr / N and gamma lr / N^2.

    Args:
        learning_rates: eta of each step, for the loss summed over the context points.
        gammas: gamma of each step.

    Raises:
        ValueError: if the two differ in length.

    Example:
        >>> learner = GradientDescentPlusPlus(learning_rates=(0.5, 0.5), gammas=(0.1, 0.1))
        >>> learner(torch.ones(1, 1, 2), torch.ones(1, 1, 1), torch.ones(1, 2))
        tensor([[1.]])
    """

    learning_rates: tuple[float, ...]
    gammas: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.learning_rates) != len(self.gammas):
            raise ValueError(
                f"GD++ needs one gamma for each of its {len(self.learning_rates)} learning rates, "
                f"got {len(self.gammas)}"
            )

    @property
    def num_steps(self) -> int:
        """Number of steps."""
        return len(self.learning_rates)

    def __call__(self, x: Tensor, y: Tensor, query: Tensor) -> Tensor:
        """Predict the query's target."""
        prediction = y.new_zeros(len(y), y.shape[-1])
        for learning_rate, gamma in zip(self.learning_rates, self.gammas, strict=True):
            scores, query_scores = x @ x.mT, torch.einsum("bnd,bd->bn", x, query)
            prediction = prediction + learning_rate * torch.einsum("bn,bno->bo", query_scores, y)
            query = query - gamma * torch.einsum("bn,bnd->bd", query_scores, x)
            x, y = x - gamma * scores @ x, y - learning_rate * scores @ y
        return prediction


def best_gd_plus_plus(
    x: Tensor, y: Tensor, query: Tensor, target: Tensor, num_steps: int, shared: bool
) -> GradientDescentPlusPlus:
    r"""Find the learning rates and gammas at which ``num_steps`` of GD++ have the smallest loss.

    The loss is 0.5 x the mean squared error on all given tasks, in double precision. One shared pair is looked for by
    L-BFGS from the lowest point of a coarse scan that gradient descent at its best rate is part of, so the result is
    never worse than that. Steps of their own start from the shared pair, and 60 iterations are taken: with four steps
    or more the loss goes on falling slowly, along a valley of ever larger rates that suit the given tasks ever better
    and rare new ones ever worse. The last step's gamma changes no prediction and stays as it started.
    The published code takes the best of 250 pairs ``(lr / N, lr / N^2)`` and trains them with Adam.

    Args:
        x: context inputs, (B, N, D).
        y: context targets, (B, N, O).
        query: query inputs, (B, D).
        target: the queries' targets, (B, O).
        num_steps: number of steps k.
        shared: whether all steps share one pair (eta, gamma), or each has its own.

    Returns:
        The learner.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> x, query = torch.randn(100, 8, 2, generator=generator), torch.randn(100, 2, generator=generator)
        >>> weight = torch.randn(100, 2, 1, generator=generator)
        >>> best_gd_plus_plus(x, x @ weight, query, (query[:, None] @ weight)[:, 0], 2, shared=True).num_steps
        2
    """
    problem = (x.double(), y.double(), query.double(), target.double())
    loss, mean_eigenvalue = _loss_of_steps(*problem)
    rate = best_learning_rate(*problem, num_steps).learning_rate
    # In these units the minimum lies at values around 1, however large the inputs are.
    unit = 1 / mean_eigenvalue

    def loss_of_pair(pair: Tensor) -> Tensor:
        return loss((unit * pair)[:, None].expand(2, num_steps))

    # The factors step where a coarse scan is lowest; gradient descent itself, (1, 0), is among its points.
    scan = [
        torch.tensor((factor * rate / unit, gamma), dtype=torch.float64, device=x.device)
        for factor in (1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
        for gamma in (0.0, 0.1, 0.15, 0.2)
    ]
    start = min(scan, key=lambda pair: loss_of_pair(pair).item())
    pairs = minimize(loss_of_pair, start)[:, None].expand(2, num_steps)
    if not shared:
        pairs = minimize(lambda pairs: loss(unit * pairs), pairs, max_iterations=60)
    learning_rates, gammas = (unit * pairs).tolist()
    return GradientDescentPlusPlus(tuple(learning_rates), tuple(gammas))


def _loss_of_steps(x: Tensor, y: Tensor, query: Tensor, target: Tensor) -> tuple[Callable[[Tensor], Tensor], float]:
    r"""Return the loss as a function of learning rates and gammas, (2, k), and the mean eigenvalue.

    Along the eigenvectors of a task's :math:`G = X^T X` the steps do not mix. With eigenvalue :math:`\lambda`,
    component b of :math:`X^T y` and s of the query, a step adds :math:`\eta b s` to the prediction; then

    .. math::
        b s \leftarrow (1 - \gamma \lambda)^2 (1 - \eta \lambda) \, b s, \quad
        \lambda \leftarrow (1 - \gamma \lambda)^2 \lambda.
    """
    eigenvalues, eigenvectors = torch.linalg.eigh(x.mT @ x)  # (B, D), (B, D, D)
    projected = torch.einsum("bno,bnd,bdj->boj", y, x, eigenvectors)
    terms = projected * torch.einsum("bd,bdj->bj", query, eigenvectors)[:, None]  # (B, O, D)

    def loss(pairs: Tensor) -> Tensor:
        current, power, growth = eigenvalues, torch.ones_like(eigenvalues), torch.zeros_like(eigenvalues)
        for learning_rate, gamma in pairs.T:
            growth = growth + learning_rate * power
            shrinkage = (1 - gamma * current).square()
            power = power * shrinkage * (1 - learning_rate * current)
            current = current * shrinkage
        prediction = (terms * growth[:, None]).sum(-1)
        return half_mean_squared_error(prediction, target)

    return loss, eigenvalues.mean().item()
