"""Student's t quantile, for intervals of means of few repetitions.

mpmath computes it, which torch brings along: where SciPy is installed, importing torchmetrics imports ``scipy.signal``,
0.7 s of every start.
"""

from functools import lru_cache
from statistics import NormalDist

import mpmath

MANY = 3000  # degrees of freedom: beyond them the expansion is exact to 12 digits


@lru_cache(maxsize=1024)
def t_quantile(degrees: float, probability: float = 0.975) -> float:
    """Return the t below which a variable lies with a probability.

    Args:
        degrees: of freedom, at least 1; whole or not.
        probability: from 0.6 to 0.995, for one side.

    Raises:
        ValueError: if either is out of its range.

    Example:
        >>> round(t_quantile(2), 6)
        4.302653
    """
    if not (degrees >= 1 and 0.6 <= probability <= 0.995):
        raise ValueError(f"degrees must be at least 1, probability from 0.6 to 0.995; got {degrees}, {probability}")

    normal = NormalDist().inv_cdf(probability)
    if degrees >= MANY:
        return normal + sum(_series(normal, degrees))

    def beyond(t: mpmath.mpf) -> mpmath.mpf:
        tail = mpmath.betainc(degrees / 2, 0.5, 0, degrees / (degrees + t * t), regularized=True) / 2
        return 1 - tail - probability

    start = normal + sum(_series(normal, degrees))
    return float(mpmath.findroot(beyond, (start, 1.01 * start), solver="secant", tol=1e-24, maxsteps=200))


def _series(z: float, degrees: float) -> tuple[float, float, float]:
    """Return the first terms of the quantile's expansion around the normal one, Abramowitz and Stegun 26.7.5."""
    return (
        (z**3 + z) / 4 / degrees,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96 / degrees**2,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384 / degrees**3,
    )
