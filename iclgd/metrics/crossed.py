r"""95% intervals of means over draws and queries, both taken for drawn at random: two crossed random effects.

K draws of demonstrations are asked the same Q queries. A query may be easy after any demonstrations, demonstrations may
help with any query; so what is measured is taken as

.. math:: v_{kq} = \mu + d_k + q_q + e_{kq}

of independent parts (Searle, Casella & McCulloch 1992, chapter 4). The mean over all has the variance
:math:`\sigma_d^2 / K + \sigma_q^2 / Q + \sigma_e^2 / KQ`. With the mean squares :math:`D` of the draws, :math:`M` of
the queries and :math:`E` of what is left, it is estimated, and its degrees of freedom, as

.. math:: \hat V = \frac{D + \max(M - E, 0)}{K Q}, \quad
    \nu = \frac{(D + \max(M - E, 0))^2}{D^2 / (K - 1) + \max(M - E, 0)^2 / (Q - 1)},

the latter by Satterthwaite 1946. A bootstrap over five draws covers too little, and one of both (the pigeonhole
bootstrap of Owen 2007) counts :math:`\sigma_e^2` twice. docs/text.md has how often these intervals cover.
"""

import math

import torch
from torch import Tensor

from iclgd.metrics.accuracy import NORMAL_QUANTILE, wilson_interval
from iclgd.metrics.shapes import check_same_shape, check_shape
from iclgd.student_t import t_quantile


def crossed_variance(values: Tensor) -> tuple[float, float]:
    r"""Return the variance of the mean over draws and queries and its degrees of freedom, see :mod:`.crossed`.

    Args:
        values: of K draws and Q queries, (K, Q), K at least 2.

    Raises:
        ValueError: if there are not two draws and a query.

    Example:
        >>> crossed_variance(torch.tensor([[1.0, 2.0, 6.0], [2.0, 3.0, 7.0]]))
        (2.583333333333..., 2.396508...)
    """
    check_shape("values", values, "(K, Q), K at least 2", values.dim() == 2 and len(values) > 1 and values.numel() > 0)
    values = values.double()
    num_draws, num_queries = values.shape
    centred = values - values.mean()
    draws, queries = centred.mean(1), centred.mean(0)
    of_draws = num_queries * (draws**2).sum().item() / (num_draws - 1)
    of_queries = rest = 0.0
    if num_queries > 1:
        of_queries = num_draws * (queries**2).sum().item() / (num_queries - 1)
        rest = ((centred - draws[:, None] - queries) ** 2).sum().item() / ((num_draws - 1) * (num_queries - 1))
    beyond = max(of_queries - rest, 0.0)
    variance = of_draws + beyond
    if variance <= 0:  # all draws have the same mean: what is left is all that there is
        return rest / values.numel(), (num_draws - 1.0) * max(num_queries - 1, 1)
    freedom = variance**2 / (of_draws**2 / (num_draws - 1) + beyond**2 / max(num_queries - 1, 1))
    return variance / values.numel(), max(freedom, 1.0)


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
    values = values.double()
    mean = values.mean()
    if not values.isfinite().all():
        return torch.stack([mean, *torch.full((2,), math.nan, dtype=torch.float64)])
    variance, freedom = crossed_variance(values)
    reach = t_quantile(freedom) * math.sqrt(variance)
    return torch.stack([mean, mean - reach, mean + reach])


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
        variance, freedom = crossed_variance((terms - p * counts) / counts.mean())
        number, quantile = p * (1 - p) / variance, t_quantile(freedom)
    return torch.cat([share.view(1), wilson_interval(share, torch.tensor(number), quantile)])
