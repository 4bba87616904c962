"""Charts of how often text runs are right: accuracies, and how much of finetuning's gain in-context learning has."""

from collections.abc import Mapping, Sequence

from iclgd.measures import CONTROLS
from iclgd.report.chance import at_random
from iclgd.report.comparisons import REC2FTP, SETTINGS, controls_of, why_no_rec2ftp
from iclgd.review.charts.groups import Group, Notes
from iclgd.review.charts.similarities import bar_series, levels, whose
from iclgd.review.charts.titles import title
from iclgd.review.document import Axis, Chart, Live, Mark, Plot, Role, Series

ROLES: Mapping[str, Role] = {
    "accuracy/zero_shot": "other",
    "accuracy/in_context": "transformer",
    "accuracy/finetuned": "gd",
}
COMPARISON = "comparison"


def _prefixes(groups: Sequence[Group]) -> dict[str, str]:
    """Return the comparison and the controls that any group has: how summary names begin, and labels."""
    found = {name for group in groups for run in group.runs for name in controls_of(run.results.summary)}
    return {"": COMPARISON, **{f"{name}/": entry.label for name, entry in CONTROLS.items() if name in found}}


def accuracy(groups: Sequence[Group], notes: Notes) -> list[Chart]:
    """Return accuracy zero-shot, in-context and finetuned, of the comparison and each control; chance is marked."""
    plots, shown = [], []
    for group in groups:
        if not any(name in run.results.summary for name in SETTINGS for run in group.runs):
            continue
        prefixes = _prefixes([group])
        bars = [
            bar_series(
                label,
                [group] * len(prefixes),
                [f"{prefix}{name}" for prefix in prefixes],
                ROLES.get(name, "other"),
                notes,
                list(prefixes.values()),
            )
            for name, label in SETTINGS.items()
        ]
        shown.append(group)
        chance = _chance(group, notes)
        plots.append(Plot(group.label, Axis("comparison and controls"), Axis("accuracy"), bars, chance, bars=True))
    if not plots:
        return []
    texts = []
    for plot in plots:
        of_comparison = [f"{each.label} {levels([_first_bar(each)])}" for each in plot.series]
        at_chance = f"; chance {plot.marks[0].at:.3g}" if plot.marks else ""
        texts.append(f"{plot.title or 'Accuracy'}: {', '.join(of_comparison)}{at_chance}.")
    what = title(f"accuracy, {whose(shown)}", shown)
    return [Chart("accuracy", what, plots, " ".join(texts), Live("bars", [*SETTINGS]))]


def _first_bar(series: Series) -> Series:
    """Return a series of the first bar alone, without a name."""
    return Series("", series.x[:1], series.y[:1], series.low[:1], series.high[:1])


def _chance(group: Group, notes: Notes) -> list[Mark]:
    """Return the line at chance, where it is known between how many answers the model chooses."""
    found = (at_random(run.run.predictions) for run in group.runs)
    chance = next((each for each in found if each is not None), None)
    if chance is None:
        notes.add(f"accuracy: no chance line for {group.name}: it is not known between how many answers is chosen")
        return []
    numbers = f"{chance.fewest}" if chance.fewest == chance.most else f"{chance.fewest} to {chance.most}"
    return [Mark(float(f"{chance.share:.6g}"), f"chance, 1 of {numbers} answers")]


def recall(groups: Sequence[Group], notes: Notes) -> list[Chart]:
    """Return Rec2FTP with intervals, bars for the comparison and each control; [Dai]'s recall of finetuning."""
    having = [group for group in groups if any(REC2FTP in run.results.summary for run in group.runs)]
    if not having:
        return []
    prefixes = _prefixes(having)
    series = [
        bar_series(
            group.label or "Rec2FTP",
            [group] * len(prefixes),
            [f"{prefix}{REC2FTP}" for prefix in prefixes],
            "transformer" if len(having) == 1 else "other",
            notes,
            list(prefixes.values()),
            _why_not_defined,
        )
        for group in having
    ]
    plot = Plot("", Axis("comparison and controls"), Axis("Rec2FTP, %"), series, bars=True)
    what = title(f"Rec2FTP, what in-context learning has right of what finetuning puts right, {whose(having)}", having)
    live = Live("bars", [f"{prefix}{REC2FTP}" for prefix in prefixes])
    return [Chart("rec2ftp", what, [plot], f"Rec2FTP in %: {levels(series)}.", live)]


def _why_not_defined(group: Group, name: str) -> str | None:
    """Say why Rec2FTP is not defined; nothing where a run has no such control."""
    reasons = [why_no_rec2ftp(run.results.summary, [name.removesuffix(REC2FTP)]) for run in group.runs]
    found = list(dict.fromkeys(reason for reason in reasons if reason))
    return f"{name} of {group.name} is not defined: {'; '.join(found)}" if found else None
