"""Between which values a number of a summary can lie: no interval goes further."""

import math
import re

from iclgd.measures.controls import CONTROLS
from iclgd.measures.regression import ALIGNMENTS, COSINE, ERRORS
from iclgd.measures.text import SHARE, TEXT_METRICS

OF_A_DRAW = re.compile(r"draw_\d+")
ANYWHERE = (-math.inf, math.inf)
NOT_NEGATIVE = (0.0, math.inf)
COSINES = (-1.0, 1.0)


def range_of(name: str) -> tuple[float, float]:
    """Return the least and the largest value that a number can have.

    Args:
        name: of the summary, of a control too; of one that is not known here the range is unbounded.

    Example:
        >>> range_of("draw_00/untrained/rec2ftp"), range_of("alignment/sensitivity_cosine_gd_plus_plus")
        ((0.0, 100.0), (-1.0, 1.0))
        >>> range_of("loss/gd")
        (0.0, inf)
    """
    first, _, rest = name.partition("/")
    if first in CONTROLS or OF_A_DRAW.fullmatch(first):
        return range_of(rest)
    if (entry := TEXT_METRICS.get(name) or TEXT_METRICS.get(first)) is not None:
        return entry.within
    if first == "accuracy":
        return SHARE
    if first in ERRORS or first in ("val", "train", "selection_sensitivity"):
        return NOT_NEGATIVE
    if first == "alignment":
        for measure, alignment in ALIGNMENTS.items():
            if rest == measure or rest.startswith((f"{measure}_", f"{measure}/")):
                return COSINES if alignment.axis == COSINE else NOT_NEGATIVE
    return ANYWHERE
