"""What a trial's run has to say about the metric, read from its run directory."""

import difflib
import math
from pathlib import Path

from iclgd.sweeps.file.schema import Metric
from iclgd.tracking.run_directory import RunDirectory


class NoMetricError(Exception):
    """A complete run that lacks the sweep's metric."""


def final_value(run_directory: Path, metric: Metric) -> float:
    """Return the metric of a complete run: of its summary, or else what was logged last.

    Raises:
        NoMetricError: if there is none of that name; names close ones.
    """
    run = RunDirectory(run_directory)
    summary = run.read_summary() or {}
    if metric.name in summary:
        value = summary[metric.name]
        return math.nan if value is None else float(value)
    if logged := values_so_far(run_directory, metric):
        return logged[-1]
    close = difflib.get_close_matches(metric.name, summary, n=3) or sorted(summary)[:10]
    raise NoMetricError(f"its summary has no {metric.name!r}, which metric.name asks for; it has: {', '.join(close)}")


def values_so_far(run_directory: Path, metric: Metric) -> list[float]:
    """Return the values of the metric that a run has logged, in order."""
    records = RunDirectory(run_directory).read_metrics(tell=lambda _: None)  # this is asked again and again
    return [record[metric.name] for record in records if metric.name in record]
