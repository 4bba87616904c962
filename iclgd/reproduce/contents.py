"""What the page of a reproduction says: a section for each figure and table of the paper, ours beside the printed."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from rich.table import Table as TerminalTable

from iclgd import __version__
from iclgd.reproduce.paper import Claim, Figure
from iclgd.reproduce.reproduction import Reproduction
from iclgd.reproduce.verdicts import Verdict
from iclgd.review.charts.points import number
from iclgd.review.document import Axis, Cell, Chart, Mark, Plot, Review, Section, Series, Table
from iclgd.review.document import Verdict as Answered
from iclgd.review.sections import section_of
from iclgd.review.texts import counted, shortened
from iclgd.review.verdict import estimate_text
from iclgd.runs.bases import Bases


def make_review(reproduction: Reproduction, command: str, folder: Path) -> Review:
    """Return the page's contents.

    Args:
        reproduction: what came of the plan.
        command: that was typed, which repeats it.
        folder: of the reproduction.
    """
    bases = Bases()
    sections = [_section(reproduction, figure, bases) for figure in reproduction.paper.figures]
    bases.save()
    return Review(
        title=f"{reproduction.paper.title}: reproduced?",
        made=f"{datetime.now(UTC):%Y-%m-%d %H:%M}",
        version=__version__,
        sections=[_overview(reproduction, command), *sections],
        sources=[str(folder)],
    )


def terminal_table(reproduction: Reproduction) -> TerminalTable:
    """Return the claims with their verdicts."""
    paper, plan = reproduction.paper, reproduction.plan
    table = TerminalTable(title=f"{paper.title} ({paper.reference}), plan {plan.name}", title_justify="left")
    for name in ("claim", "verdict", "ours", "bound", "printed"):
        table.add_column(name, overflow="fold")
    for figure in paper.figures:
        table.add_row(figure.number, style="bold")
        for verdict in reproduction.verdicts(figure):
            claim = verdict.claim
            texts = (claim.name, verdict.answer, _ours_text(verdict), claim.bounds_signs, claim.printed or "")
            table.add_row(*texts)
        table.add_section()
    return table


def open_lines(reproduction: Reproduction) -> list[str]:
    """Return a line for each claim of which nothing can be said, with the reason."""
    verdicts = [verdict for figure in reproduction.paper.figures for verdict in reproduction.verdicts(figure)]
    return [f"cannot say {each.claim.name}: {each.why}" for each in verdicts if each.answer == "cannot say"]


def _overview(reproduction: Reproduction, command: str) -> Section:
    """Return the first section: all claims at one sight, and what the plan cannot show."""
    paper, plan, options = reproduction.paper, reproduction.plan, reproduction.options
    rows: list[list[Cell]] = [
        [
            figure.number,
            verdict.claim.says,
            verdict.answer,
            _ours(verdict),
            verdict.claim.bounds_signs,
            verdict.claim.printed,
        ]
        for figure in paper.figures
        for verdict in reproduction.verdicts(figure)
    ]
    given = f" With {' '.join(options.overrides)}." if options.overrides else ""
    return Section(
        title="All claims",
        asked=f"Does {paper.reference} hold here? Plan {plan.name}: {plan.says}{given}",
        verdicts=[],
        headline=Table("Claims", ["figure", "claim", "verdict", "ours", "bound", "printed"], rows, _legend()),
        tables=[Table("What this plan cannot show", ["what"], [[line] for line in _cannot_show(reproduction)])],
        commands=[command],
    )


def _cannot_show(reproduction: Reproduction) -> list[str]:
    """Return what the plan says of itself, and the claims that it leaves open."""
    lines = list(reproduction.plan.cannot_show)
    if reproduction.plan.quick:
        lines += [f"{claim.says} ({claim.not_quick}.)" for claim in reproduction.paper.claims if claim.not_quick]
    return lines


def _legend() -> str:
    return (
        "Reproduced: the whole 95 % interval over seeds or draws is within the bound. Not reproduced: all of it is "
        "beyond. Cannot say: it reaches over the bound, or there is none."
    )


def _section(reproduction: Reproduction, figure: Figure, bases: Bases) -> Section:
    verdicts = reproduction.verdicts(figure)
    names = list(dict.fromkeys(claim.sweep for claim in figure.claims))
    runs = {name: list(found.runs) for name in names if (found := reproduction.evidence.get(name)) is not None}
    parts = [section_of(each, bases) for each in runs.values() if each]
    charts = [chart for part in parts for chart in part.charts if not figure.charts or chart.name in figure.charts]
    absent = [name for name in figure.charts if parts and name not in {chart.name for chart in charts}]
    left_out = [line for part in parts for line in part.left_out]
    left_out += [f"sweep {name}: the plan {reproduction.plan.name} leaves it out" for name in names if name not in runs]
    return Section(
        title=f"{figure.number}: {figure.title}",
        asked=" ".join(dict.fromkeys(part.asked for part in parts)),
        verdicts=[Answered(verdict.claim.says, verdict.answer, verdict.sentence) for verdict in verdicts],
        headline=_claims_table(verdicts),
        charts=[*_beside(verdicts), *charts],
        tables=[replace(part.headline, title=f"Numbers of {part.title}") for part in parts]
        + [table for part in parts for table in part.tables],
        commands=list(dict.fromkeys(command for part in parts for command in part.commands)),
        environment=parts[0].environment if parts else (),
        left_out=[*dict.fromkeys(left_out), *(f"figure {name}: these runs have none" for name in absent)],
        wandb_runs=[name for part in parts for name in part.wandb_runs],
    )


def _claims_table(verdicts: Sequence[Verdict]) -> Table:
    rows: list[list[Cell]] = [
        [
            verdict.claim.name,
            verdict.answer,
            _ours(verdict),
            verdict.claim.printed,
            verdict.claim.bounds_signs,
            verdict.claim.quantity,
            float(verdict.quantity.number) if verdict.quantity is not None else None,
        ]
        for verdict in verdicts
    ]
    sources = dict.fromkeys(verdict.claim.source for verdict in verdicts if verdict.claim.source)
    note = f"Printed: {'; '.join(sources)}." if sources else "The paper prints no number of these."
    return Table("Ours and printed", ["claim", "verdict", "ours", "printed", "bound", "quantity", "seeds"], rows, note)


def _ours(verdict: Verdict) -> Cell:
    return verdict.quantity.estimate if verdict.quantity is not None else None


def _ours_text(verdict: Verdict) -> str:
    return estimate_text(verdict.quantity.estimate) if verdict.quantity is not None else ""


def _beside(verdicts: Sequence[Verdict]) -> list[Chart]:
    """Return ours drawn beside the printed numbers, a panel for each axis; nothing if there is no number of ours."""
    measured = [verdict for verdict in verdicts if verdict.quantity is not None]
    if not measured:
        return []
    axes = dict.fromkeys(verdict.claim.axis or verdict.claim.quantity for verdict in measured)
    panels = [
        _panel(axis, [each for each in measured if (each.claim.axis or each.claim.quantity) == axis]) for axis in axes
    ]
    texts = [f"{each.claim.name}: {_ours_text(each)}, {_theirs(each.claim)}" for each in measured]
    what = f"ours beside the printed numbers and the bounds of {counted(len(measured), 'claim')}"
    return [Chart("beside_printed", what, panels, "; ".join(texts) + ".")]


def _theirs(claim: Claim) -> str:
    return claim.bounds_text + (f", printed {claim.printed}" if claim.printed is not None else "")


def _panel(axis: str, verdicts: Sequence[Verdict]) -> Plot:
    names = [shortened(verdict.claim.name) for verdict in verdicts]
    estimates = [verdict.quantity.estimate for verdict in verdicts if verdict.quantity is not None]
    values, lows, highs = ([number(estimate[end]) for estimate in estimates] for end in range(3))
    ours = Series("ours", names, values, lows, highs, "transformer", joined=False)
    places = [
        (name, number(value))
        for name, verdict in zip(names, verdicts, strict=True)
        for value in verdict.claim.printed_numbers
    ]
    at, theirs = [name for name, _ in places], [value for _, value in places]
    printed = Series("printed", at, theirs, role="paper", joined=False)
    bounds = [verdict.claim.bounds for verdict in verdicts]
    shared = bounds[0] if all(each == bounds[0] for each in bounds) else {}
    marks = [Mark(value, f"bound: {name.replace('_', ' ')} {value:g}") for name, value in shared.items()]
    return Plot("", Axis("claim"), Axis(axis), [ours, *([printed] if places else [])], marks)
