"""Finished runs, opened again: :func:`iclgd.load_run`, their analyses and figures, lists and comparisons of them."""

from typing import TYPE_CHECKING

from iclgd.lazy import lazy_names

if TYPE_CHECKING:
    from iclgd.runs.comparison import compare_runs as compare_runs
    from iclgd.runs.records import find_records as find_records

HOMES = {"compare_runs": "iclgd.runs.comparison", "find_records": "iclgd.runs.records"}
__all__ = list(HOMES)
__getattr__, __dir__ = lazy_names(__name__, HOMES)
