"""iclgd: when a transformer learns in its context, is that gradient descent?"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from iclgd.identifying import which_algorithm as which_algorithm
    from iclgd.runs.run import load_run as load_run

__version__ = "0.1.0"
HOMES = {  # of what is imported when it is used: importing the package itself takes no time
    "load_run": "iclgd.runs.run",
    "which_algorithm": "iclgd.identifying",
}


def __getattr__(name: str) -> Any:
    if name not in HOMES:
        raise AttributeError(f"module 'iclgd' has no attribute {name!r}")
    return getattr(importlib.import_module(HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *HOMES})
