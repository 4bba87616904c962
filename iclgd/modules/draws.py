"""One summary of several draws of demonstrations: means, with intervals for which draws and queries are random."""

from collections.abc import Sequence

import torch
from torch import Tensor

from iclgd.analysis.query_values import QueryValues
from iclgd.measures import range_of
from iclgd.metrics import WilsonInterval, crossed_mean_interval, crossed_share_interval
from iclgd.modules.similarities import Similarities


def of_draw(draw: int, prefix: str = "") -> str:
    """Return how the names of a draw's own numbers begin.

    Example:
        >>> of_draw(3, "untrained/")
        'draw_03/untrained/'
    """
    return f"draw_{draw:02d}/{prefix}"


def over_draws(
    similarities: Similarities, results: Sequence[dict[str, float]], values: Sequence[QueryValues]
) -> dict[str, float]:
    """Return the summary of K draws under the names of one.

    Everything is a mean over draws; shares of those queries that count (Rec2FTP) are over all draws' together.

    Args:
        similarities: of a draw.
        results: K, each draw's own numbers.
        values: K, what single queries add to each measure that is a mean; of the same queries.
    """
    numbers = {
        name: sum(of[name] for of in results) / len(results)
        for name in results[0]
        if not any(name == f"{mean}{end}" for mean in similarities.means for end in ("_low", "_high"))
    }
    terms, counts = (torch.stack([getattr(of, name) for of in values]) for name in ("terms", "counts"))  # (K, Q, M)
    for name, of_terms, of_counts in zip(similarities.means, terms.unbind(2), counts.unbind(2), strict=True):
        metric = similarities.metrics[name]
        if isinstance(metric, WilsonInterval):
            found = metric.metric.scale * crossed_share_interval(of_terms, of_counts)
        else:
            found = crossed_mean_interval(of_terms)
        numbers[name], *ends = _within(found, range_of(name)).tolist()
        if similarities.num_replicates:
            numbers[f"{name}_low"], numbers[f"{name}_high"] = ends
    return numbers


def _within(interval: Tensor, ends: tuple[float, float]) -> Tensor:
    """Cut an interval, not its mean, where the number ends: it loses no coverage."""
    return torch.cat([interval[:1], interval[1:].clamp(*ends)])
