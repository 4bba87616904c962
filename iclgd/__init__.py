"""iclgd: when a transformer learns in its context, is that gradient descent?"""

from typing import TYPE_CHECKING

from iclgd.lazy import lazy_names

if TYPE_CHECKING:
    from iclgd import analysis as analysis
    from iclgd import data as data
    from iclgd import metrics as metrics
    from iclgd import models as models
    from iclgd.comparing import ComparisonResult as ComparisonResult
    from iclgd.comparing import compare as compare
    from iclgd.identifying import which_algorithm as which_algorithm
    from iclgd.models.pretrained import load_language_model as load_language_model
    from iclgd.runs.run import load_run as load_run

__version__ = "0.1.0"
HOMES = {  # of what is imported when it is used: importing the package itself takes no time
    "ComparisonResult": "iclgd.comparing",
    "analysis": "iclgd.analysis",
    "compare": "iclgd.comparing",
    "data": "iclgd.data",
    "load_language_model": "iclgd.models.pretrained",
    "load_run": "iclgd.runs.run",
    "metrics": "iclgd.metrics",
    "models": "iclgd.models",
    "which_algorithm": "iclgd.identifying",
}
__all__ = list(HOMES)
__getattr__, __dir__ = lazy_names(__name__, HOMES)
