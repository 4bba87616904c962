"""A review as a W&B Report: its blocks as plain data, which W&B's client, in a process of its own, saves.

Nothing here imports W&B or asks its server, but :func:`save`.
"""

import json
import re
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from typing import Any

from iclgd.checks import did_you_mean
from iclgd.review.document import Chart, Plot, Review, Section, Table, Verdict
from iclgd.review.markdown import markdown_table, plain
from iclgd.terminal import escaped, say
from iclgd.tracking.client_process import ClientProcess
from iclgd.tracking.server import NO_API_KEY
from iclgd.tracking.wandb import TrackingError, look

Block = dict[str, Any]  # "type" is the name of the class in wandb_workspaces.reports.v2, the others are its arguments

ENTITY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
PROJECT = re.compile(r"[^/\\#?%:\s]([^/\\#?%:]{0,126}[^/\\#?%:\s])?")
RUN_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")  # as ours are; a quote would end the filter in which it is
LOGGED_STEP = {"step": "trainer/global_step"}  # what W&B's copy of a run has instead
MOST_CHARACTERS_OF_TITLE = 128  # which W&B allows
MOST_CHARACTERS_OF_CODE = 100_000
MOST_RUNS_IN_PANEL = 100  # W&B's own choice is ten lines
SECONDS_TO_SAVE = 60.0  # of W&B's client and server
SECONDS_FOR_PANELS = 3.0  # more for those of a section: the server is asked for its project


class WandbReportError(TrackingError):
    """A W&B Report that cannot be made."""


@dataclass(frozen=True)
class WandbReport:
    """A W&B Report that is not saved yet.

    Args:
        entity: the account or team.
        project: in which it is shown.
        title: of the report.
        description: below the title.
        blocks: of the report, as plain data.
    """

    entity: str
    project: str
    title: str
    description: str
    blocks: Sequence[Block]


def parse_target(text: str) -> tuple[str, str]:
    """Return account and project of ``ENTITY/PROJECT``.

    Raises:
        WandbReportError: if it is not of that form.

    Example:
        >>> parse_target("our-group/iclgd")
        ('our-group', 'iclgd')
    """
    entity, _, project = text.partition("/")
    if not ENTITY.fullmatch(entity) or not PROJECT.fullmatch(project) or not project.isprintable():
        raise WandbReportError(
            f"--wandb must be ENTITY/PROJECT, an account or team and its project, such as our-group/iclgd; got {text!r}"
        )
    return entity, project


def check_library() -> None:
    """Refuse to begin what could not be saved.

    Raises:
        WandbReportError: if wandb-workspaces is not installed.
    """
    if find_spec("wandb_workspaces") is None:
        raise WandbReportError("a W&B Report needs wandb-workspaces: pip install 'iclgd[report]'")


def blocks(review: Review, entity: str, project: str) -> WandbReport:
    """Return the W&B Report of a review.

    Args:
        review: what it says.
        entity: the account or team.
        project: in which it is shown; panels show runs of other projects too.
    """
    made: list[Block] = [{"type": "TableOfContents"}] if len(review.sections) > 1 else []
    for section in review.sections:
        made += _section(section, review.sources)
    if not review.sections:
        made.append(_text("There are no runs to show."))
    made += _left_out(review.left_out, "H1")
    return WandbReport(
        entity=entity,
        project=project,
        title=plain(review.title)[:MOST_CHARACTERS_OF_TITLE].strip() or "Review",
        description=plain(f"Made {review.made} UTC by iclgd {review.version} from {', '.join(review.sources)}"),
        blocks=tuple(made),
    )


def save(report: WandbReport) -> str:
    """Save a report on the server that W&B's settings name, and return its address.

    Runs of projects that the server does not have are said and left out.

    Raises:
        WandbReportError: if wandb-workspaces is not installed, no API key is configured, the server does not answer,
            refuses, or has no such project.
        TrackingError: if W&B's settings cannot be read.
    """
    check_library()
    num_grids = sum(block["type"] == "PanelGrid" for block in report.blocks)
    seconds = SECONDS_TO_SAVE + SECONDS_FOR_PANELS * num_grids
    client = ClientProcess()
    try:
        found = look(client, account=True)
        if missing := found.get("failed") or found["missing"]:
            advice = "; run 'wandb login', or set WANDB_API_KEY" if missing == NO_API_KEY else ""
            raise WandbReportError(f"no W&B Report was made: {missing}{advice}")
        client.send(do="report", content=asdict(report), seconds=seconds)
        answer = client.receive(2 * seconds)
    finally:
        client.kill()
    if "failed" in answer:
        raise WandbReportError(f"W&B did not save the report: {answer['failed']}")
    if "projects" in answer:
        target = f"{report.entity}/{report.project}"
        hint = did_you_mean(target, [f"{report.entity}/{name}" for name in answer["projects"]])
        raise WandbReportError(f"{found['url']} has no project {target}, or it is not yours{hint}")
    for unknown in answer["unknown"]:
        say(f"{found['url']} has no project {unknown}, or it is not yours: no panel shows its runs")
    return str(answer["address"])


def describe(report: WandbReport, as_json: bool = False) -> str:
    """Return what a report holds, in lines to read, or as JSON."""
    if as_json:
        return json.dumps(asdict(report), indent=2)
    lines = [f"W&B Report in {report.entity}/{report.project}: {report.title}", report.description]
    for block in report.blocks:
        lines += _described(block)
    return "\n".join(lines)


def _section(section: Section, sources: Sequence[str]) -> list[Block]:
    made = [_heading("H1", section.title), _text(section.asked)]
    made += [_verdict(verdict) for verdict in section.verdicts]
    made.append(_table(section.headline))
    made += _figures(section, sources)
    for table in section.tables:
        made += [_heading("H2", table.title), _table(Table("", table.columns, table.rows, table.note))]
    if section.commands:
        made += [_heading("H2", "To run it again"), _code(section.commands)]
    if section.environment:
        made += [_heading("H2", "Environment"), _table(Table("", ("name", "value"), section.environment))]
    return [*made, *_left_out(section.left_out, "H2")]


def _figures(section: Section, sources: Sequence[str]) -> list[Block]:
    if not section.charts:
        return []
    made = [_heading("H2", "Figures")]
    runsets, unusable = _runsets(section)
    num_runs = sum(len(runset["runs"]) for runset in runsets)
    panels = [panel for chart in section.charts for panel in _panels(chart, num_runs)]
    if not runsets:
        made.append(
            _text("W&B has none of these runs, so there are no panels. To bring those that are complete there:")
        )
        made.append(_code([shlex.join(["iclgd", "track", *(sources or ["runs"])])]))
    elif panels:
        made.append(
            _text(f"Panels show what W&B has, {num_runs} run{'s' * (num_runs != 1)}; iclgd track brings others.")
        )
        made.append({"type": "PanelGrid", "runsets": runsets, "panels": panels})
    said = [
        f"{chart.title}{'' if chart.live else ' (W&B has no such panel)'}: {chart.text}".strip(": ")
        for chart in section.charts
    ]
    said += [f"No panel shows {run}: the name is none of ours." for run in unusable]
    return [*made, _list(said)]


def _runsets(section: Section) -> tuple[list[Block], list[str]]:
    """Return the section's runs by project, and those of which W&B would not understand the name."""
    by_project: dict[tuple[str, str], list[str]] = {}
    unusable = []
    for run in dict.fromkeys(section.wandb_runs):
        entity, project, run_id = [*run.split("/", 2), "", ""][:3]
        if RUN_ID.fullmatch(run_id) and ENTITY.fullmatch(entity) and PROJECT.fullmatch(project):
            by_project.setdefault((entity, project), []).append(run_id)
        else:
            unusable.append(run)
    name = plain(section.title, 60)
    runsets = [
        {
            "entity": entity,
            "project": project,
            "name": name if len(by_project) == 1 else f"{name} ({entity}/{project})",
            "runs": runs,
        }
        for (entity, project), runs in by_project.items()
    ]
    return runsets, unusable


def _panels(chart: Chart, num_runs: int) -> list[Block]:
    """Return the panels that show from live runs what a chart shows; none where there are none."""
    live = chart.live
    if live is None or not live.metrics:
        return []
    title, metrics, x = plain(chart.title, 200), list(live.metrics), LOGGED_STEP.get(live.x, live.x)
    axes: Block = {}
    if (plot := next((panel for panel in chart.panels if isinstance(panel, Plot)), None)) is not None:
        axes = {"log_x": plot.x.is_log or None, "log_y": plot.y.is_log or None}
        axes |= {"title_x": plain(plot.x.label, 100) or None, "title_y": plain(plot.y.label, 100) or None}
    most = min(max(num_runs, 10), MOST_RUNS_IN_PANEL)
    if live.kind == "lines":
        return [{"type": "LinePlot", "title": title, "x": x, "y": metrics, **axes, "max_runs_to_show": most}]
    if live.kind == "bars":
        return [{"type": "BarPlot", "title": title, "metrics": metrics, "max_runs_to_show": most}]
    if live.kind == "scatter":
        axes = {name: is_log for name, is_log in axes.items() if name in ("log_x", "log_y")}
        keys = [name for name in metrics if name.startswith("config.")]
        pairs = [(key, metric) for metric in metrics if metric not in keys for key in keys or [x]]
        return [{"type": "ScatterPlot", "title": title, "x": key, "y": metric, **axes} for key, metric in pairs]
    if live.kind == "parallel":
        return [{"type": "ParallelCoordinatesPlot", "title": title, "columns": metrics}]
    return [{"type": "ParameterImportancePlot", "with_respect_to": metric} for metric in metrics]


def _heading(level: str, text: str) -> Block:
    return {"type": level, "text": plain(text, 200) or "(no title)"}


def _text(text: str) -> Block:
    return {"type": "P", "text": [plain(text)]}


def _verdict(verdict: Verdict) -> Block:
    return {
        "type": "P",
        "text": [f"{plain(verdict.question)} ", {"code": verdict.answer}, f" {plain(verdict.sentence)}"],
    }


def _table(table: Table) -> Block:
    return {"type": "MarkdownBlock", "text": markdown_table(table)}


def _code(lines: Sequence[str]) -> Block:
    """Return commands, each as it is: a break within one is part of it."""
    whole = "\n".join("\n".join(escaped(part, MOST_CHARACTERS_OF_CODE) for part in line.split("\n")) for line in lines)
    return {"type": "CodeBlock", "code": whole}


def _list(lines: Sequence[str]) -> Block:
    return {"type": "UnorderedList", "items": [plain(line) for line in lines]}


def _left_out(lines: Sequence[str], level: str) -> list[Block]:
    return [_heading(level, "Left out"), _list(lines)] if lines else []


def _described(block: Block) -> list[str]:
    match block["type"]:
        case "H1" | "H2" as level:
            return ["", f"{'#' * int(level[1])} {block['text']}"]
        case "P":
            return ["".join(f"`{part['code']}`" if isinstance(part, dict) else part for part in block["text"])]
        case "MarkdownBlock":
            return ["", *block["text"].split("\n"), ""]
        case "CodeBlock":
            return ["", *(f"    {line}" for line in block["code"].split("\n"))]
        case "UnorderedList":
            return [f"- {item}" for item in block["items"]]
        case "PanelGrid":
            return ["", *map(_described_runset, block["runsets"]), *map(_described_panel, block["panels"]), ""]
    return [f"({block['type']})"]


def _described_runset(runset: Block) -> str:
    runs = runset["runs"]
    more = f" and {len(runs) - 5} more" if len(runs) > 5 else ""
    place = f"{runset['entity']}/{runset['project']}"
    return f"panels of {len(runs)} run{'s' * (len(runs) != 1)} of {place}: {', '.join(runs[:5])}{more}"


def _described_panel(panel: Block) -> str:
    shown = panel.get("columns") or panel.get("metrics") or panel.get("y") or panel.get("with_respect_to")
    names = shown if isinstance(shown, str) else ", ".join(shown or [])
    against = f" against {panel['x']}" if "x" in panel else ""
    return f"  {panel['type']} {panel.get('title', '')}: {names}{against}"
