import json
import multiprocessing
from pathlib import Path

import pytest

from iclgd.files import write_atomically
from iclgd.tracking.run_directory import RunDirectory, RunDirectoryError


def create(name: str = "config") -> RunDirectory:
    return RunDirectory.create(name, "experiment: regression\n", {"python": "3"})


def test_create_makes_the_first_files(tmp_path: Path) -> None:
    directory = create()
    assert directory.path.parent == tmp_path / "runs" / "config"
    assert sorted(path.name for path in directory.path.iterdir()) == ["config.yaml", "environment.json"]
    assert directory.read_summary() is None
    assert directory.last_checkpoint() is None
    assert create().path != directory.path


def test_runs_go_below_the_current_directory_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ICLGD_RUNS")
    monkeypatch.chdir(tmp_path)
    assert create().path.parent == tmp_path / "runs" / "config"


def test_a_failed_creation_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        RunDirectory.create("config", "", {"not json": object()})
    assert list((tmp_path / "runs" / "config").iterdir()) == []


def test_a_sweep_chooses_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_RUN_ID", "1a2b3c-0007")
    assert create().path == tmp_path / "runs" / "config" / "1a2b3c-0007"
    monkeypatch.setenv("WANDB_RUN_ID", "")
    assert create().path.name != "1a2b3c-0007"


@pytest.mark.parametrize("run_id", ["a/b", "..", ".hidden", "-n", "a b", "a\n", "a:b", "a#b", "ü", "x" * 129])
def test_names_that_cannot_be_are_refused(run_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_RUN_ID", run_id)
    with pytest.raises(RunDirectoryError, match=r"^WANDB_RUN_ID must be") as error:
        create()
    assert "\n" not in str(error.value)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("content", [None, "run.txt"])
def test_what_is_there_is_not_replaced(content: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_RUN_ID", "taken")
    taken = tmp_path / "runs" / "config" / "taken"
    taken.mkdir(parents=True)
    if content:
        (taken / content).touch()
    with pytest.raises(RunDirectoryError, match=r"taken: is there already; WANDB_RUN_ID must be new"):
        create()
    assert [path.name for path in taken.iterdir()] == ([content] if content else [])
    assert [path.name for path in taken.parent.iterdir()] == ["taken"]


def test_of_two_with_one_name_only_the_first_gets_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_RUN_ID", "same")
    first = tmp_path / "runs" / "config" / "same"

    def another_process_is_faster(_: object) -> str:
        first.mkdir()
        (first / "config.yaml").write_text("of the first")
        return "{}"

    monkeypatch.setattr("iclgd.tracking.run_directory._to_json", another_process_is_faster)
    with pytest.raises(RunDirectoryError, match="WANDB_RUN_ID"):
        create()
    assert (first / "config.yaml").read_text() == "of the first"
    assert [path.name for path in first.parent.iterdir()] == ["same"]


def test_other_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RunDirectoryError, match="not a run directory"):
        RunDirectory(tmp_path)


def test_metrics_are_lines_and_a_cut_line_is_left_out() -> None:
    directory = create()
    assert directory.read_metrics() == []
    for step in (100, 200):
        directory.append_metrics(step, {"loss": 0.5})
    with (directory.path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 300, "lo')
    assert directory.read_metrics() == [{"step": 100, "loss": 0.5}, {"step": 200, "loss": 0.5}]
    directory.forget_metrics_after(100)
    assert (directory.path / "metrics.jsonl").read_text() == '{"step": 100, "loss": 0.5}\n'


def test_summary_is_sorted_json() -> None:
    directory = create()
    directory.write_summary({"b": 2.0, "a": 1.0})
    assert list(json.loads((directory.path / "summary.json").read_text())) == ["a", "b"]
    assert directory.read_summary() == {"a": 1.0, "b": 2.0}


def test_last_checkpoint_is_by_number() -> None:
    directory = create()
    directory.checkpoints.mkdir()
    for step in (900, 1000):
        (directory.checkpoints / f"step={step}.ckpt").touch()
    last = directory.last_checkpoint()
    assert last is not None
    assert directory.step_of(last) == 1000


def test_interrupted_writing_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def write_half() -> None:
        with write_atomically(path) as file:
            file.write(b"half of the new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    with pytest.raises(OSError) as error, write_atomically(tmp_path / "file"):
        raise OSError(28, "No space left on device")
    assert error.value.filename == str(tmp_path / "file")


def _try_lock(path: Path) -> None:
    try:
        with RunDirectory(path).lock():
            raise SystemExit(0)
    except RunDirectoryError:
        raise SystemExit(7) from None


def test_only_one_process_works_on_a_run() -> None:
    directory = create()
    context = multiprocessing.get_context("spawn")
    codes = []
    with directory.lock():
        other = context.Process(target=_try_lock, args=(directory.path,))
        other.start()
        other.join()
        codes.append(other.exitcode)
    other = context.Process(target=_try_lock, args=(directory.path,))
    other.start()
    other.join()
    assert [*codes, other.exitcode] == [7, 0]
