"""The state shared by all metrics that are a mean over tasks."""

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric


class MeanMetric(Metric, ABC):
    """A mean kept as a sum and a count: independent of the batch size and of the number of devices.

    An empty set has no mean: ``compute`` then returns NaN (and torchmetrics warns).
    """

    full_state_update = False
    total: Tensor
    count: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("total", torch.tensor(0.0), dist_reduce_fx="sum")
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")

    @staticmethod
    @abstractmethod
    def summed(preds: Tensor, target: Tensor) -> tuple[Tensor, int]:
        """Return the sum of the terms of one batch and their number."""

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add a batch."""
        total, count = self.summed(preds, target)
        self.total = self.total + total
        self.count = self.count + count

    def compute(self) -> Tensor:
        """Return the mean over everything added so far."""
        return self.total / self.count
