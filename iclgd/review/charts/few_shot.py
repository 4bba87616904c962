"""Chart of the accuracy against the number of demonstrations in a context, a line for each task or model."""

from collections.abc import Sequence

from iclgd.report.by_demonstrations import accuracy_after, numbers_in
from iclgd.review.charts.groups import Group, Notes
from iclgd.review.charts.points import number, told
from iclgd.review.charts.similarities import over_runs
from iclgd.review.charts.titles import title
from iclgd.review.document import Axis, Chart, Live, Plot, Series


def accuracy_by_demonstrations(groups: Sequence[Group], notes: Notes) -> list[Chart]:
    """Return the accuracy after each number of demonstrations, with its interval, a line for each setting."""
    shown = [group for group in groups if all(run.run.experiment == "few_shot" for run in group.runs)]
    lines: list[Series] = []
    metrics: dict[str, None] = {}
    for group in shown:
        numbers = sorted({each for run in group.runs for each in numbers_in(run.results.summary)})
        names = [*map(accuracy_after, numbers)]
        ends = [[number(end) for end in over_runs(group, name)] for name in names]
        if ends:
            means, low, high = zip(*ends, strict=True)
            lines.append(Series(group.label or "accuracy", [str(each) for each in numbers], means, low, high))
            metrics |= dict.fromkeys(names)
    if not lines:
        return []
    plot = Plot("", Axis("demonstrations"), Axis("accuracy"), lines)
    what = title("accuracy against the number of demonstrations, 95 % intervals over draws and queries", shown)
    return [Chart("accuracy_by_demonstrations", what, [plot], told(lines), Live("bars", [*metrics]))]
