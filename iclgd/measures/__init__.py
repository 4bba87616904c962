"""What is measured under which name: an entry builds a measure, and says how tables and figures show it.

A measure or a control is added by an entry, in a file of one's own too (``iclgd run CONFIG --import FILE.py``)::

    from iclgd.measures import TEXT_METRICS, TextMetric
    TEXT_METRICS["sim_queries"] = TextMetric(SimQueries, lambda seen: (seen.in_context.queries, seen.finetuned.queries))

Nothing here runs: those that build measures (:mod:`iclgd.modules`, :mod:`iclgd.experiments`) and those that show them
(:mod:`iclgd.report`) read the same entries.
"""

from iclgd.measures.controls import CONTROLS, Control
from iclgd.measures.ranges import range_of
from iclgd.measures.regression import ALIGNMENTS, ERRORS, AlignmentMetric, ErrorMetric, Learned
from iclgd.measures.text import TEXT_METRICS, TO_DEMONSTRATIONS
from iclgd.measures.text_entry import CALIBRATION, LABELS, ORDERS, SIMILARITY, TOKENS, Panel, TextMetric

__all__ = [
    "ALIGNMENTS",
    "CALIBRATION",
    "CONTROLS",
    "ERRORS",
    "LABELS",
    "ORDERS",
    "SIMILARITY",
    "TEXT_METRICS",
    "TOKENS",
    "TO_DEMONSTRATIONS",
    "AlignmentMetric",
    "Control",
    "ErrorMetric",
    "Learned",
    "Panel",
    "TextMetric",
    "range_of",
]
