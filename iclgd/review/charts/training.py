"""Charts of numbers over training, and of the loss after each layer."""

from collections.abc import Mapping, Sequence
from operator import methodcaller

from iclgd.measures import ALIGNMENTS, ERRORS
from iclgd.report.results import MIXTURE, TRANSFORMER, Curve, Results, drawable
from iclgd.report.style import LOSS
from iclgd.report.training_figures import TOKENS
from iclgd.review.charts.groups import Group, Notes, curve_of, said, together
from iclgd.review.charts.losses import axis_label, losses_plot
from iclgd.review.charts.points import line, points_each, told_panels
from iclgd.review.charts.titles import learner, title
from iclgd.review.document import Axis, Chart, Live, Plot, Series

STEP, LOGGED_STEP = "training step", "trainer/global_step"


def learning_curves(groups: Sequence[Group], notes: Notes) -> list[Chart]:
    """Return a chart for each error: the transformer's over training beside the learners it may become; [vO] 2 and 3.

    Of several settings the first panel has the transformer of each, and each has a panel of its own. As in the figures
    the mean of both weights is shown where it is not above all others: before training has found the construction it
    may be any function.
    """
    charts = []
    for error, entry in ERRORS.items():
        found = [
            (group, curves)
            for group in groups
            if TRANSFORMER in (curves := _of_learners(group, notes, f"{error}/{{}}", "curve", (MIXTURE,)))
        ]
        if not found:
            continue
        number = sum(len(curves) for _, curves in found) + len(found)
        panels = []
        if len(found) > 1:
            transformers = {group.label: curves[TRANSFORMER] for group, curves in found}
            panels.append(losses_plot(learner(TRANSFORMER), transformers, STEP, entry.axis, number))
        panels += [
            losses_plot(group.label, curves, STEP, entry.axis, number, is_of_learners=True, notes=notes)
            for group, curves in found
        ]
        names = list(dict.fromkeys(name for _, curves in found for name in curves))
        charts.append(
            Chart(
                "learning_curve" if error == "loss" else f"learning_curve_{error}",
                title(f"{error} over training", [group for group, _ in found]),
                panels,
                told_panels(panels[-len(found) :]),
                Live("lines", [f"{error}/{name}" for name in names], LOGGED_STEP),
            )
        )
    return charts


def _of_learners(group: Group, notes: Notes, pattern: str, method: str, more: Sequence[str] = ()) -> dict[str, Curve]:
    """Return a quantity of the transformer, of its references, and of more learners, where runs have it."""
    names = [TRANSFORMER, *group.names(Results.references), *more]
    found = {}
    for name in names:
        what = pattern.format(name)
        if curve := together(group, methodcaller(method, what), said(group, what), notes):
            found[name] = curve
    return found


def alignments(groups: Sequence[Group], notes: Notes) -> list[Chart]:
    """Return how alike transformer and each reference are over training, a chart for each; [vO] figures 2 and 3.

    Distances and cosines have a panel each; of several settings each measure has one, with a line for each of them.
    """
    charts = []
    for name in dict.fromkeys(name for group in groups for name in group.names(Results.references)):
        curves: dict[str, dict[str, Curve]] = {}  # by measure and setting
        for group in groups:
            suffix = _suffix(group, name)
            for measure in ALIGNMENTS:
                what = f"alignment/{measure}{suffix}"
                if suffix is not None and (curve := curve_of(group, what, notes)):
                    curves.setdefault(measure, {})[group.label] = curve
        if not curves:
            continue
        shown = [group for group in groups if any(group.label in found for found in curves.values())]
        panels = _by_axis(curves) if len(shown) == 1 else _by_measure(curves)
        suffixes = dict.fromkeys(_suffix(group, name) for group in shown)
        metrics = [f"alignment/{measure}{suffix}" for measure in curves for suffix in suffixes]
        charts.append(
            Chart(
                f"alignment_{name}",
                title(f"trained transformer and {learner(name)} over training", shown),
                panels,
                told_panels(panels),
                Live("lines", metrics, LOGGED_STEP),
            )
        )
    return charts


def _suffix(group: Group, reference: str) -> str | None:
    """Return what the names of a reference's alignment end in; nothing of the first one, ``None`` if it is none."""
    references = group.names(Results.references)
    if reference not in references:
        return None
    return "" if reference == references[0] else f"_{reference}"


def _by_axis(curves: Mapping[str, Mapping[str, Curve]]) -> list[Plot]:
    panels = []
    for axis in dict.fromkeys(ALIGNMENTS[measure].axis for measure in curves):
        found = {measure: each for measure, each in curves.items() if ALIGNMENTS[measure].axis == axis}
        lines = [
            line(ALIGNMENTS[measure].label, *curve, most=points_each(len(curves)))
            for measure, each in found.items()
            for curve in each.values()
        ]
        panels.append(Plot(axis, Axis(STEP), Axis(axis), lines))
    return panels


def _by_measure(curves: Mapping[str, Mapping[str, Curve]]) -> list[Plot]:
    number = sum(len(each) for each in curves.values())
    return [
        Plot(
            ALIGNMENTS[measure].label,
            Axis(STEP),
            Axis(ALIGNMENTS[measure].axis),
            [line(label, *curve, most=points_each(number)) for label, curve in each.items()],
        )
        for measure, each in curves.items()
    ]


def after_layers(groups: Sequence[Group], notes: Notes) -> list[Chart]:
    """Return the loss after each layer beside as many steps of gradient descent and GD++, a panel for each setting."""
    panels, shown = [], []
    for group in groups:
        curves = _of_learners(group, notes, "{}", "layers")
        if TRANSFORMER in curves:
            shown.append(group)
            panels.append((group.label, curves))
    if not panels:
        return []
    number = sum(len(curves) for _, curves in panels)
    plots = [
        losses_plot(name, curves, "after layer, or step", LOSS, number, is_of_learners=True) for name, curves in panels
    ]
    text = told_panels(plots)
    return [Chart("layers", title("loss after each layer", shown), plots, text)]


def copying(groups: Sequence[Group], notes: Notes) -> list[Chart]:
    """Return how strongly a token of the first layer depends on which input tokens, and the loss; [vO] figure 6."""
    panels: list[Plot] = []
    shown, names = [], []
    for group in groups:
        curves = {name: curve for name in TOKENS if (curve := curve_of(group, f"copying/{name}", notes))}
        loss = curve_of(group, f"loss/{TRANSFORMER}", notes)
        if not curves or loss is None:
            continue
        shown.append(group)
        names += [f"copying/{name}" for name in curves]
        is_log = any((drawable(curve.values) > 0).any() for curve in curves.values())
        lines: list[Series] = [
            line(TOKENS[name][0].removeprefix("... "), *curve, is_log=is_log, most=points_each(12))
            for name, curve in curves.items()
        ]
        above = f"{group.label}: " if group.label else ""
        norm = axis_label("dependence of a token on ... (gradient norm)", is_log, curves.values())
        panels.append(Plot(f"{above}what a token depends on", Axis(STEP), Axis(norm, is_log), lines))
        panels.append(losses_plot(f"{above}loss", {TRANSFORMER: loss}, STEP, LOSS, 4, True))
    if not panels:
        return []
    text = told_panels(panels)
    live = Live("lines", [*dict.fromkeys(names), f"loss/{TRANSFORMER}"], LOGGED_STEP)
    return [Chart("copying", title("copying of tokens by the first layer", shown), panels, text, live)]
