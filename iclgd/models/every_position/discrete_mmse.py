"""The Bayes-optimal predictor for tasks from a known pool."""

from dataclasses import dataclass

import torch
from torch import Tensor

from iclgd.models.every_position.learner import EveryPositionLearner, batches

MOST_NUMBERS = 2**17  # of a batch's (prompts, tasks): 512 KiB, of which a core's cache holds a few


@dataclass(frozen=True)
class DiscreteMMSE(EveryPositionLearner):
    r"""The posterior mean where the weight is one of a pool of M, all alike likely; Raventós et al. 2023, equation 2.

    .. math:: \hat w = \frac{\sum_m w_m e^{-\sum_j (y_j - w_m x_j)^2 / 2 \sigma^2}}
        {\sum_m e^{-\sum_j (y_j - w_m x_j)^2 / 2 \sigma^2}}

    Without examples that is the mean of the pool.

    Args:
        pool: the weights, (M, D).
        noise_std: sigma, positive.

    Raises:
        ValueError: if the pool is no matrix, or noise_std not positive.

    Example:
        >>> learner = DiscreteMMSE(torch.tensor([[1.0], [3.0]]), noise_std=0.1)
        >>> learner.at_every_position(torch.ones(1, 2, 1), torch.tensor([[3.0, 3.0]]))
        tensor([[2., 3.]])
    """

    pool: Tensor
    noise_std: float

    def __post_init__(self) -> None:
        if self.pool.ndim != 2 or not len(self.pool):
            raise ValueError(f"pool must have the shape (M, D) with M at least 1, got {tuple(self.pool.shape)}")
        if not self.noise_std > 0:
            raise ValueError(f"noise_std must be positive, got {self.noise_std}")

    def _predict(self, x: Tensor, y: Tensor, query: Tensor, positions: list[int]) -> Tensor:
        size = max(1, MOST_NUMBERS // len(self.pool))
        return torch.cat([self._batch(positions, *batch) for batch in batches(size, x, y, query)])

    def _batch(self, positions: list[int], x: Tensor, y: Tensor, query: Tensor) -> Tensor:
        return (self._weights(positions, x, y) * query[:, positions]).sum(-1)

    @torch.no_grad()
    def _weights(self, positions: list[int], x: Tensor, y: Tensor) -> Tensor:
        """Return the posterior means, (B, P, D); none depends on the query, so that its gradient is one of them."""
        pool, scale = self.pool.to(x), -0.5 / self.noise_std**2
        evidence = x.new_zeros(len(x), len(pool))  # up to a constant of each prompt
        weights: dict[int, Tensor] = {}
        for position in range(max(positions, default=-1) + 1):
            if position in positions:
                weights[position] = evidence.softmax(-1) @ pool
            errors = torch.addmm(y[:, position, None], x[:, position], pool.T, alpha=-1)
            evidence.addcmul_(errors, errors, value=scale)
            # What is likely stays near zero, where single precision is finest.
            evidence -= evidence.amax(-1, keepdim=True)
        return torch.stack([weights[position] for position in positions], 1)
