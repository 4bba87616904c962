import json
import math
import os
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from iclgd.runs.records import RunRecord, find_records
from iclgd.tracking.failure import FAILURE
from iclgd.tracking.run_directory import RunDirectory

REFERENCE = Path(__file__).parents[1] / "reference" / "runs" / "debug" / "20261125-000000-e4bb99"
CONFIG = "experiment: regression\nseed: 3\ntask:\n  name: linear\nanalysis:\n  run: [a, b]\n"


def make_run(path: Path, config: str = CONFIG, summary: object = None, environment: object = None) -> Path:
    path.mkdir(parents=True)
    (path / "config.yaml").write_text(config)
    if environment is not None:
        (path / "environment.json").write_text(json.dumps(environment))
    if summary is not None:
        (path / "summary.json").write_text(json.dumps(summary))
    return path


def only(path: Path) -> RunRecord:
    records, left_out = find_records([path])
    assert left_out == []
    (record,) = records
    return record


def test_a_record_has_what_the_small_files_say(tmp_path: Path) -> None:
    environment = {"packages": {"iclgd": "0.0.9"}, "commit": "abc"}
    path = make_run(
        tmp_path / "one" / "20260131-120000-abcdef", summary={"loss/gd": 1, "x": None}, environment=environment
    )
    record = only(tmp_path)
    assert (record.path, record.config_name, record.experiment) == (path, "one", "regression")
    assert (record.state, record.version, record.problem) == ("complete", "0.0.9", "")
    assert record.config == {"experiment": "regression", "seed": 3, "task.name": "linear", "analysis.run": ("a", "b")}
    assert record.summary["loss/gd"] == 1.0
    assert math.isnan(record.summary["x"])
    assert record.when == datetime(2026, 1, 31, 12, tzinfo=UTC)
    assert record.sweep is None
    hash(tuple(record.config.items()))  # settings are compared as keys


def test_without_a_timestamp_in_its_name_a_run_is_as_old_as_its_config(tmp_path: Path) -> None:
    path = make_run(tmp_path / "one" / "20261331-120000-month-13")
    os.utime(path / "config.yaml", (1e9, 1e9))
    assert only(tmp_path).when == datetime.fromtimestamp(1e9, UTC)


def test_states(tmp_path: Path) -> None:
    complete = make_run(tmp_path / "a" / "complete", summary={"loss": 1.0})
    make_run(tmp_path / "a" / "interrupted")
    failed = make_run(tmp_path / "a" / "failed")
    (failed / FAILURE).write_text("out of memory\n")
    running = make_run(tmp_path / "a" / "running")
    make_run(tmp_path / "a" / "not_json", summary=None)
    (tmp_path / "a" / "not_json" / "summary.json").write_text('{"loss": 1.')
    with RunDirectory(running).lock(), RunDirectory(complete).lock():  # of a complete one an analysis is made
        records, left_out = find_records([tmp_path])
    assert {record.path.name: record.state for record in records} == {
        "complete": "complete",
        "failed": "failed",
        "interrupted": "interrupted",
        "not_json": "damaged",
        "running": "running",
    }
    assert left_out == []
    problems = {record.path.name: record.problem for record in records}
    assert problems["failed"] == "out of memory"
    assert problems["not_json"] == "summary.json: damaged (not JSON); the run counts as not complete"
    assert only(running).state == "interrupted"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("[1, 2]", "damaged (not names and values)"),
        ('{"loss": "low"}', "not names and numbers"),
        ('{"loss": true}', "not names and numbers"),
        ('{"loss": 1' + "0" * 400 + "}", "cannot be read"),
        ("{}", "has no numbers"),
        ("", "empty"),
        ("\0" * 50, "damaged (not JSON)"),
        ("[" * 100_000, "damaged (not JSON)"),
    ],
)
def test_a_broken_summary_is_told(tmp_path: Path, content: str, problem: str) -> None:
    path = make_run(tmp_path / "a" / "run")
    (path / "summary.json").write_text(content)
    record = only(tmp_path)
    assert (record.state, record.summary) == ("damaged", {})
    assert record.problem.startswith("summary.json: ")
    assert problem in record.problem


def test_a_summary_of_another_run_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "a" / "run"
    shutil.copytree(REFERENCE, path)
    with (path / "config.yaml").open("a") as file:  # as versions with checksums end it
        file.write("# as the run began, sha256 of the lines above: 0\n")
    record = only(tmp_path)
    assert (record.state, record.problem) == (
        "damaged",
        "summary.json: not of this run; the run counts as not complete",
    )


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "- 1",
        "seed: 1",
        "experiment: 3",
        "x: *no",
        "\0",
        "[" * 5000,
        "a: &a [1,1,1,1,1,1,1,1]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\n"
        "c: &c [*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c]\n"
        "e: &e [*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e]\n"
        "g: &g [*f,*f,*f,*f,*f,*f,*f,*f]\nh: &h [*g,*g,*g,*g,*g,*g,*g,*g]\n"
        "i: [*h,*h,*h,*h,*h,*h,*h,*h]\nexperiment: x",
        "a: &a {x: *a}\nexperiment: x",
        "a: [{b: 1}]\nexperiment: x",
    ],
    ids=range(10),
)
def test_a_broken_config_is_told_or_no_runs(tmp_path: Path, content: str) -> None:
    path = make_run(tmp_path / "a" / "run", config=content)
    records, left_out = find_records([tmp_path])
    assert (records, len(left_out)) == ([], 1)
    assert "not a run directory" in left_out[0]
    (path / "environment.json").write_text("{}")
    record = only(tmp_path)
    assert (record.state, record.experiment, record.config_name) == ("damaged", "", "a")
    assert record.problem.startswith("config.yaml: damaged (")
    assert len(record.problem.splitlines()) == 1


def test_a_run_that_has_lost_its_config_is_damaged(tmp_path: Path) -> None:
    path = make_run(tmp_path / "a" / "run", environment={})
    (path / "checkpoints").mkdir()
    (path / "checkpoints" / "step=10.ckpt").touch()
    (path / "config.yaml").unlink()
    assert only(tmp_path).problem.startswith("config.yaml: missing; put it back with: iclgd resume ")


def test_environments_may_be_anything(tmp_path: Path) -> None:
    for number, environment in enumerate(({"packages": []}, {"packages": {"iclgd": 3}}, {"checksums": 3}, {})):
        make_run(tmp_path / "a" / f"{number}", summary={"loss": 1.0}, environment=environment)
    path = make_run(tmp_path / "a" / "none", summary={"loss": 1.0})
    (path / "environment.json").write_text("{")
    assert {(record.state, record.version) for record in find_records([tmp_path])[0]} == {("complete", "")}


def test_links_are_followed_and_each_run_is_found_once(tmp_path: Path) -> None:
    run = make_run(tmp_path / "runs" / "a" / "20260131-120000-abcdef")
    (tmp_path / "runs" / "a" / "latest").symlink_to(run)
    (tmp_path / "runs" / "0_loop").symlink_to(tmp_path / "runs")
    (tmp_path / "runs" / "nowhere").symlink_to(tmp_path / "nowhere")
    elsewhere = make_run(tmp_path / "scratch" / "b" / "run")
    (tmp_path / "runs" / "b").symlink_to(elsewhere.parent)
    records, left_out = find_records([tmp_path / "runs", run, tmp_path / "runs" / "a"])
    assert [record.path for record in records] == [run, tmp_path / "runs" / "b" / "run"]
    assert left_out == []


def test_what_is_within_a_run_or_hidden_is_no_run(tmp_path: Path) -> None:
    run = make_run(tmp_path / "a" / "run")
    make_run(run / "wandb" / "files")
    make_run(tmp_path / "a" / ".unfinished")
    assert only(tmp_path).path == run


def test_trials_know_their_sweep(tmp_path: Path) -> None:
    sweep = tmp_path / "sweeps" / "rates" / "20260131-120000-abcd"
    make_run(sweep / "runs" / "debug" / "abcd-0001")
    assert only(tmp_path).sweep is None
    (sweep / "options.json").write_text("{}")
    assert (only(tmp_path).sweep, only(sweep).config_name) == (sweep, "debug")


def test_a_folder_that_is_not_there_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    records, left_out = find_records([tmp_path / "nowhere", tmp_path / "file"])
    assert (records, left_out) == (
        [],
        [f"{tmp_path / 'nowhere'}: no such folder", f"{tmp_path / 'file'}: Not a directory"],
    )


def test_a_run_that_fails_says_why_until_it_goes_on(
    cli: Callable[..., tuple[int, str, str]], small_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from iclgd.modules.regression import RegressionModule

    with monkeypatch.context() as patch:
        patch.setattr(RegressionModule, "on_train_batch_start", lambda *_: 1 / 0, raising=False)
        with pytest.raises(ZeroDivisionError):
            cli("run", small_config)
    record = only(tmp_path / "runs")
    assert (record.state, record.problem) == ("failed", "division by zero")
    assert cli("resume", record.path)[0] == 0
    record = only(tmp_path / "runs")
    assert (record.state, record.problem) == ("complete", "")
    assert not (record.path / FAILURE).exists()
