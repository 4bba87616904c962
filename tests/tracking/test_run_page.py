"""What W&B's server has of a run's page: tables, charts, axes, versions, and its model."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from iclgd.tracking.environment import describe_environment
from iclgd.tracking.mirror import Mirror
from iclgd.tracking.pages import by_layer, headline, layer_sheet, queries
from iclgd.tracking.run_copy import forget_arrival
from iclgd.tracking.run_directory import RunDirectory
from iclgd.tracking.track import track
from iclgd.tracking.wandb import TrackingConfig
from tests.tracking.copied_rows import lines, pages
from tests.tracking.test_pages import HOSTILE, answers
from tests.tracking.test_track import PIXEL
from tests.wandb_artifacts import Artifacts
from tests.wandb_server import StoredRun, WandbServer

CONFIG = """\
experiment: text
name: <script>alert(1)</script>
evaluation: {controls: [untrained]}
tracking: {project: p, log_model: true}
"""
SUMMARY = {"sim_aou": 0.5, "sim_aou_low": 0.25, "sim_aou_high": 0.75, "rec2ftp": float("nan")}
SUMMARY |= {f"{name}/layer_0{layer}": layer / 8 for name in ("sim_aou", "untrained/sim_aou") for layer in (0, 1)}
WEIGHTS = b"weights" * 100


@pytest.fixture(autouse=True)
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[WandbServer]:
    monkeypatch.chdir(tmp_path)
    with WandbServer() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
        yield server
    assert server.unknown_operations == []


def new_run(monkeypatch: pytest.MonkeyPatch) -> RunDirectory:
    """Make a complete run of a sweep, with everything that a page can show."""
    with monkeypatch.context() as environment:
        environment.setenv("WANDB_SWEEP_ID", "sweep7")
        environment.setenv("WANDB_RUN_GROUP", "smoke-1a2b3c")
        run = RunDirectory.create("small", CONFIG, describe_environment("cpu"))
    fill(run)
    return run


def fill(run: RunDirectory) -> None:
    for step in range(3):
        run.append_metrics(step, {"finetune/loss": 1 / (1 + step), "untrained/finetune/loss": 2.0})
    run.append_metrics(9, {"loss/gd": 0.5, "loss/gd/seed_1": 0.5})
    rows = [line for query, text in enumerate(HOSTILE) for line in answers(None, query, text)]
    run.write_text("predictions.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    run.write_bytes("weights.safetensors", WEIGHTS)
    (run.path / "model").mkdir()
    run.write_bytes("model/tokenizer.json", b"{}")
    run.write_text("report.html", "<p>")
    run.write_summary(SUMMARY)
    run.figures.mkdir()
    (run.figures / "similarity.png").write_bytes(PIXEL)


def table(run: StoredRun, value: dict[str, Any]) -> tuple[list[str], list[list[Any]]]:
    assert "artifact_path" not in value, "an artifact of its own, whose file waits elsewhere"
    content = json.loads(run.files[value["path"]])
    return content["columns"], content["data"]


def test_a_page_arrives_once_and_a_run_that_goes_on_loses_nothing(
    server: WandbServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifacts = Artifacts(server)
    run = new_run(monkeypatch)
    assert str(track([run.path])) == "1 uploaded"
    stored = server.runs[run.path.name]
    assert [row["trainer/global_step"] for row in lines(stored)] == [0, 1, 2, 9]
    (page,) = pages(stored)
    assert {name for name in page if "/" in name and name != "trainer/global_step"} == {
        "figures/similarity",
        "tables/headline",
        "tables/layers",
        "tables/queries",
        "Custom Chart Tables/layers/sim_aou_table",
    }
    assert all(stored.summary[name] == value for name, value in page.items() if isinstance(value, dict))
    sheets = {
        "headline": headline(dict(sorted(SUMMARY.items()))),
        "layers": layer_sheet(by_layer(SUMMARY)),
        "queries": queries(run.path / "predictions.jsonl"),
    }
    for name, sheet in sheets.items():
        assert sheet is not None
        assert table(stored, page[f"tables/{name}"]) == (sheet.columns, sheet.rows)
    columns, points = table(stored, page["Custom Chart Tables/layers/sim_aou_table"])
    assert columns == ["step", "lineKey", "lineVal"]
    assert points == [[layer, name, layer / 8] for name in ("sim_aou", "untrained/sim_aou") for layer in (0, 1)]
    own = stored.config_entries["_wandb"]["value"]
    assert own["visualize"]["layers/sim_aou"]["panel_config"]["stringSettings"] == {
        "title": "sim_aou",
        "xname": "layer",
    }

    assert axes(own["m"]) == {
        "*": ("trainer/global_step", False),
        "finetune/loss": ("finetune/step", False),
        "untrained/finetune/loss": ("finetune/step", False),
        "loss/gd/seed_1": ("trainer/global_step", True),
    }
    assert [row.get("finetune/step") for row in lines(stored)] == [0, 1, 2, None]
    assert stored.config["name"] == "<script>alert(1)</script>"
    assert stored.config["environment"]["command"] == "iclgd run run_directory/config.yaml --name small"
    assert stored.config["environment"]["device"] == "cpu"
    assert stored.files["run_directory/config.yaml"] == run.config_path.read_bytes()
    assert stored.files["run_directory/environment.json"] == (run.path / "environment.json").read_bytes()

    model = artifacts[f"model-{run.path.name}"]
    names = ("weights.safetensors", "config.yaml", "summary.json", "report.html", "model/tokenizer.json")
    assert model.files == {name: (run.path / name).read_bytes() for name in names}
    assert (model.type, model.logged_by, sorted(model.aliases)) == (
        "model",
        run.path.name,
        ["latest", "smoke-1a2b3c", "sweep7"],
    )
    assert (model.metadata["sweep"], model.metadata["group"]) == ("sweep7", "smoke-1a2b3c")
    assert model.metadata["summary"] == {**{name: SUMMARY[name] for name in list(SUMMARY)[:3]}, "rec2ftp": "nan"}

    requests = server.requests.copy()
    assert str(track([run.path])) == "1 there already"
    assert all(server.requests[name] == requests[name] for name in ("UpsertBucket", "CreateArtifact", "uploads"))
    forget_arrival(run)  # the run goes on, as by iclgd resume RUN trainer.max_steps=...
    run.append_metrics(19, {"loss/gd": 0.25})
    run.write_summary({**SUMMARY, "sim_aou": 0.625})
    assert str(track([run.path])) == "1 uploaded"
    assert [row["trainer/global_step"] for row in lines(stored)] == [0, 1, 2, 9, 19]
    assert [row["_step"] for row in pages(stored)] == [8, 10]
    assert table(stored, stored.summary["tables/headline"])[1][1] == ["sim_aou", 0.625, 0.25, 0.75]
    assert stored.summary["loss/gd"] == 0.25
    assert [each.id for each in artifacts.versions] == [f"model-{run.path.name}:v0", f"model-{run.path.name}:v1"]


def axes(metrics: list[dict[str, Any]]) -> dict[str, tuple[str, bool]]:
    """Return each declared metric's own step and whether it is hidden, as W&B's protocol numbers these fields."""
    names = [metric.get("1") for metric in metrics]
    return {
        metric.get("1") or metric["2"]: (str(names[metric["5"] - 1]), 2 in metric["6"])
        for metric in metrics
        if "5" in metric
    }


def test_offline_files_wait_for_wandb_sync(server: WandbServer, monkeypatch: pytest.MonkeyPatch) -> None:
    artifacts = Artifacts(server)
    with Mirror(TrackingConfig(mode="offline")) as mirror:
        run = RunDirectory.create("small", CONFIG, describe_environment("cpu"))
        mirror.begin(run)
        fill(run)
        mirror.finish()
    assert not server.runs
    (folder,) = (run.path / "wandb").glob("offline-run-*")
    subprocess.run([sys.executable, "-m", "wandb", "sync", folder], check=True, capture_output=True, timeout=60)
    stored = server.runs[run.path.name]
    assert [row["trainer/global_step"] for row in lines(stored)] == [0, 1, 2, 9]
    found = queries(run.path / "predictions.jsonl")
    assert found is not None
    assert table(stored, stored.summary["tables/queries"]) == (found.columns, found.rows)
    model = artifacts[f"model-{run.path.name}"]
    assert model.files["weights.safetensors"] == WEIGHTS == (run.path / "weights.safetensors").read_bytes()
    assert model.aliases == ["latest"]


@pytest.mark.slow
def test_a_model_that_cannot_arrive_costs_the_run_no_number(
    server: WandbServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = new_run(monkeypatch)
    artifacts = Artifacts(server)

    def refuse(_: object) -> Any:
        raise ValueError("no room")

    with monkeypatch.context() as patch:
        patch.setitem(server.operations, "CreateArtifact", refuse)
        report = track([run.path])
    assert (report.failed, len(report.errors)) == (1, 1)
    assert "no room" in report.errors[0]
    stored = server.runs[run.path.name]
    assert (len(lines(stored)), stored.summary["sim_aou"], stored.state) == (4, 0.5, "finished")
    (run.path / "weights.safetensors").write_bytes(WEIGHTS[:-1])
    assert "weights.safetensors: damaged" in track([run.path]).errors[0]
    assert artifacts.versions == []
