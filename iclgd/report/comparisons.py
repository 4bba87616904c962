"""What the summary of a text run holds: in-context learning compared with finetuning, and controls of the same.

A control's numbers have the names of the comparison's, below the control's own: ``untrained/sim_aou``.
"""

import math
import re
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from iclgd.measures import CONTROLS, TEXT_METRICS, TextMetric
from iclgd.report.results import Array, drawable

SETTINGS = {
    "accuracy/zero_shot": "zero-shot",
    "accuracy/in_context": "in-context",
    "accuracy/finetuned": "finetuned",
}
REC2FTP = "rec2ftp"
REC2FTP_QUERIES = "rec2ftp_queries"  # how many it rests on
SMALLEST_WIDTH = 1e-6  # of an interval that is more than rounding errors


class Estimate(NamedTuple):
    """A mean over queries with its 95 % interval; NaN where there is none."""

    value: float
    low: float = math.nan
    high: float = math.nan

    def text(self, decimals: int = 2) -> str:
        """Write the value, and the interval's ends with enough decimals to tell them apart.

        Args:
            decimals: of the ends, at least; the value has one more.

        Example:
            >>> Estimate(0.1863, 0.1712, 0.2).text()
            '0.186 [0.17, 0.20]'
            >>> Estimate(0.00123, 0.0008, 0.0016).text()
            '0.00123 [0.0008, 0.0016]'
            >>> Estimate(85.62, 79.4, 91.1).text(decimals=0)
            '85.6 [79, 91]'
            >>> Estimate(-0.25).text()
            '-0.25'
        """
        width = self.high - self.low
        if not math.isfinite(width):
            return f"{self.value:.3g}"
        if width >= SMALLEST_WIDTH:
            decimals = max(decimals, math.ceil(-math.log10(width)))
        # z: what rounds to zero has no sign
        return f"{self.value:z.{decimals + 1}f} [{self.low:z.{decimals}f}, {self.high:z.{decimals}f}]"


def estimate(summary: dict[str, float], name: str) -> Estimate | None:
    """Return a quantity with its interval, if the summary has it.

    Example:
        >>> estimate({"sim_aou": 0.5, "sim_aou_low": 0.25, "sim_aou_high": 0.75}, "sim_aou")
        Estimate(value=0.5, low=0.25, high=0.75)
    """
    if name not in summary:
        return None
    low, high = (summary.get(f"{name}_{end}", math.nan) for end in ("low", "high"))
    return Estimate(summary[name], low, high)


def estimate_text(summary: dict[str, float], name: str) -> str:
    """Write a quantity of the comparison or a control; nothing if the summary lacks it.

    Example:
        >>> estimate_text({"untrained/rec2ftp": 50.0}, "untrained/rec2ftp")
        '50'
        >>> estimate_text({"rec2ftp_queries": 1234.0}, "rec2ftp_queries")
        '1234'
    """
    found, entry = estimate(summary, name), measure_of(name)
    if found is None:
        return ""
    if entry is None:
        return found.text()
    return f"{found.value:.0f}" if entry.decimals is None else found.text(entry.decimals)


def measure_of(name: str) -> TextMetric | None:
    """Return the measure of a summary name, which may be a control's; ``None`` for one that is not known here.

    Example:
        >>> measure_of("untrained/kendall") is measure_of("kendall") is TEXT_METRICS["kendall"]
        True
    """
    return TEXT_METRICS.get(name) or TEXT_METRICS.get(name.partition("/")[2])


def why_no_rec2ftp(summary: dict[str, float], prefixes: Iterable[str]) -> str | None:
    """Return why Rec2FTP is not defined, where it is not.

    Args:
        summary: of the run.
        prefixes: of the comparison and of controls, such as ``untrained/``.

    Example:
        >>> why_no_rec2ftp({"rec2ftp": math.nan, "rec2ftp_queries": 0.0}, [""])
        'finetuning put no query right'
    """
    missing = [prefix for prefix in prefixes if math.isnan(summary.get(f"{prefix}{REC2FTP}", 0.0))]
    if not missing:
        return None
    is_unknown = [math.isnan(summary.get(f"{prefix}put_right", 0.0)) for prefix in missing]
    reasons = ["finetuning put no query right"] * (not all(is_unknown)) + ["scores were not finite"] * any(is_unknown)
    return ", or ".join(reasons)


def by_layer(summary: dict[str, float], name: str) -> tuple[Array, Array] | None:
    """Return the layers that a quantity was measured in, (L,), and its values, (L,), with gaps for what diverged.

    Example:
        >>> by_layer({"kendall": 0.5, "kendall/layer_00": 0.25, "kendall/layer_01": 0.75}, "kendall")
        (array([0, 1]), array([0.25, 0.75]))
    """
    pattern = re.compile(rf"{re.escape(name)}/layer_(\d+)")
    found = sorted((int(match[1]), value) for key, value in summary.items() if (match := pattern.fullmatch(key)))
    if not found:
        return None
    layers, values = zip(*found, strict=True)
    return np.array(layers), drawable(np.array(values, float))


def controls_of(summary: dict[str, float]) -> list[str]:
    """Return the names of the controls that a run has.

    Example:
        >>> controls_of({"accuracy/zero_shot": 0.5, "sim_aou": 0.5, "untrained/sim_aou": 0.1})
        ['untrained']
    """
    return [name for name in CONTROLS if any(key.startswith(f"{name}/") for key in summary)]
