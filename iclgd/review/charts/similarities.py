"""Charts of text runs: how alike in-context learning and finetuning are, beside baselines and controls."""

import math
from collections.abc import Callable, Sequence
from functools import partial

from iclgd.measures import CONTROLS, SIMILARITY, TEXT_METRICS, range_of
from iclgd.measures.ranges import NOT_NEGATIVE
from iclgd.report.comparisons import by_layer, controls_of, estimate
from iclgd.report.results import Curve, Results
from iclgd.report.similarity_figures import panels as measures_by_panel
from iclgd.review.charts.groups import Group, Notes, curve_of, said, together
from iclgd.review.charts.points import line, number, short, spread_on, told_panels
from iclgd.review.charts.titles import title
from iclgd.review.document import Axis, Chart, Live, Plot, Role, Series

PLAIN_LABELS = {
    "update_similarity": "update by demonstrations with update by finetuning"
}  # where figures have formulas
ONLY_QUERIES = "95 % intervals over queries"
OF_DRAWS = "95 % intervals over draws and queries"  # in one run


def measure_label(name: str) -> str:
    """Return how a measure is called in charts; a baseline as what it is the baseline of.

    Example:
        >>> measure_label("kendall"), measure_label("kendall_random")
        ('tokens', 'tokens, random baseline')
    """
    entry = TEXT_METRICS[name]
    if entry.baseline_of is not None:
        baseline = entry.panel.baseline if entry.panel is not None else "baseline"
        return f"{measure_label(entry.baseline_of)}, {baseline}"
    return PLAIN_LABELS.get(name) or entry.label or name


def shown_measures(names: Sequence[str], controls: Sequence[str]) -> list[tuple[str, str, Role]]:
    """Return a panel's measures, their baselines, and the controls of the first one: summary name, label and role."""
    found: list[tuple[str, str, Role]] = [(name, measure_label(name), "other") for name in names]
    found[0] = (names[0], measure_label(names[0]), "transformer")
    for name in names:
        baselines = (other for other, entry in TEXT_METRICS.items() if entry.baseline_of == name)
        found += [(baseline, measure_label(baseline), "chance") for baseline in baselines]
    return found + [(f"{name}/{names[0]}", CONTROLS[name].label, "control") for name in controls]


def similarity_by_layer(groups: Sequence[Group], notes: Notes) -> list[Chart]:
    """Return similarities over layers, a panel for each kind; [Dai] and [Deutch].

    Of several settings the first measure of each panel has a line for each of them.
    """
    plots, shown = layer_plots(SIMILARITY, groups, notes)
    if not plots:
        return []
    if len(groups) > 1:
        notes.add("similarity by layer of several settings: each panel's first measure; all others are among the means")
    what = title("similarity of in-context learning and finetuning by layer", shown)
    return [Chart("similarity", what, plots, told_panels(plots, most=4))]


def layer_plots(figure: str, groups: Sequence[Group], notes: Notes) -> tuple[list[Plot], list[Group]]:
    """Return a figure's panels over layers, and the groups that have any of their measures.

    Args:
        figure: its name.
        groups: of several, the first measure of each panel has a line for each of them.
        notes: get what is left out.
    """
    plots, shown = [], {}
    for panel, names in measures_by_panel(figure).items():
        lines = []
        for group in groups:
            chosen = shown_measures(names, group.names(lambda results: controls_of(results.summary)))
            for name, label, role in chosen if len(groups) == 1 else chosen[:1]:
                if curve := together(group, partial(_layers, name=name), said(group, name), notes):
                    text = label if len(groups) == 1 else group.label
                    its_role: Role = role if len(groups) == 1 else "other"
                    lines.append(line(text, *curve, role=its_role, within=range_of(name)))
                    shown[group.name] = group
        if lines:
            plots.append(Plot(panel.title, Axis("layer"), Axis(panel.axis), lines))
    return plots, [*shown.values()]


def _layers(results: Results, name: str) -> Curve | None:
    found = by_layer(results.summary, name)
    return None if found is None else Curve(found[0], found[1][None])


def similarity_means(groups: Sequence[Group], notes: Notes) -> list[Chart]:
    """Return the means over layers with intervals, bars for each setting, beside random baselines and controls."""
    if not any(measures_by_panel()):
        return []
    plots, metrics = [], []
    shown: dict[str, Group] = {}
    for panel, names in measures_by_panel().items():
        controls = list(
            dict.fromkeys(
                name for group in groups for name in group.names(lambda results: controls_of(results.summary))
            )
        )
        bars = []
        for name, label, role in shown_measures(names, controls):
            having = [group for group in groups if any(name in run.results.summary for run in group.runs)]
            if having:
                bars.append(bar_series(label, having, [name] * len(having), role, notes))
                metrics.append(name)
                shown |= {group.name: group for group in having}
        if bars:
            plots.append(Plot(panel.title, Axis("setting"), Axis(panel.axis), bars, bars=True))
    if not plots:
        return []
    listing = [group for group in groups if group.name in shown]
    what = title(f"similarity, means over layers, {whose(listing)}", listing)
    text = " ".join(f"{plot.title}: {levels(plot.series)}." for plot in plots)
    return [Chart("similarity_means", what, plots, text, Live("bars", metrics))]


def whose(groups: Sequence[Group]) -> str:
    """Say over what intervals are."""
    numbers = {len(group.runs) > 1 for group in groups}
    if numbers == {True}:
        return "95 % intervals over repetitions"
    if numbers == {False}:
        return OF_DRAWS if all(group.num_repetitions > 1 for group in groups) else ONLY_QUERIES
    return "95 % intervals over repetitions, of a single run over queries"


def bar_series(
    label: str,
    groups: Sequence[Group],
    names: Sequence[str],
    role: Role,
    notes: Notes,
    categories: Sequence[str] | None = None,
    why: Callable[[Group, str], str | None] = lambda group, name: f"{name}: not finite in {group.name}",
) -> Series:
    """Return bars of a number of the summary: of one run with its interval over queries, of several over these.

    Args:
        label: in the legend.
        groups: a bar for each.
        names: of the number in each group.
        role: of the bars.
        notes: get what is not finite.
        categories: on the x axis; the groups if not said.
        why: what to say of a number that is not finite; ``None`` for nothing.
    """
    means, low, high = [], [], []
    for group, name in zip(groups, names, strict=True):
        mean, its_low, its_high = over_runs(group, name)
        if math.isnan(mean) and (text := why(group, name)) is not None:
            notes.add(text)
        means.append(number(mean))
        low.append(number(its_low))
        high.append(number(its_high))
    return Series(label, categories or [group.name for group in groups], means, low, high, role, joined=False)


def over_runs(group: Group, name: str) -> tuple[float, float, float]:
    """Return a number of the summary with its interval; NaN where there is none, or it is not finite in any run."""
    found = [value for run in group.runs if (value := estimate(run.results.summary, name)) is not None]
    if not found:
        return math.nan, math.nan, math.nan
    if len(found) == 1:
        return found[0] if math.isfinite(found[0].value) else (math.nan, math.nan, math.nan)
    return spread_on([each.value for each in found], is_log=False, within=range_of(name))[:3]


def levels(series: Sequence[Series], most: int = 6) -> str:
    """Tell bars in words."""
    texts = []
    for each in series:
        for place, (x, y) in enumerate(zip(each.x, each.y, strict=True)):
            ends = (each.low[place], each.high[place]) if each.low else (None, None)
            interval = "" if ends[0] is None else f" [{short(ends[0])}, {short(ends[1])}]"
            texts.append(f"{each.label}{f' of {x}' if len(each.x) > 1 else ''} {short(y)}{interval}")
    return ", ".join([*texts[:most], *[f"and {len(texts) - most} more"] * (len(texts) > most)])


def finetuning(groups: Sequence[Group], notes: Notes) -> list[Chart]:
    """Return the loss of finetuning over its steps, one for each demonstration, beside that of controls."""
    plots, shown = [], []
    for group in groups:
        names = {"finetune/loss": "comparison"} | {f"{name}/finetune/loss": CONTROLS[name].label for name in CONTROLS}
        lines = []
        for name, label in names.items():
            if curve := curve_of(group, name, notes):
                its_role: Role = "transformer" if name == "finetune/loss" else "control"
                lines.append(line(label, *curve, role=its_role, within=NOT_NEGATIVE))
        if lines:
            shown.append(group)
            plots.append(Plot(group.label, Axis("step"), Axis("loss, nats a token"), lines))
    if not plots:
        return []
    text = told_panels(plots)
    live = Live("lines", ["finetune/loss"], "trainer/global_step")
    return [Chart("finetuning", title("loss of finetuning on the demonstrations", shown), plots, text, live)]
