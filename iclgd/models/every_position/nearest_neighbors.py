"""The mean of the nearest examples' targets."""

from dataclasses import dataclass

import torch
from torch import Tensor

from iclgd.models.every_position.learner import EveryPositionLearner, batches

BATCH = 128  # prompts
MOST_PASSES = 8  # for so many neighbours: one after the other takes less time than sorting all


@dataclass(frozen=True)
class NearestNeighbors(EveryPositionLearner):
    """The mean target of the k examples that are nearest to the query; of all if there are fewer.

    Args:
        num_neighbors: k, at least 1.
        inverse_distance: weigh each by one over its distance. Where examples equal the query only those count.

    Raises:
        ValueError: if num_neighbors is below 1.

    Example:
        >>> x, y = torch.tensor([[[0.0], [4.0], [1.0]]]), torch.tensor([[2.0, 6.0, 0.0]])
        >>> NearestNeighbors(2).at_every_position(x, y)
        tensor([[0., 2., 4.]])
        >>> NearestNeighbors(2, inverse_distance=True).at_every_position(x, y)
        tensor([[0., 2., 3.]])
    """

    num_neighbors: int = 3
    inverse_distance: bool = False

    def __post_init__(self) -> None:
        if self.num_neighbors < 1:
            raise ValueError(f"num_neighbors must be at least 1, got {self.num_neighbors}")

    def _predict(self, x: Tensor, y: Tensor, query: Tensor, positions: list[int]) -> Tensor:
        return torch.cat([self._batch(positions, *batch) for batch in batches(BATCH, x, y, query)])

    def _batch(self, positions: list[int], x: Tensor, y: Tensor, query: Tensor) -> Tensor:
        # Differences and not products: the distance of equal inputs has to be zero.
        distances = torch.cdist(query[:, positions], x, compute_mode="donot_use_mm_for_euclid_dist")  # (B, P, N)
        order = torch.arange(y.shape[1], device=x.device)
        is_later = order >= order[positions, None]
        distances = distances.masked_fill(is_later, torch.inf)
        near, index = self._nearest(distances)
        targets = y[:, None].expand_as(distances).gather(2, index)
        weights = near.isfinite().to(y)
        if self.inverse_distance:
            is_same = near == 0
            weights = torch.where(is_same.any(-1, keepdim=True), is_same.to(y), 1 / near)
        total = weights.sum(-1)
        return (weights * targets).sum(-1) / torch.where(total == 0, 1.0, total)  # position 0 has no neighbours

    def _nearest(self, distances: Tensor) -> tuple[Tensor, Tensor]:
        """Return the smallest distances and where they are, (B, P, k) each: of equal ones the first."""
        number = min(self.num_neighbors, distances.shape[-1])
        if number > MOST_PASSES:
            near, index = (found[..., :number] for found in distances.sort(stable=True))
            return near, index
        found = []
        for _ in range(number):
            found.append(distances.min(-1, keepdim=True))
            distances = distances.scatter(-1, found[-1].indices, torch.inf)
        near, index = (torch.cat(parts, -1) for parts in zip(*found, strict=True))
        return near, index
