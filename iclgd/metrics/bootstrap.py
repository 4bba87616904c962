r"""Means over queries with a 95% interval by a Poisson bootstrap that needs no second pass.

An ordinary bootstrap draws B queries of B with replacement; each then occurs a number of times that is nearly Poisson
with mean 1. Drawn independently for every query (Hanley & MacGibbon 2006; Chamandy et al. 2012), these counts let every
replicate be a running weighted sum: independent of the batch size, and sums over processes add up.
"""

import math
from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from iclgd.metrics.random_baselines import query_generators
from iclgd.metrics.shapes import check_shape

PERCENTILES = (0.025, 0.975)


def bootstrap_weights(indices: Tensor, num_replicates: int, seed: int) -> Tensor:
    r"""Draw how often each query occurs in each bootstrap replicate.

    .. math:: w_{br} \sim \text{Poisson}(1)

    The counts of a query depend on the seed and the query's index alone. The interval therefore depends neither on the
    batch size nor on the number of processes, and all metrics (and models) resample the same queries: replicates of
    two metrics can be subtracted.

    Args:
        indices: the queries' places in the data set, integers, (B,).
        num_replicates: R, at least 0.
        seed: the run's seed.

    Returns:
        float64, (B, R), on the indices' device.

    Raises:
        ValueError: if num_replicates is negative or the indices are not a vector of integers.

    Example:
        >>> bootstrap_weights(torch.tensor([7, 8]), 5, seed=0)
        tensor([[1., 0., 0., 0., 1.],
                [0., 0., 1., 0., 1.]], dtype=torch.float64)
    """
    if num_replicates < 0:
        raise ValueError(f"num_replicates must not be negative, got {num_replicates}")
    uniform = torch.empty(indices.numel(), num_replicates, dtype=torch.float64)
    for row, generator in zip(uniform, query_generators(indices, seed, "bootstrap"), strict=True):
        torch.rand(num_replicates, generator=generator, out=row)
    # The distribution function at 0, 1, ...: how many of its values a uniform number reaches is Poisson-distributed.
    # From 18 on it is 1 in double precision.
    probabilities = torch.tensor([math.exp(-1) / math.factorial(k) for k in range(18)], dtype=torch.float64)
    return torch.bucketize(uniform, probabilities.cumsum(0), right=True).double().to(indices.device)


class BootstrapMean(Metric, ABC):
    r"""A mean over queries for each layer, with a 95% interval.

    .. math:: \bar v_l = \frac{1}{B} \sum_b v_{bl}, \quad
        \bar v_{rl} = \frac{\sum_b w_{br} v_{bl}}{\sum_b w_{br}}

    The interval lies between percentiles 2.5 and 97.5 of :math:`\bar v_{rl}` over replicates r; replicates
    without any query are left out.

    As output of ``compute``: shape ``(L + 1, 3)``, float64; the rows are the layers and, last, the mean over layers;
    the columns are the mean and the interval's low and high end. Without queries everything is NaN (and torchmetrics
    warns), and so is a layer's with a value that is NaN; without replicates the interval is NaN.

    Args:
        num_layers: L.
        num_replicates: R; 0 for no interval.
    """

    full_state_update = False
    total: Tensor
    count: Tensor
    replicate_totals: Tensor
    replicate_counts: Tensor

    def __init__(self, num_layers: int, num_replicates: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        zeros = torch.zeros(num_replicates, num_layers, dtype=torch.float64)
        self.add_state("total", zeros.new_zeros(num_layers), dist_reduce_fx="sum")
        self.add_state("count", zeros.new_zeros(()), dist_reduce_fx="sum")
        self.add_state("replicate_totals", zeros, dist_reduce_fx="sum")
        self.add_state("replicate_counts", zeros.new_zeros(num_replicates), dist_reduce_fx="sum")

    @abstractmethod
    def update(self, *args: Any) -> None:
        """Add a batch: compute values and hand them to :meth:`_accumulate`."""

    def compute(self) -> Tensor:
        """Return mean, low and high of every layer and of the mean over layers."""
        means = _with_mean_over_layers(self.total / self.count)
        if len(self.replicate_counts) == 0:
            low = high = torch.full_like(means, math.nan)
        else:
            replicates = _with_mean_over_layers(self.replicate_totals / self.replicate_counts[:, None])
            low, high = replicates.nanquantile(replicates.new_tensor(PERCENTILES), dim=0)
        return torch.stack([means, low, high], -1)

    def _accumulate(self, values: Tensor, weights: Tensor) -> None:
        """Add queries.

        Args:
            values: one per query and layer, (B, L).
            weights: how often each replicate has each query, (B, R), see :func:`bootstrap_weights`.

        Raises:
            ValueError: if shapes do not fit.
        """
        num_layers, num_replicates = len(self.total), len(self.replicate_counts)
        matches = values.dim() == 2 and values.shape[1] == num_layers
        check_shape("values", values, f"(B, L) = (B, {num_layers})", matches)
        expected = (len(values), num_replicates)
        check_shape("weights", weights, f"(B, R) = {expected}", weights.shape == expected)
        values, weights = values.detach().double(), weights.double()
        self.total = self.total + values.sum(0)
        self.count = self.count + len(values)
        self.replicate_totals = self.replicate_totals + weights.T @ values
        self.replicate_counts = self.replicate_counts + weights.sum(0)


def _with_mean_over_layers(values: Tensor) -> Tensor:
    """Append the mean over layers, (..., L) -> (..., L + 1)."""
    return torch.cat([values, values.mean(-1, keepdim=True)], -1)
