r"""95% intervals of means over queries, by a Poisson bootstrap that needs no second pass.

An ordinary bootstrap draws B queries of B with replacement; each then occurs a number of times that is nearly Poisson
with mean 1. Drawn independently for every query (Hanley & MacGibbon 2006; Chamandy et al. 2012), these counts let every
replicate be a running weighted sum: independent of the batch size, and sums over processes add up.

torchmetrics' ``BootStrapper`` keeps a copy of the metric for each replicate and updates every copy with a resampled
batch: a thousand evaluations of the same function, resampled anew in every batch by the global generator, so that
neither a batch size nor a second process leaves the interval as it was. Here the function is evaluated once, and one
product of matrices adds its values to all replicates.
"""

import math
from typing import Any

import torch
from torch import Tensor

from iclgd.metrics.mean import Interval, QueryMean
from iclgd.metrics.random_baselines import query_generators

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


class Resampling:
    r"""The resampling that several metrics share: the same queries in each replicate, drawn once for all of them.

    .. math:: w_{br} \sim \text{Poisson}(1)

    Args:
        num_replicates: R; 0 for no interval.
        seed: the run's seed.

    Raises:
        ValueError: if num_replicates is negative.

    Example:
        >>> resampling = Resampling(num_replicates=5, seed=0)
        >>> indices = torch.tensor([7, 8])
        >>> torch.equal(resampling.weights(indices), bootstrap_weights(indices, 5, seed=0))
        True
    """

    def __init__(self, num_replicates: int = 1000, seed: int = 0) -> None:
        if num_replicates < 0:
            raise ValueError(f"num_replicates must not be negative, got {num_replicates}")
        self.num_replicates, self.seed = num_replicates, seed
        self._last: tuple[Tensor, Tensor] | None = None

    def weights(self, indices: Tensor) -> Tensor:
        """Return :func:`bootstrap_weights`; for the tensor that it was called with last, what it returned then.

        Args:
            indices: the queries' places in the data set, integers, (B,).

        Raises:
            ValueError: if the indices are not a vector of integers.
        """
        # The tensor and not its numbers: to compare those a GPU would have to be waited for.
        if self._last is None or self._last[0] is not indices:
            self._last = indices, bootstrap_weights(indices, self.num_replicates, self.seed)
        return self._last[1]


class Bootstrap(Interval):
    r"""Wraps a metric that is a mean over queries, and adds the mean over layers and 95% intervals.

    .. math:: \bar v_l = \frac{1}{B} \sum_b v_{bl}, \quad
        \bar v_{rl} = \frac{\sum_b w_{br} v_{bl}}{\sum_b w_{br}}

    The interval lies between percentiles 2.5 and 97.5 of :math:`\bar v_{rl}` over replicates r; replicates
    without any query are left out.

    ``update`` takes what the metric's takes, and by keyword

    - ``indices`` (:class:`~torch.Tensor`): the queries' places in the data set, integers, shape ``(B,)``; by default in
      the order in which they come. Where they are divided among processes, or come in another order, the interval is
      the same only with them.

    As output of ``compute``: shape ``(L + 1, 3)``, float64; the rows are the layers and, last, the mean over layers;
    the columns are the mean and the interval's low and high end. Without queries everything is NaN (and torchmetrics
    warns), and so is a layer's with a value that is NaN; without replicates the interval is NaN.

    Args:
        metric: what to wrap; its own state is not used.
        resampling: shared by all metrics whose replicates are to be compared; 1000 replicates of its own by default.

    Raises:
        ValueError: if the metric is no mean over queries and layers (:class:`QueryMean`); and what the metric's raises.

    Example:
        >>> from iclgd.metrics import SimAOU
        >>> metric = Bootstrap(SimAOU(num_layers=1), Resampling(num_replicates=200))
        >>> generator = torch.Generator().manual_seed(0)
        >>> metric.update(*torch.randn(3, 50, 1, 8, generator=generator))
        >>> metric.compute()
        tensor([[0.4339, 0.3598, 0.5017],
                [0.4339, 0.3598, 0.5017]], dtype=torch.float64)
    """

    replicate_totals: Tensor
    replicate_counts: Tensor

    def __init__(self, metric: QueryMean, resampling: Resampling | None = None, **kwargs: Any) -> None:
        if not isinstance(metric, QueryMean):
            raise ValueError(f"metric must be a QueryMean, got {type(metric).__name__}")
        zeros = torch.zeros(metric.num_layers, dtype=torch.float64)
        super().__init__(zeros, f"_{metric.measure}", **kwargs)
        self.metric, self.resampling = metric, resampling or Resampling()
        self._num_before = 0  # queries that the state does not know of
        replicates = zeros.new_zeros(self.resampling.num_replicates, metric.num_layers)
        self.add_state("replicate_totals", replicates, dist_reduce_fx="sum")
        self.add_state("replicate_counts", replicates.new_zeros(len(replicates)), dist_reduce_fx="sum")

    def update(self, *args: Any, indices: Tensor | None = None, **kwargs: Any) -> None:
        """Add a batch."""
        values = self.metric.checked_values(*args, **kwargs)
        if indices is None:
            indices = self._next_indices(len(values))
        elif indices.shape != values.shape[:1]:
            raise ValueError(f"indices must have shape (B,) = ({len(values)},), got {tuple(indices.shape)}")
        weights = self.resampling.weights(indices)
        self._add(values.sum(0), len(values))
        self.replicate_totals = self.replicate_totals + weights.T @ values
        self.replicate_counts = self.replicate_counts + weights.sum(0)
        self.terms, self.counts = values.mean(1), torch.ones_like(values[:, 0])

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """Add a batch, and return what it alone would give."""
        self._num_before = int(self.count)  # the state is emptied before the batch is added, and put back then
        try:
            value: Tensor = super().forward(*args, **kwargs)
        finally:
            self._num_before = 0
        return value

    def compute(self) -> Tensor:
        """Return mean, low and high of every layer and of the mean over layers."""
        means = _with_mean_over_layers(self.total / self.count)
        if len(self.replicate_counts) == 0:
            low = high = torch.full_like(means, math.nan)
        else:
            replicates = _with_mean_over_layers(self.replicate_totals / self.replicate_counts[:, None])
            low, high = replicates.nanquantile(replicates.new_tensor(PERCENTILES), dim=0)
        return torch.stack([means, low, high], -1)

    def _next_indices(self, num_queries: int) -> Tensor:
        is_distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
        if is_distributed and torch.distributed.get_world_size() > 1:
            raise ValueError("indices must be given where queries are divided among processes")
        start = self._num_before + int(self.count)
        return torch.arange(start, start + num_queries, device=self.count.device)


def _with_mean_over_layers(values: Tensor) -> Tensor:
    """Append the mean over layers, (..., L) -> (..., L + 1)."""
    return torch.cat([values, values.mean(-1, keepdim=True)], -1)
