"""Run directories, brought by W&B's real client to a stand-in for its server."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from iclgd.checks import InputError
from iclgd.tracking import track as tracking
from iclgd.tracking.environment import describe_environment
from iclgd.tracking.run_directory import RunDirectory
from iclgd.tracking.track import track
from tests.tracking.copied_rows import lines, pages
from tests.wandb_server import StoredRun, WandbServer

CONFIG = (
    "experiment: regression\ntraining: {batch_size: 64, learning_rate: 1e-05}\ntracking: {project: p, tags: [own]}\n"
)
PIXEL = bytes.fromhex(  # a PNG
    "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b550000000a494441"
    "54789c636000000002000148afa4710000000049454e44ae426082"
)
Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[WandbServer]:
    monkeypatch.chdir(tmp_path)
    with WandbServer() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
        yield server
    assert server.unknown_operations == []


def new_run(steps: int = 4, loss: float | None = 0.25) -> RunDirectory:
    """Make a run directory that no W&B has seen, complete if it has a loss."""
    run = RunDirectory.create("small", CONFIG, describe_environment("cpu"))
    for step in range(steps):
        run.append_metrics(10 * step, {"loss/transformer": 1 / (1 + step), "other": float(step)})
    if loss is not None:
        run.write_summary({"loss/final": loss, "undefined": float("nan")})
    return run


def rows(run: StoredRun) -> list[tuple[int, float]]:
    """Return step and loss of each row, as they came; each row must have come once."""
    return [(row["trainer/global_step"], row["loss/transformer"]) for row in lines(run)]


def losses(steps: int = 4) -> list[tuple[int, Any]]:
    return [(10 * step, pytest.approx(1 / (1 + step))) for step in range(steps)]


def test_three_runs_arrive_as_one_sweep_and_only_once(server: WandbServer, monkeypatch: pytest.MonkeyPatch) -> None:
    variables = {"WANDB_RUN_GROUP": "smoke-1a2b3c", "WANDB_JOB_TYPE": "trial", "WANDB_TAGS": "sweep,smoke"}
    with monkeypatch.context() as environment:
        for name, value in variables.items():
            environment.setenv(name, value)
        for point in range(3):
            environment.setenv("WANDB_RUN_ID", f"1a2b3c-{point:04}")
            new_run(loss=float(point))
    monkeypatch.setattr(tracking, "RUNS_AT_ONCE", 2)
    monkeypatch.setenv("WANDB_TAGS", "of-another-time")
    report = track([Path("runs")])
    assert (report.uploaded, report.failed, report.errors) == (3, 0, [])
    assert str(report) == "3 uploaded"
    assert sorted(server.runs) == ["1a2b3c-0000", "1a2b3c-0001", "1a2b3c-0002"]
    for point in range(3):
        run = server.runs[f"1a2b3c-{point:04}"]
        assert (run.project, run.group, run.job_type) == ("p", "smoke-1a2b3c", "trial")
        assert run.tags == ["own", "sweep", "smoke"]
        assert run.config["training"] == {"batch_size": 64, "learning_rate": 1e-05}
        assert (run.summary["loss/final"], run.summary["loss/transformer"]) == (point, 1 / 4)
        assert rows(run) == losses()
        assert (run.state, run.exit_code) == ("finished", 0)
    assert not Path("wandb").exists()

    uploads = server.requests["UpsertBucket"]
    assert str(track([Path("runs"), Path("runs/small/1a2b3c-0001")])) == "3 there already"
    assert server.requests["UpsertBucket"] == uploads
    with WandbServer() as other:  # what one server has, another one has not
        monkeypatch.setenv("WANDB_BASE_URL", other.url)
        assert str(track([Path("runs/small/1a2b3c-0001")])) == "1 uploaded"
        assert rows(other.runs["1a2b3c-0001"]) == losses()


@pytest.mark.slow
@pytest.mark.parametrize("num_there", [0, 2, 4])
def test_what_the_server_has_is_not_sent_again(num_there: int, server: WandbServer) -> None:
    run = new_run(steps=4)
    run.figures.mkdir()
    (run.figures / "learning.png").write_bytes(PIXEL)
    assert str(track([run.path])) == "1 uploaded"
    (run.path / "tracked.json").write_text("[broken")
    stored = server.runs[run.path.name]
    del stored.streams["wandb-history.jsonl"][num_there:]
    stored.streams.pop("wandb-summary.json")
    stored.files.clear()
    assert str(track([run.path])) == "1 uploaded"
    assert rows(stored) == losses()
    assert len(pages(stored)) == 1
    assert (stored.summary["loss/final"], stored.summary["undefined"], stored.summary["other"]) == (0.25, "NaN", 3)
    assert "figures/learning" in stored.summary
    (picture,) = [content for name, content in stored.files.items() if name.endswith(".png")]
    assert picture == PIXEL
    assert pages(stored)[0]["figures/learning"]["path"] in stored.files


@pytest.mark.slow
def test_figures_that_are_there_keep_their_row(server: WandbServer) -> None:
    run = new_run()
    run.figures.mkdir()
    (run.figures / "learning.png").write_bytes(PIXEL)
    assert str(track([run.path])) == "1 uploaded"
    (run.path / "tracked.json").unlink()
    stored = server.runs[run.path.name]
    stored.files.clear()
    stored.streams.pop("wandb-summary.json")
    assert str(track([run.path])) == "1 uploaded"
    assert len(rows(stored)) == 4
    assert pages(stored)[0]["figures/learning"]["path"] in stored.files
    assert stored.summary["figures/learning"]["path"] in stored.files
    assert stored.summary["loss/final"] == 0.25


@pytest.mark.slow
def test_an_upload_that_is_killed_goes_on(server: WandbServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """However far it has come: before the run is known, between its rows, before its end."""
    monkeypatch.setenv("WANDB__FILE_STREAM_TRANSMIT_INTERVAL", "1")  # it would send only every 15 seconds
    run = new_run(steps=3000)
    run.figures.mkdir()
    (run.figures / "learning.png").write_bytes(PIXEL)
    stream, upsert = server._file_stream, server.operations["UpsertBucket"]
    for point in ("UpsertBucket", "stream", "complete"):
        process = subprocess.Popen(
            [sys.executable, "-m", "iclgd.cli", "track", str(run.path)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

        def die(process: "subprocess.Popen[bytes]" = process) -> None:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

        def upsert_and_die(variables: Any, die: Callable[[], None] = die) -> Any:
            die()
            return upsert(variables)

        def stream_and_die(stored: StoredRun, sent: Any, die: Callable[[], None] = die, point: str = point) -> Any:
            if point == "stream" or sent.get("complete"):
                die()
            return stream(stored, sent)

        with monkeypatch.context() as patch:
            if point == "UpsertBucket":
                patch.setitem(server.operations, "UpsertBucket", upsert_and_die)
            else:
                patch.setattr(server, "_file_stream", stream_and_die)
            process.wait(60)
        assert not (run.path / "tracked.json").exists()
        time.sleep(0.3)  # for W&B's own process to end
    assert str(track([run.path])) == "1 uploaded"
    stored = server.runs[run.path.name]
    assert rows(stored) == losses(3000)
    assert stored.summary["loss/final"] == 0.25


def test_a_failed_upload_is_told_and_goes_on_the_next_time(server: WandbServer, cli: Cli) -> None:
    runs = [new_run() for _ in range(2)]
    upsert = server.operations["UpsertBucket"]

    def refuse_one(variables: dict[str, Any]) -> dict[str, Any]:
        if variables["name"] == runs[0].path.name:
            raise ValueError("no room")
        return upsert(variables)

    server.operations["UpsertBucket"] = refuse_one
    code, out, err = cli("track", "runs")
    assert (code, err) == (1, "")
    assert out.startswith(f"1 uploaded, 1 failed\n{runs[0].path}: ")
    assert "no room" in out
    assert len(out.splitlines()) == 2
    server.operations["UpsertBucket"] = upsert
    assert cli("track", "runs") == (0, "1 uploaded, 1 there already\n", "")
    assert set(server.runs) == {run.path.name for run in runs}


@pytest.mark.slow
def test_rows_that_the_server_refuses_are_no_success(server: WandbServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """W&B's client ends such a run without an error."""
    run = new_run()

    def refuse(*_: object) -> None:
        raise ValueError("not now")

    with monkeypatch.context() as patch:
        patch.setattr(server, "_file_stream", refuse)
        report = track([run.path])
    assert (report.uploaded, report.failed) == (0, 1)
    assert "not now" in report.errors[0]
    assert str(track([run.path])) == "1 uploaded"
    assert rows(server.runs[run.path.name]) == losses()


@pytest.mark.slow
def test_a_server_that_is_lost_on_the_way_ends_the_upload(server: WandbServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(3):
        new_run()
    monkeypatch.setattr(tracking, "RUNS_AT_ONCE", 1)
    monkeypatch.setattr(tracking, "SECONDS_TO_START", 5.0)
    monkeypatch.setattr(tracking, "SECONDS_TO_FINISH", 3.0)
    copy = tracking._Upload._copy

    def lose_after_the_first(self: Any, run: RunDirectory, client: Any) -> Any:
        if self.report.uploaded == 1:
            server.stop()
        return copy(self, run, client)

    monkeypatch.setattr(tracking._Upload, "_copy", lose_after_the_first)
    report = track([Path("runs")])
    assert (report.uploaded, report.failed) == (1, 2)
    assert f"no answer from {server.url}; try again where there is internet" in report.errors
    assert len(report.errors) == 2  # the run at which it was lost
    assert len(server.runs) == 1


def test_incomplete_and_damaged_runs_cost_the_others_nothing(
    server: WandbServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tracking, "RUNS_AT_ONCE", 1)
    good, cut, bad_summary, bad_config, bad_figure = (new_run() for _ in range(5))
    new_run(loss=None)
    with (cut.path / "metrics.jsonl").open("ab") as file:
        file.write(b'\0\0\0\n[1]\n{"step": 70, "loss/transformer": 0.125, "other": 4}\n{"st')
    (bad_summary.path / "summary.json").write_text("{")
    bad_config.config_path.write_text("a: [")
    bad_figure.figures.mkdir()
    (bad_figure.figures / "learning.png").write_bytes(PIXEL[:20])
    in_use = new_run()
    with in_use.lock():
        report = track([Path("runs")])
    assert str(report).splitlines()[0] == "1 uploaded, 3 not complete, 3 failed"
    said = "\n".join(report.errors)
    assert len(report.errors) == 3
    assert all(f"{run.path}: " in said for run in (cut, bad_config, bad_figure))
    assert (
        f"{bad_summary.path}/summary.json: damaged (not JSON)" in capsys.readouterr().err
    )  # iclgd resume makes it again
    assert f"{cut.path}: metrics.jsonl: line 5 is damaged" in said
    assert rows(server.runs[good.path.name]) == losses()
    arrived = [(row["_step"], row["trainer/global_step"]) for row in server.runs[cut.path.name].history[:5]]
    assert arrived == [(1, 0), (3, 10), (5, 20), (7, 30), (13, 70)]  # what is whole, each in its place
    assert server.runs[bad_figure.path.name].summary["loss/final"] == 0.25
    assert set(server.runs) == {run.path.name for run in (good, cut, bad_figure)}


def test_two_runs_of_one_name_are_not_mixed(server: WandbServer, tmp_path: Path) -> None:
    run = new_run(loss=0.25)
    shutil.copytree(run.path, tmp_path / "runs" / "copied" / run.path.name)
    RunDirectory(tmp_path / "runs" / "copied" / run.path.name).write_summary({"loss/final": 7})
    report = track([tmp_path / "runs"])
    assert (report.uploaded, report.failed) == (1, 1)
    assert "has the same name, which is W&B's id of it" in report.errors[0]


@pytest.mark.parametrize(
    "environment", ["", "{", "[]", '{"python": "3"}', '{"wandb": 3}', '{"wandb": {"WANDB_TAGS": 1}}']
)
@pytest.mark.slow
def test_runs_that_recorded_nothing_of_wandb_arrive(environment: str, server: WandbServer) -> None:
    run = new_run()
    path = run.path / "environment.json"
    checksums = json.loads(path.read_text())["checksums"]  # without these the numbers would not be this run's
    whole = f'{{"checksums": {json.dumps(checksums)}, {environment[1:]}' if environment[1:2] == '"' else environment
    path.write_text(whole)
    assert str(track([run.path])) == "1 uploaded"
    assert rows(server.runs[run.path.name]) == losses()


def test_what_is_missing_is_one_line(
    server: WandbServer, cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"^.*: there are no runs here$"):
        track([tmp_path])
    new_run()
    code, out, err = cli("track", "runs", tmp_path / "nowhere")
    assert (code, out, err) == (2, "", f"iclgd: {tmp_path}/nowhere: no such folder\n")
    viewer = server.operations["GetDefaultEntity"]
    server.operations.pop("GetDefaultEntity")
    code, out, err = cli("track", "runs")
    assert (code, out) == (2, "")
    assert err.startswith(f"iclgd: nothing was uploaded: {server.url} refuses: ")
    assert len(err.splitlines()) == 1
    server.unknown_operations.clear()
    server.operations["GetDefaultEntity"] = viewer
    server.stop()
    code, out, err = cli("track", "runs")
    assert (code, out) == (2, "")
    assert err.startswith(f"iclgd: nothing was uploaded: no answer from {server.url}; try again")
    monkeypatch.delenv("WANDB_API_KEY")
    code, out, err = cli("track", "runs")
    assert (code, out) == (2, "")
    assert err.startswith("iclgd: nothing was uploaded: no API key is configured; run 'wandb login'")
