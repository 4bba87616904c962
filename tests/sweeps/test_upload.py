"""Offline runs, made and sent by W&B's real client, arriving at a stand-in for its server."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from iclgd.checks import InputError
from iclgd.sweeps.upload import upload
from iclgd.tracking import wandb as tracking
from iclgd.tracking.run_directory import RunDirectory
from iclgd.tracking.wandb import TrackingConfig
from tests.wandb_server import StoredRun, WandbServer


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[WandbServer]:
    with WandbServer() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
        yield server


@pytest.fixture(autouse=True)
def _client(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """W&B's client reads its settings once per process, and writes where it is."""
    import wandb

    monkeypatch.chdir(tmp_path)
    wandb.teardown()
    yield
    wandb.teardown()


def new_run() -> RunDirectory:
    return RunDirectory.create("small", "experiment: regression\n", {})


def attempt(run: RunDirectory, steps: range, mode: str = "offline") -> "tracking.WandbLogger":
    config = TrackingConfig(project="p", tags=["own"])
    logger, _ = tracking.start(config, mode, "as configured", run.path, {"training": {"batch_size": 64}})
    assert logger is not None
    for step in steps:
        logger.log_metrics({"loss/transformer": 1 / (1 + step)}, step=step)
    return logger


def complete(run: RunDirectory, logger: "tracking.WandbLogger", loss: float = 0.25) -> None:
    run.write_summary({"loss/final": loss})
    assert tracking.finish(logger, {"loss/final": loss}, []) is None


def cut_off(run: RunDirectory, logger: "tracking.WandbLogger") -> None:
    """Leave of W&B's files what a killed process leaves."""
    import wandb

    time.sleep(5 * tracking.SECONDS_BETWEEN_WRITES)
    (file,) = run.path.glob("wandb/offline-run-*/*.wandb")
    shutil.copy(file, "as-it-was")
    logger.experiment.finish()
    wandb.teardown()
    shutil.move("as-it-was", file)


def losses(run: StoredRun) -> dict[int, float]:
    """The loss by step; W&B keeps one number per place in the run, whatever comes twice."""
    rows = {row["_step"]: row for row in run.history}
    assert sorted(rows) == list(range(len(rows)))
    return {row["trainer/global_step"]: row["loss/transformer"] for row in rows.values()}


def test_three_runs_arrive_as_one_sweep_and_only_once(server: WandbServer, monkeypatch: pytest.MonkeyPatch) -> None:
    variables = {"WANDB_RUN_GROUP": "smoke-1a2b3c", "WANDB_JOB_TYPE": "trial", "WANDB_TAGS": "sweep,smoke"}
    runs = []
    with monkeypatch.context() as environment:
        for name, value in variables.items():
            environment.setenv(name, value)
        for point in range(3):
            environment.setenv("WANDB_RUN_ID", f"1a2b3c-{point:04}")
            runs.append(new_run())
            complete(runs[-1], attempt(runs[-1], range(4)), loss=float(point))
    assert not server.runs

    monkeypatch.setattr("iclgd.sweeps.upload.RUNS_AT_ONCE", 2)
    report = upload(Path("runs"))
    assert (report.uploaded, report.failed, report.errors) == (3, 0, [])
    assert str(report) == "3 uploaded"
    assert sorted(server.runs) == ["1a2b3c-0000", "1a2b3c-0001", "1a2b3c-0002"]
    for point, directory in enumerate(runs):
        run = server.runs[directory.path.name]
        assert (run.project, run.group, run.job_type) == ("p", "smoke-1a2b3c", "trial")
        assert run.tags == ["own", "sweep", "smoke"]
        assert run.config == {"training": {"batch_size": 64}}
        assert run.summary["loss/final"] == point
        assert losses(run) == pytest.approx({0: 1, 1: 1 / 2, 2: 1 / 3, 3: 1 / 4})
        assert run.state == "finished"
    assert server.unknown_operations == []
    assert not Path("wandb").exists()

    uploads = server.requests["UpsertBucket"]
    assert str(upload(Path("runs"))) == "3 there already"
    assert server.requests["UpsertBucket"] == uploads


def test_a_killed_and_resumed_run_arrives_whole(server: WandbServer) -> None:
    run = new_run()
    cut_off(run, attempt(run, range(4)))
    complete(run, attempt(run, range(4, 7)))
    assert len(list(run.path.glob("wandb/offline-run-*"))) == 2
    for first_is_marked, second_is_marked in ((False, False), (False, True), (True, False)):
        for marker, is_marked in zip(markers(run), (first_is_marked, second_is_marked), strict=True):
            marker.touch() if is_marked else marker.unlink(missing_ok=True)
        assert str(upload(run.path)) == "1 uploaded"
        assert all(marker.exists() for marker in markers(run))
        arrived = server.runs[run.path.name]
        assert losses(arrived) == pytest.approx({step: 1 / (1 + step) for step in range(7)})
        assert arrived.summary["loss/transformer"] == pytest.approx(1 / 7)
        assert arrived.summary["loss/final"] == 0.25
        assert arrived.state == "finished"


def markers(run: RunDirectory) -> list[Path]:
    return [file.with_name(f"{file.name}.synced") for file in sorted(run.path.glob("wandb/offline-run-*/*.wandb"))]


def test_an_attempt_that_recorded_nothing_does_not_hold_up_the_others(server: WandbServer) -> None:
    run = new_run()
    complete(run, attempt(run, range(2)))
    (file,) = run.path.glob("wandb/offline-run-*/*.wandb")
    nothing = run.path / "wandb" / "offline-run-20200101_000000-x" / "run-x.wandb"
    nothing.parent.mkdir()
    nothing.write_bytes(file.read_bytes()[:7])
    assert str(upload(run.path)) == "1 uploaded"
    assert str(upload(run.path)) == "1 there already"


def test_a_failed_upload_is_told_and_goes_on_the_next_time(server: WandbServer) -> None:
    runs = [new_run() for _ in range(2)]
    for run in runs:
        complete(run, attempt(run, range(2)))
    upsert = server.operations["UpsertBucket"]

    def refuse_one(variables: dict[str, object]) -> dict[str, object]:
        if variables["name"] == runs[0].path.name:
            raise ValueError("no room")
        return upsert(variables)

    server.operations["UpsertBucket"] = refuse_one
    report = upload(Path("runs"))
    assert (report.uploaded, report.failed) == (1, 1)
    assert str(report).startswith("1 uploaded, 1 failed\n")
    assert "no room" in report.errors[0]
    server.operations["UpsertBucket"] = upsert
    assert str(upload(Path("runs"))) == "1 uploaded, 1 there already"
    assert set(server.runs) == {run.path.name for run in runs}


def test_a_server_that_is_lost_on_the_way_ends_the_upload(server: WandbServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(3):
        run = new_run()
        complete(run, attempt(run, range(1)))
    answers = iter([None, "no answer"])
    monkeypatch.setattr("iclgd.sweeps.upload.RUNS_AT_ONCE", 1)
    monkeypatch.setattr("iclgd.sweeps.upload._missing", lambda: next(answers))
    assert str(upload(Path("runs"))) == "1 uploaded, 2 failed\nno answer"
    assert len(server.runs) == 1


def test_an_online_run_that_lost_the_server_is_made_whole(server: WandbServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "SECONDS_TO_FINISH", 2.0)
    monkeypatch.setenv("WANDB__FILE_STREAM_TRANSMIT_INTERVAL", "1")  # it would send only every 15 seconds
    run = new_run()
    logger = attempt(run, range(0), mode="online")
    steps = 0
    while not server.runs[run.path.name].history:
        logger.log_metrics({"loss/transformer": 1 / (1 + steps)}, step=steps)
        steps += 1
        time.sleep(0.1)
    server.stop()
    logger.log_metrics({"loss/transformer": 1 / (1 + steps)}, step=steps)
    run.write_summary({"loss/final": 0.25})
    line = tracking.finish(logger, {"loss/final": 0.25}, [])
    assert line is not None
    assert "server was lost" in line
    with WandbServer() as again:
        again.runs |= server.runs  # it knows what it knew
        assert 0 < len(again.runs[run.path.name].history) <= steps
        monkeypatch.setenv("WANDB_BASE_URL", again.url)
        assert str(upload(run.path)) == "1 uploaded"
        arrived = again.runs[run.path.name]
        assert losses(arrived) == pytest.approx({step: 1 / (1 + step) for step in range(steps + 1)})
        assert arrived.summary["loss/final"] == 0.25
        assert arrived.state == "finished"


def test_runs_that_are_not_complete_or_not_tracked_are_left_alone(server: WandbServer) -> None:
    attempt(new_run(), range(1)).experiment.finish()
    new_run().write_summary({"loss/final": 0.5})
    in_use = new_run()
    complete(in_use, attempt(in_use, range(1)))
    with in_use.lock():
        assert str(upload(Path("runs"))) == "1 without W&B's files, 2 not complete"
    assert not server.runs


def test_what_is_missing_is_one_line(server: WandbServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^.*: there are no runs here$"):
        upload(tmp_path)
    run = new_run()
    complete(run, attempt(run, range(1)))
    server.stop()
    with pytest.raises(InputError, match=f"^nothing was uploaded: no answer from {server.url}; try again"):
        upload(tmp_path)
    monkeypatch.delenv("WANDB_API_KEY")
    with pytest.raises(InputError, match=r"^nothing was uploaded: no API key is configured; run 'wandb login'"):
        upload(tmp_path)
