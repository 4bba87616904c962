"""The charts of a review as plain data: the papers' figures, redrawn for groups of runs, and those of sweeps."""

from iclgd.review.charts.attentions import attention_charts
from iclgd.review.charts.runs import charts_of
from iclgd.review.charts.sweeps import sweep_charts

__all__ = ["attention_charts", "charts_of", "sweep_charts"]
