"""W&B Reports, saved by wandb-workspaces on a stand-in for W&B's server, and read back."""

import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from iclgd.report.comparisons import Estimate
from iclgd.review import wandb_report
from iclgd.review.document import Axis, Chart, HeatMap, Live, Plot, Review, Section, Table, Verdict
from iclgd.review.wandb_report import LOGGED_STEP, WandbReport, WandbReportError, blocks, describe, parse_target, save
from iclgd.tracking.rows import Rows
from tests.conftest import ROOT
from tests.wandb_reports import Reports, StoredReport
from tests.wandb_server import JSON, WandbServer

Cli = Callable[..., tuple[int, str, str]]

HOSTILE = '<script>alert("1")</script> | `x` $y$ \u202eback\nnext ' + "עברית"
RUNS = [f"tester/demo/1a2b3c-{number:04}" for number in range(6)]
LOSS = Plot("", Axis("step"), Axis("loss", is_log=True), [])
CHARTS = [
    Chart(
        "learning_curve",
        "Loss, one_layer, 2 seeds",
        [LOSS],
        "It falls.",
        Live("lines", ["loss/gd", "loss/transformer"]),
    ),
    Chart("accuracy", "Accuracy", [], "A above B.", Live("bars", ["accuracy/zero_shot"])),
    Chart("rate", "Rate", [LOSS], "", Live("scatter", ["loss/final", "config.training.learning_rate"])),
    Chart("parallel", "Sweep", [], "", Live("parallel", ["config.seed", "config.task.num_context", "loss/final"])),
    Chart("importance", "Importance", [], "", Live("importance", ["loss/final"])),
    Chart("weights", "Weights", [HeatMap("", ["a"], ["b"], [[1.0]])], "One block is dark."),
]
ONE_LAYER = Section(
    title="one_layer",
    asked="What one linear layer of self-attention learns.",
    verdicts=[Verdict("Is the trained transformer like gradient descent?", "like", "Alignment 0.99 [0.98, 1.00].")],
    headline=Table("Loss", ["whose", "loss"], [["ours", Estimate(0.2, 0.1, 0.3)], ["paper", None]], note="Of 2 seeds."),
    charts=CHARTS,
    tables=[Table("Runs", ["run", "state"], [["1a2b3c-0000", "finished"]])],
    commands=["iclgd run one_layer seed=1", "iclgd run one_layer 'tracking.tags=[a b]'"],
    environment=[("torch", "2.8"), ("python", "3.11")],
    left_out=["1a2b3c-0001: no curve"],
    wandb_runs=RUNS,
)
BAD = Section(
    title=HOSTILE,
    asked=HOSTILE,
    verdicts=[Verdict(HOSTILE, "cannot say", HOSTILE * 1000)],
    headline=Table(HOSTILE, [HOSTILE, "b"], [[HOSTILE, float("nan")]], note=HOSTILE),
    charts=[Chart("x", HOSTILE, [], HOSTILE, Live("lines", ["loss"]))],
    commands=["iclgd run x 'name=two\nlines\u202e'"],
    environment=[(HOSTILE, HOSTILE)],
    left_out=[HOSTILE],
    wandb_runs=["tester/demo/1a", "other/their project/2b", "tester/demo/'] or True", "only", "tester/demo/1a"],
)
ELSEWHERE = Section("two", "", [Verdict("?", "cannot say", "No.")], Table("", ["a"], []), charts=CHARTS[:1])
WHOLE = Review(
    "A review: one/two? #1", "2026-01-31 12:00", "1.2", [ONE_LAYER, BAD, ELSEWHERE], [HOSTILE], ["runs", "a b"]
)
EMPTY = Review("", "2026-01-31 12:00", "1.2", left_out=["runs: nothing there"], sources=["runs"])


@pytest.fixture(scope="module")
def server() -> Iterator[WandbServer]:
    with WandbServer() as server:
        server.reports = Reports(server, {"tester": ["demo", "reports"], "other": ["their project"]})  # type: ignore[attr-defined]
        yield server
    assert server.unknown_operations == []


@pytest.fixture
def reports(server: WandbServer, monkeypatch: pytest.MonkeyPatch) -> Reports:
    monkeypatch.setenv("WANDB_BASE_URL", server.url)
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    found: Reports = server.reports  # type: ignore[attr-defined]
    found.clear()
    return found


def read_back(stored: StoredReport) -> list[JSON]:
    """Return our plain blocks as W&B's own JSON tells them."""
    assert [stored.blocks[0], stored.blocks[-1]] == [{"type": "paragraph", "children": [{"text": ""}]}] * 2
    return [_block(block) for block in stored.blocks[1:-1]]


def _texts(children: list[JSON]) -> list[Any]:
    return [{"code": child["text"]} if child.get("inlineCode") else child["text"] for child in children]


def _block(block: JSON) -> JSON:
    match block["type"]:
        case "heading":
            return {"type": f"H{block['level']}", "text": "".join(_texts(block["children"]))}
        case "paragraph":
            return {"type": "P", "text": _texts(block["children"])}
        case "markdown-block":
            return {"type": "MarkdownBlock", "text": block["content"]}
        case "code-block":
            assert block["language"] == "yaml"
            return {"type": "CodeBlock", "code": "".join(_texts(block["children"][0]["children"]))}
        case "list":
            return {
                "type": "UnorderedList",
                "items": [_texts(i["children"][0]["children"])[0] for i in block["children"]],
            }
        case "table-of-contents":
            return {"type": "TableOfContents"}
    assert block["type"] == "panel-grid"
    panels = block["metadata"]["panelBankSectionConfig"]["panels"]
    places = [(panel["layout"]["x"], panel["layout"]["y"]) for panel in panels]
    assert len(set(places)) == len(places)
    return {
        "type": "PanelGrid",
        "runsets": [_runset(runset) for runset in block["metadata"]["runSets"]],
        "panels": [_panel(panel["viewType"], panel["config"]) for panel in panels],
    }


def _runset(runset: JSON) -> JSON:
    project = runset["project"]
    assert project["id"] == f"{project['entityName']}'s {project['name']}"  # as the server knows it
    (only,) = runset["filters"]["filters"]
    assert (only["key"], only["op"], only["disabled"]) == ({"section": "run", "name": "name"}, "IN", False)
    runs = only["value"]
    return {"entity": project["entityName"], "project": project["name"], "name": runset["name"], "runs": runs}


def _ours(name: str) -> str:
    return name.replace("config:", "config.").replace(".value", "").removeprefix("summary:")


def _panel(kind: str, config: JSON) -> JSON:
    title = {"title": config["chartTitle"]} if "chartTitle" in config else {}
    most = {"max_runs_to_show": config["limit"]} if "limit" in config else {}
    match kind:
        case "Run History Line Plot":
            axes = {"log_x": config.get("xLogScale"), "log_y": config.get("yLogScale")}
            axes |= {"title_x": config.get("xAxisTitle"), "title_y": config.get("yAxisTitle")}
            return {"type": "LinePlot", **title, "x": config["xAxis"], "y": config["metrics"], **axes, **most}
        case "Bar Chart":
            return {"type": "BarPlot", **title, "metrics": config["metrics"], **most}
        case "Scatter Plot":
            logs = {"log_x": config.get("xAxisLogScale"), "log_y": config.get("yAxisLogScale")}
            return {"type": "ScatterPlot", **title, "x": _ours(config["xAxis"]), "y": _ours(config["yAxis"]), **logs}
        case "Parallel Coordinates Plot":
            columns = [_ours(column["accessor"]) for column in config["columns"]]
            return {"type": "ParallelCoordinatesPlot", **title, "columns": columns}
    assert kind == "Parameter Importance"
    return {"type": "ParameterImportancePlot", "with_respect_to": config["targetKey"]}


def without_missing_axes(found: list[JSON]) -> list[JSON]:
    """Return blocks in which a chart without axes has axes that are ``None``, as W&B's JSON does not have them."""
    none = dict.fromkeys(("log_x", "log_y", "title_x", "title_y"))
    for panel in (panel for block in found for panel in block.get("panels", ())):
        if panel["type"] == "LinePlot":
            panel |= {**none, **panel}
    return found


def test_a_report_is_read_back_as_it_was_made(reports: Reports, tmp_path: Path) -> None:
    report = blocks(WHOLE, "tester", "reports")
    address = save(report)
    ((report_id, stored),) = reports.items()
    assert address == f"{reports.server.url}/tester/reports/reports/A-review-one-two-1--{report_id}"
    assert (stored.entity, stored.project, stored.title) == ("tester", "reports", "A review: one/two? #1")
    assert (stored.type, stored.spec["width"]) == ("runs", "fixed")
    assert stored.description == "Made 2026-01-31 12:00 UTC by iclgd 1.2 from runs, a b"
    assert read_back(stored) == without_missing_axes(list(report.blocks))

    script = (
        "import json, sys; from wandb_workspaces.reports.v2 import Report; report = Report.from_url(sys.argv[1])\n"
        "kinds = [type(block).__name__ for block in report.blocks]\n"
        "print(json.dumps([report.title, kinds, report._to_model().spec.model_dump(by_alias=True, exclude_none=True)]))"
    )
    command = [sys.executable, "-W", "ignore", "-c", script, address]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=tmp_path, check=True)
    title, kinds, spec = json.loads(result.stdout)
    assert title == stored.title
    assert kinds == [block["type"] for block in report.blocks]
    assert spec["blocks"] == stored.spec["blocks"]


def test_panels_are_of_live_runs() -> None:
    (grid, other) = (block for block in blocks(WHOLE, "tester", "demo").blocks if block["type"] == "PanelGrid")
    runs = [run.rpartition("/")[2] for run in RUNS]
    assert grid["runsets"] == [{"entity": "tester", "project": "demo", "name": "one_layer", "runs": runs}]
    curve, bars, scatter, parallel, importance = grid["panels"]
    assert (curve["type"], curve["y"]) == ("LinePlot", ["loss/gd", "loss/transformer"])
    assert (curve["log_x"], curve["log_y"], curve["title_x"], curve["title_y"]) == (None, True, "step", "loss")
    assert (bars["type"], bars["metrics"]) == ("BarPlot", ["accuracy/zero_shot"])
    assert (scatter["x"], scatter["y"]) == ("config.training.learning_rate", "loss/final")
    assert parallel["columns"] == ["config.seed", "config.task.num_context", "loss/final"]
    assert importance["with_respect_to"] == "loss/final"
    names = [(runset["entity"], runset["project"], runset["runs"]) for runset in other["runsets"]]
    assert names == [("tester", "demo", ["1a"]), ("other", "their project", ["2b"])]
    said = describe(blocks(WHOLE, "tester", "demo"))
    assert "No panel shows tester/demo/'] or True: " in said
    assert "No panel shows only: " in said
    assert "Weights (W&B has no such panel): One block is dark." in said


def test_the_step_is_that_of_the_copies_of_runs(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"step": 7, "loss/transformer": 0.5}\n')
    ((_, row),) = Rows(tmp_path / "metrics.jsonl").new()
    assert row[LOGGED_STEP["step"]] == 7
    grid = next(block for block in blocks(WHOLE, "tester", "demo").blocks if block["type"] == "PanelGrid")
    assert set([grid["panels"][0]["x"]]) <= set(row)


def test_runs_that_are_not_at_wandb_are_told_how_to_get_there() -> None:
    review = Review("", "", "", [ELSEWHERE], sources=["runs", "a b"])
    said = describe(blocks(review, "tester", "demo"))
    assert "W&B has none of these runs" in said
    assert "    iclgd track runs 'a b'" in said.split("\n")
    assert "panels of" not in said


def test_json_is_all_of_it() -> None:
    report = blocks(WHOLE, "tester", "demo")
    content = json.loads(describe(report, as_json=True))
    assert WandbReport(**{**content, "blocks": tuple(content["blocks"])}) == report
    assert "\u202e" not in json.dumps(content, ensure_ascii=False)
    # Plain blocks show texts as they are; no long one is whole.
    (verdict,) = (
        b
        for b in content["blocks"]
        if b["type"] == "P" and {"code": "cannot say"} in b["text"] and len(b["text"][2]) > 99
    )
    assert "<script>" in verdict["text"][0]
    assert len(verdict["text"][2]) < 3000
    (code,) = (block for block in content["blocks"] if block["type"] == "CodeBlock" and "name=two" in block["code"])
    assert code["code"] == "iclgd run x 'name=two\nlines\\u202e'"


def test_each_server_has_its_own_reports_and_projects(
    reports: Reports, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    review = replace(EMPTY, sections=[BAD, replace(ONE_LAYER, wandb_runs=["other/their project/2b"])])
    with WandbServer() as other:
        elsewhere = Reports(other, {"tester": ["demo"]})
        monkeypatch.setenv("WANDB_BASE_URL", other.url)
        address = save(blocks(review, "tester", "demo"))
    (stored,) = elsewhere.values()
    assert urlsplit(address)[:2] == urlsplit(other.url)[:2]
    assert address.startswith(f"{other.url}/tester/demo/reports/Review--")
    assert stored.title == "Review"
    grids = [block for block in read_back(stored) if block["type"] == "PanelGrid"]
    assert [[runset["runs"] for runset in grid["runsets"]] for grid in grids] == [[["1a"]]]
    unknown = f"{other.url} has no project other/their project, or it is not yours: no panel shows its runs\n"
    assert capsys.readouterr().err == unknown
    assert len(reports) == 0


def test_a_review_of_nothing_says_so(reports: Reports) -> None:
    save(blocks(EMPTY, "tester", "demo"))
    (stored,) = reports.values()
    there_are_none = {"type": "P", "text": ["There are no runs to show."]}
    left_out = [{"type": "H1", "text": "Left out"}, {"type": "UnorderedList", "items": ["runs: nothing there"]}]
    assert read_back(stored) == [there_are_none, *left_out]


def refusal(target: str = "tester/demo") -> str:
    with pytest.raises(WandbReportError) as caught:
        save(blocks(EMPTY, *parse_target(target)))
    said = str(caught.value)
    assert "\n" not in said
    return said


@pytest.mark.slow
def test_what_the_server_refuses_is_one_line(
    server: WandbServer, reports: Reports, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert refusal("nobody/demo") == f"{server.url} has no project nobody/demo, or it is not yours"
    monkeypatch.setitem(server.operations, "upsertView", lambda _: 1 / 0)
    assert refusal() == "W&B did not save the report: ZeroDivisionError: division by zero"
    assert len(reports) == 0


def test_what_is_missing_is_one_line(server: WandbServer, reports: Reports, monkeypatch: pytest.MonkeyPatch) -> None:
    said = refusal("tester/dmeo")
    assert said == f"{server.url} has no project tester/dmeo, or it is not yours; did you mean tester/demo?"
    answering = threading.Event()
    with monkeypatch.context() as patch:
        patch.setitem(server.operations, "upsertView", lambda _: answering.wait(30))
        patch.setattr(wandb_report, "SECONDS_TO_SAVE", 1.0)
        assert refusal() == "W&B did not save the report: no answer of W&B's server within 1 s"
    answering.set()
    with monkeypatch.context() as patch:
        patch.delenv("WANDB_API_KEY")
        said = refusal()
        assert said == "no W&B Report was made: no API key is configured; run 'wandb login', or set WANDB_API_KEY"
    with monkeypatch.context() as patch, WandbServer() as gone:
        patch.setenv("WANDB_BASE_URL", gone.url)
        gone.stop()
        assert refusal() == f"no W&B Report was made: no answer from {gone.url}"
    monkeypatch.setitem(sys.modules, "wandb_workspaces", None)
    assert refusal() == "a W&B Report needs wandb-workspaces: pip install 'iclgd[report]'"
    assert len(reports) == 0


@pytest.mark.parametrize(
    "text", ["", "demo", "tester/", "/demo", "a/b/c", "a b/c", "a/b#c", "a/b\n", "a/\u202ex", "a/" + "x" * 129]
)
def test_a_target_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(WandbReportError, match=r"^--wandb must be ENTITY/PROJECT, "):
        parse_target(text)


def test_targets_may_be_what_wandb_allows() -> None:
    assert parse_target("our-group/my project.2") == ("our-group", "my project.2")


def test_the_command_makes_a_report_of_runs_that_are_there(reports: Reports, cli: Cli, tmp_path: Path) -> None:
    paths = {}
    for name, server in (("debug", reports.server.url), ("seeds", "https://elsewhere")):
        shutil.copytree(ROOT / "tests/reference/runs" / name, tmp_path / "runs" / name)
        (paths[name],) = (tmp_path / "runs" / name).iterdir()
        (paths[name] / "tracked.json").write_text(json.dumps([f"{server}/tester/demo/{paths[name].name}"]))
    code, out, err = cli("report", "--wandb", "tester/demo", "--title", "Two runs")
    assert (code, err) == (0, "")
    ((report_id, stored),) = reports.items()
    assert out == f"{reports.server.url}/tester/demo/reports/Two-runs--{report_id}\n"
    (grid,) = (block for block in read_back(stored) if block["type"] == "PanelGrid")
    assert [runset["runs"] for runset in grid["runsets"]] == [[paths["debug"].name]]
    logged = {name for _, row in Rows(paths["debug"] / "metrics.jsonl").new() for name in row}
    lines = [panel for panel in grid["panels"] if panel["type"] == "LinePlot"]
    assert lines
    assert {panel["x"] for panel in lines} <= logged
    assert {name for panel in lines for name in panel["y"]} <= logged
    assert {"type": "CodeBlock", "code": f"iclgd track {tmp_path}/runs"} in read_back(stored)


def test_a_dry_run_asks_nobody(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb_workspaces", None)
    monkeypatch.setattr(wandb_report, "ClientProcess", None)
    path = ROOT / "tests/reference/runs/debug"
    code, out, err = cli("report", "--wandb", "tester/demo", "--dry-run", path)
    assert (code, err) == (0, "")
    assert out.startswith("W&B Report in tester/demo: Is in-context learning gradient descent?\n")
    assert "\n# debug\n" in out
    code, out, err = cli("report", path, "--wandb", "tester/demo", "--dry-run", "--json", "--title", "\u202eback")
    assert (code, err) == (0, "")
    content = json.loads(out)
    assert (content["entity"], content["project"]) == ("tester", "demo")
    assert "\u202e" not in content["title"]
    assert [block["text"] for block in content["blocks"] if block["type"] == "H1"] == ["debug"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--dry-run",), "--dry-run and --json show the blocks of a W&B Report: they need --wandb ENTITY/PROJECT"),
        (("--json", "--wandb", "a/b"), "--json shows the blocks of a W&B Report: it needs --dry-run"),
        (("--wandb", "a"), "--wandb must be ENTITY/PROJECT, an account or team and its project, such as "),
        (("--wandb", "a/b"), "a W&B Report needs wandb-workspaces: pip install 'iclgd[report]'"),
        (("--wandb", "a/b", "--dry-run", "nowhere"), "nowhere: no such folder"),
    ],
)
def test_a_command_that_cannot_be_is_refused_in_a_line(
    arguments: tuple[str, ...], said: str, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb_workspaces", None)
    code, out, err = cli("report", *arguments)
    assert (code, out) == (2, "")
    assert err.startswith(f"iclgd: {said}")
    assert len(err.splitlines()) == 1
