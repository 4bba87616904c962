"""A W&B Report from plain blocks, by wandb-workspaces; within :mod:`iclgd.tracking.client` alone."""

import re
from typing import Any
from urllib.parse import quote

Block = dict[str, Any]
COLUMNS, PANEL_ROWS = 24, 8  # of W&B's grid, in which two panels stand side by side


def save(content: dict[str, Any]) -> dict[str, Any]:
    """Save a report and return its ``address``, and the projects of ``unknown`` runs, of which it has no panels.

    If its own project is not there, the account's ``projects`` are returned.

    Args:
        content: of a :class:`iclgd.review.wandb_report.WandbReport`.
    """
    from wandb_workspaces.reports.v2 import Report

    entity, project = content["entity"], content["project"]
    projects = {entity: _projects(entity)}
    if project not in projects[entity]:  # it would be created
        return {"projects": projects[entity]}
    grids = [block for block in content["blocks"] if block["type"] == "PanelGrid"]
    for owner in {runset["entity"] for grid in grids for runset in grid["runsets"]} - {entity}:
        projects[owner] = _projects(owner)
    unknown = set()
    for grid in grids:
        missing = [runset for runset in grid["runsets"] if runset["project"] not in projects[runset["entity"]]]
        unknown |= {f"{runset['entity']}/{runset['project']}" for runset in missing}
        grid["runsets"] = [runset for runset in grid["runsets"] if runset not in missing]
    report = Report(
        entity=entity,
        project=project,
        title=content["title"],
        description=content["description"],
        blocks=[_block(block) for block in content["blocks"] if block.get("runsets", True)],
        width="fixed",
    )
    report.save()
    # The address has the title as it is, of which a / or # would lead elsewhere; the server reads the id alone.
    report.title = re.sub(r"[^A-Za-z0-9]+", "-", content["title"]).strip("-") or "report"
    return {"address": quote(report.url, safe="/:[]="), "unknown": sorted(unknown)}


def _projects(entity: str) -> list[str]:
    import wandb

    try:
        return [each.name for each in wandb.Api().projects(entity)]
    except ValueError:  # W&B's client cannot read that there is no such account
        return []


def _block(block: Block) -> Any:
    from wandb_workspaces.reports import v2

    match block["type"]:
        case "H1" | "H2" | "MarkdownBlock" as name:
            return getattr(v2, name)(text=block["text"])
        case "P":
            parts = block["text"]
            return v2.P(text=[v2.InlineCode(part["code"]) if isinstance(part, dict) else part for part in parts])
        case "UnorderedList":
            return v2.UnorderedList(items=block["items"])
        case "CodeBlock":
            # Of the languages that W&B knows, the one whose comments and quotes are a shell's.
            return v2.CodeBlock(code=block["code"], language="yaml")
        case "PanelGrid":
            return v2.PanelGrid(
                runsets=[_runset(runset) for runset in block["runsets"]],
                panels=[_panel(panel, number) for number, panel in enumerate(block["panels"])],
            )
        case "TableOfContents":
            return v2.TableOfContents()
    raise ValueError(f"no block {block['type']!r}")


def _runset(runset: Block) -> Any:
    from wandb_workspaces.expr import Metric
    from wandb_workspaces.reports.v2 import Runset

    filters = [Metric("ID").isin(runset["runs"])]
    return Runset(entity=runset["entity"], project=runset["project"], name=runset["name"], filters=filters)


def _panel(panel: Block, number: int) -> Any:
    """Return a panel at its place.

    Args:
        panel: its type and arguments.
        number: of those before it.
    """
    from wandb_workspaces.reports import v2

    given = {name: value for name, value in panel.items() if name != "type"}
    width = COLUMNS // 2
    given["layout"] = v2.Layout(x=number % 2 * width, y=number // 2 * PANEL_ROWS, w=width, h=PANEL_ROWS)
    match panel["type"]:
        case "LinePlot":
            return v2.LinePlot(**given)
        case "BarPlot":
            return v2.BarPlot(**given | {"metrics": [_logged(name) for name in panel["metrics"]]})
        case "ScatterPlot":
            return v2.ScatterPlot(**given | {axis: _of_summary(panel[axis]) for axis in ("x", "y")})
        case "ParallelCoordinatesPlot":
            columns = [v2.ParallelCoordinatesPlotColumn(metric=_of_summary(name)) for name in panel["columns"]]
            return v2.ParallelCoordinatesPlot(**given | {"columns": columns})
        case "ParameterImportancePlot":
            return v2.ParameterImportancePlot(**given)
    raise ValueError(f"no panel {panel['type']!r}")


def _logged(name: str) -> Any:
    from wandb_workspaces.reports.v2 import Config

    return Config(name.removeprefix("config.")) if name.startswith("config.") else name


def _of_summary(name: str) -> Any:
    from wandb_workspaces.reports.v2 import SummaryMetric

    found = _logged(name)
    return SummaryMetric(found) if isinstance(found, str) else found
