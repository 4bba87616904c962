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

Without torch: reports and comparisons of runs, which only read files, make such intervals too.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iclgd.student_t import t_quantile

Array = NDArray[Any]


def crossed_variance(values: Array) -> tuple[float, float]:
    r"""Return the variance of the mean over draws and queries and its degrees of freedom, see :mod:`.crossed_effects`.

    Args:
        values: of K draws and Q queries, (K, Q), K at least 2.

    Raises:
        ValueError: if there are not two draws and a query.

    Example:
        >>> "{:.4f} {:.4f}".format(*crossed_variance(np.array([[1.0, 2.0, 6.0], [2.0, 3.0, 7.0]])))
        '2.5833 2.3965'
    """
    if values.ndim != 2 or len(values) < 2 or not values.size:
        raise ValueError(f"values must have shape (K, Q), K at least 2, got {values.shape}")
    values = values.astype(np.float64)
    num_draws, num_queries = values.shape
    centred = values - values.mean()
    draws, queries = centred.mean(1), centred.mean(0)
    of_draws = num_queries * float((draws**2).sum()) / (num_draws - 1)
    of_queries = rest = 0.0
    if num_queries > 1:
        of_queries = num_draws * float((queries**2).sum()) / (num_queries - 1)
        rest = float(((centred - draws[:, None] - queries) ** 2).sum()) / ((num_draws - 1) * (num_queries - 1))
    beyond = max(of_queries - rest, 0.0)
    variance = of_draws + beyond
    if variance <= 0:  # all draws have the same mean: what is left is all that there is
        return rest / values.size, (num_draws - 1.0) * max(num_queries - 1, 1)
    freedom = variance**2 / (of_draws**2 / (num_draws - 1) + beyond**2 / max(num_queries - 1, 1))
    return variance / values.size, max(freedom, 1.0)


def mean_interval(values: Array) -> tuple[float, float, float]:
    r"""Return a mean over draws and queries with its 95% interval, by Student's t.

    .. math:: \bar v \pm t_{\nu} \sqrt{\hat V}

    Args:
        values: of K draws and Q queries, (K, Q), K at least 2.

    Returns:
        mean, low and high; NaN if a value is not finite.

    Raises:
        ValueError: if there are not two draws and a query.

    Example:
        >>> "{:.4f} [{:.4f}, {:.4f}]".format(*mean_interval(np.array([[0.5, 0.6, 0.7], [0.5, 0.7, 0.6]])))
        '0.6000 [0.4243, 0.7757]'
    """
    values = values.astype(np.float64)
    mean = float(values.mean())
    if not np.isfinite(values).all():
        return mean, math.nan, math.nan
    variance, freedom = crossed_variance(values)
    reach = t_quantile(freedom) * math.sqrt(variance)
    return mean, mean - reach, mean + reach
