"""Intervals over draws and queries, both drawn at random (:mod:`iclgd.crossed_effects`), of tensors."""

import math

import torch
from torch import Tensor

from iclgd.crossed_effects import crossed_variance, mean_interval
from iclgd.metrics.accuracy import NORMAL_QUANTILE, wilson_interval
from iclgd.metrics.shapes import check_same_shape
from iclgd.student_t import t_quantile


def crossed_mean_interval(values: Tensor) -> Tensor:
    r"""Return a mean over draws and queries with its 95% interval, by Student's t.

    .. math:: \bar v \pm t_{\nu} \sqrt{\hat V}

    Args:
        values: of K draws and Q queries, (K, Q), K at least 2.

    Returns:
        mean, low and high, shape ``(3,)``, float64; NaN if a value is not finite.

    Raises:
        ValueError: if there are not two draws and a query.

    Example:
        >>> crossed_mean_interval(torch.tensor([[0.5, 0.6, 0.7], [0.5, 0.7, 0.6]]))
        tensor([0.6000, 0.4243, 0.7757], dtype=torch.float64)
    """
    return torch.tensor(mean_interval(values.numpy(force=True)), dtype=torch.float64, device=values.device)


def crossed_share_interval(terms: Tensor, counts: Tensor) -> Tensor:
    r"""Return a share of the queries that count, over draws, with its 95% interval.

    .. math:: p = \frac{\sum_{kq} a_{kq}}{\sum_{kq} n_{kq}}

    is a ratio of sums, whose variance is that of the mean of :math:`(a_{kq} - p\, n_{kq}) / \bar n` (delta method).
    The interval is Wilson's 1927 for as many queries as give a share that variance, with the quantile of Student's t:
    :math:`(p - p')^2 = t_\nu^2 \hat V p' (1 - p') / p (1 - p)` at its ends :math:`p'`; as Korn & Graubard 1998 and
    Dean & Pagano 2015 for shares from clusters. Where all are right, or none, it is Wilson's of the different queries.

    Args:
        terms: 1 where a query counts and has what is asked, else 0, (K, Q), K at least 2.
        counts: 1 where a query counts, else 0, (K, Q).

    Returns:
        share, low and high, shape ``(3,)``, float64; NaN if a term is not finite or nothing counts.

    Raises:
        ValueError: if shapes do not fit.

    Example:
        >>> right = torch.tensor([[1.0, 1.0, 1.0, 0.0], [1.0, 1.0, 0.0, 1.0]])
        >>> crossed_share_interval(right, torch.ones(2, 4))
        tensor([0.7500, 0.1772, 0.9766], dtype=torch.float64)
    """
    check_same_shape(terms=terms, counts=counts)
    terms, counts = terms.double(), counts.double()
    share = terms.sum() / counts.sum()
    if not share.isfinite():
        return torch.full((3,), math.nan, dtype=torch.float64)
    p, quantile = share.item(), NORMAL_QUANTILE
    number = counts.amax(0).sum().item()  # of different queries
    if 0 < p < 1:
        variance, freedom = crossed_variance(((terms - p * counts) / counts.mean()).numpy(force=True))
        number, quantile = p * (1 - p) / variance, t_quantile(freedom)
    return torch.cat([share.view(1), wilson_interval(share, torch.tensor(number), quantile)])
