"""Charts of attention with momentum beside plain: what each has, and the differences, paired over seeds."""

import re
from collections.abc import Sequence

import numpy as np

from iclgd.measures import range_of
from iclgd.measures.ranges import ANYWHERE
from iclgd.report.by_demonstrations import AFTER
from iclgd.report.language_figures import OF_LENGTH
from iclgd.review.attentions import Comparison, number_named
from iclgd.review.charts.language import ACCURACY, DEMONSTRATIONS, LENGTH, PERPLEXITY
from iclgd.review.charts.points import line, told_panels
from iclgd.review.document import Axis, Chart, Mark, Plot, Series
from iclgd.review.texts import counted


def attention_charts(comparison: Comparison) -> list[Chart]:
    """Return perplexity over length, and accuracy over demonstrations, of those that the runs have."""
    charts = []
    for name, pattern, what, over in (
        ("momentum_perplexity", OF_LENGTH, PERPLEXITY, LENGTH),
        ("momentum_accuracy", AFTER, ACCURACY, DEMONSTRATIONS),
    ):
        panels = _panels(comparison, pattern, what, over)
        if panels:
            seeds = counted(len(comparison.plain.setting.repetitions), "seed")
            title = f"{what[:1].upper()}{what[1:]} with momentum and with plain attention: {seeds}, 95 % intervals"
            title += f"; {comparison.label}" if comparison.label else ""
            charts.append(Chart(name, title, panels, told_panels(panels)))
    return charts


def _panels(comparison: Comparison, pattern: re.Pattern[str], what: str, over: str) -> list[Plot]:
    """Return what is named by a number, over that number: each attention, and each momentum less plain attention."""
    places = sorted((int(found[1]), name) for name in comparison.names if (found := pattern.match(name)))
    if not places:
        return []
    values = [
        _line(each.label, places, [each.setting.values(name) for _, name in places], range_of(places[0][1]))
        for each in comparison.attentions
    ]
    differences = [
        _line(each.label, places, [each.differences(comparison.plain, number_named(name)) for _, name in places])
        for each in comparison.momenta
    ]
    return [
        Plot("each attention", Axis(over), Axis(what), values),
        Plot("less plain attention's, paired by seed", Axis(over), Axis("difference"), differences, [Mark(0, "plain")]),
    ]


def _line(
    label: str,
    places: Sequence[tuple[int, str]],
    columns: Sequence[Sequence[float]],
    within: tuple[float, float] = ANYWHERE,
) -> Series:
    """Return a line over the places that all repetitions have.

    Args:
        label: in the legend.
        places: with the names at them.
        columns: the values of repetitions at each.
        within: where means can lie.
    """
    most = max(map(len, columns))
    kept = [(place, column) for (place, _), column in zip(places, columns, strict=True) if len(column) == most > 0]
    values = np.array([column for _, column in kept], float).T.reshape(most, len(kept))
    return line(label, [place for place, _ in kept], values, within=within)
