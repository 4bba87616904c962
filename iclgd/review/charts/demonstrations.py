"""The chart of attention to demonstrations: how much the query's last token pays to each, and to whose label is its."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from iclgd.measures import TO_DEMONSTRATIONS
from iclgd.measures.text import SHARE
from iclgd.report.attention_figures import DEMONSTRATION, ByDemonstration, by_demonstration
from iclgd.report.results import Curve, Results
from iclgd.report.similarity_figures import panels as measures_by_panel
from iclgd.review.charts.groups import Group, Notes, said, together
from iclgd.review.charts.points import line, number, numbers, short, told_panels
from iclgd.review.charts.similarities import layer_plots, measure_label, over_runs
from iclgd.review.charts.titles import title
from iclgd.review.document import Axis, Chart, HeatMap, Live, Plot, Role, Series

WHAT = "attention to the demonstrations"
MEANS = {  # summary names, in words
    "attention_demonstrations": "of the attention goes to the demonstrations",
    "attention_right_label": "of that to those with the query's label",
}
KINDS: list[tuple[str, str, Role]] = [
    ("attention", "attention", "transformer"),
    ("even", "even attention", "chance"),
]
MOST_CELLS = 3000  # of the coloured panel


def attention_to_demonstrations(groups: Sequence[Group], notes: Notes) -> list[Chart]:
    """Return shares of the last token's attention over layers and demonstration by demonstration, beside even ones."""
    plots, shown = layer_plots(TO_DEMONSTRATIONS, groups, notes)
    if len(groups) > 1:
        firsts = {panel.title: measure_label(names[0]) for panel, names in measures_by_panel(TO_DEMONSTRATIONS).items()}
        plots = [replace(plot, title=f"{plot.title}: {firsts[plot.title]}") for plot in plots]
    kinds = KINDS if len(groups) == 1 else KINDS[:1]
    lines: list[Series] = []
    for group in groups:
        for kind, label, role in kinds:
            what = said(group, f"{WHAT}, one by one")
            if curve := together(group, partial(_over_demonstrations, kind=kind), what, notes):
                its_role: Role = role if len(groups) == 1 else "other"
                text = label if len(groups) == 1 else group.label
                lines.append(line(text, *curve, role=its_role, within=SHARE))
    if lines:
        plots.append(Plot("Each demonstration, mean over layers", Axis(DEMONSTRATION), Axis("mean share"), lines))
    if not plots:
        _note_nothing(groups, notes)
        return []
    panels: list[Plot | HeatMap] = [*plots, *_heat_map(groups, notes)]
    text = " ".join([*(text for group in shown if (text := _means(group))), told_panels(plots, most=4)])
    live = Live("bars", [name for mean in MEANS for name in (mean, f"{mean}_even")])
    what = f"{WHAT} by the query's last token, share beside that of even attention to all tokens"
    return [Chart(TO_DEMONSTRATIONS, title(what, shown or groups), panels, text, live)]


def _over_demonstrations(results: Results, kind: str) -> Curve | None:
    """Return what each demonstration gets, a mean over layers; draws are repetitions."""
    found = _recorded(results)
    if found is None:
        return None
    shares = getattr(found, kind).mean(1)
    return Curve(1 + np.arange(shares.shape[1]), shares)


def _recorded(results: Results) -> ByDemonstration | None:
    return by_demonstration(results.analyses.get(TO_DEMONSTRATIONS, {}))


def _heat_map(groups: Sequence[Group], notes: Notes) -> list[HeatMap]:
    """Return the share of each demonstration in each layer: of the first setting's first run, a mean over its draws."""
    runs = [run for group in groups for run in group.runs]
    having = [(run, found) for run in runs if (found := _recorded(run.results)) is not None]
    if not having:
        return []
    run, found = having[0]
    shares = found.attention.mean(0)
    if shares.size > MOST_CELLS:
        notes.add(f"{WHAT} in each layer: {shares.shape[0]} layers x {shares.shape[1]} demonstrations are too many")
        return []
    if len(having) > 1:
        notes.add(f"{WHAT} in each layer: of {run.name}, the first of {len(having)} runs")
    rows = [f"layer {layer}" for layer in range(len(shares))][::-1]
    columns = [f"{place}" for place in range(1, shares.shape[1] + 1)]
    return [HeatMap("Each demonstration in each layer", rows, columns, [numbers(row) for row in shares[::-1]])]


def _means(group: Group) -> str:
    """Say in words what share demonstrations have, and those with the right label."""
    parts = []
    for name, words in MEANS.items():
        mean, low, high = map(number, over_runs(group, name))
        if mean is not None:
            interval = "" if low is None else f" [{short(low)}, {short(high)}]"
            even = short(number(over_runs(group, f"{name}_even")[0]))
            parts.append(f"{short(mean)}{interval} {words} (if it were even: {even})")
    return f"{group.label}: ".removeprefix(": ") + ", ".join(parts) + "." if parts else ""


def _note_nothing(groups: Sequence[Group], notes: Notes) -> None:
    """Say that nothing is recorded, where text runs have measures over layers: an earlier version made them."""
    measures = [name for names in measures_by_panel().values() for name in names]
    if any(name in run.results.summary for name in measures for group in groups for run in group.runs):
        notes.add(f"{WHAT}: runs of an earlier version kept none")
