import csv
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from iclgd.checks import InputError
from iclgd.runs import bases
from iclgd.runs.bases import Base, Bases, default_values, differences
from iclgd.runs.cache import cache_folder, read_cache, write_cache
from iclgd.runs.columns import aligned
from iclgd.runs.filters import filtered
from iclgd.runs.index import RunIndex
from iclgd.runs.listed import Listed, listed, ordered
from iclgd.runs.records import RunRecord, Value, find_records
from iclgd.runs.search import Found

Cli = Callable[..., tuple[int, str, str]]
NAN = float("nan")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def make_run(path: Path, seed: int, summary: str | None = '{"loss/gd": 0.5}', rate: str = "0.001") -> Path:
    path.mkdir(parents=True)
    (path / "config.yaml").write_text(
        f"experiment: regression\nseed: {seed}\ntask: {{name: linear}}\ntraining: {{learning_rate: {rate}}}\n"
    )
    if summary is not None:
        (path / "summary.json").write_text(summary)
    settled = time.time() - 3600
    for each in (*path.iterdir(), path):
        os.utime(each, (settled, settled))
    return path


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Return a folder of five runs: seeds 0 to 4."""
    folder = tmp_path / "runs"
    make_run(folder / "debug" / "20200101-000000-a", 0)
    make_run(folder / "debug" / "20200102-000000-b", 1, '{"loss/gd": 10, "x": 1}', "0.003")
    make_run(folder / "mine" / "20200103-000000-c", 2, '{"loss/gd": NaN}')
    make_run(folder / "mine" / "20200104-000000-d", 3, None)
    make_run(folder / "mine" / "20200105-000000-e", 4, '{"loss/gd": 2')
    return folder


def names(out: str) -> list[str]:
    return [line.split()[0][-1] for line in out.splitlines()[1:]]


def test_a_table_has_a_line_for_each_run_the_newest_first(cli: Cli, runs: Path) -> None:
    code, out, err = cli("runs")
    assert code == 0
    lines = out.splitlines()
    assert lines[0].split() == ["name", "state", "config", "loss/gd", "age", "differs"]
    assert names(out) == ["e", "d", "c", "b", "a"]
    assert lines[1].split()[:3] == ["mine/20200105-000000-e", "damaged", "mine"]
    assert lines[4].endswith("seed=1 training.learning_rate=0.003")
    assert "(from the defaults) seed=2" in lines[3]
    assert "mine/20200105-000000-e: damaged: summary.json: damaged (not JSON)" in err


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (["state=complete"], "cba"),
        (["state!=complete"], "ed"),
        (["config=mine", "seed<4"], "dc"),
        (["seed>=1", "seed<=2"], "cb"),
        (["training.learning_rate=3e-3"], "b"),
        (["training.learning_rate!=0.001"], "b"),
        (["task.name=linear", "debug"], "ba"),
        (["loss/gd>1"], "b"),
        (["loss/gd=nan"], "c"),
        (["loss/gd!=0.5"], "cb"),
        (["experiment=regression", "age>1d", "0104"], "d"),
        (["age<1d"], ""),
        (["x!=2"], "b"),
    ],
)
def test_filters(cli: Cli, runs: Path, filters: list[str], expected: str) -> None:
    code, out, _ = cli("runs", "--columns", "name", *filters)  # behind options, too
    assert (code, "".join(names(out))) == (0, expected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sead=1"], "'sead': no run has such a key"),
        (["learning_rate=1"], "did you mean training.learning_rate?"),
        (["state=done"], "state must be one of: complete, running, interrupted, failed, damaged"),
        (["age<soon"], "an age must be a number with one of"),
        (["age=2d"], "an age can be compared by <, >, <=, >= alone"),
        (["seed<many"], "'seed<many': < compares numbers, and 'many' is none"),
        (["seed<nan"], "< compares numbers"),
        (["--sort", "loss/g"], "did you mean loss/gd?"),
        (["--columns", "name,begin"], "did you mean begun?"),
        (["--limit", "-1"], "--limit must be at least 0"),
        (["--dir", "nowhere"], "--dir nowhere: no such folder"),
    ],
)
def test_bad_input_is_one_line(cli: Cli, runs: Path, arguments: list[str], message: str) -> None:
    code, out, err = cli("runs", *arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert len(err.splitlines()) == 1


def test_numbers_are_ordered_as_numbers_and_nan_is_last(cli: Cli, runs: Path) -> None:
    order = names(cli("runs", "--sort", "loss/gd", "--columns", "name")[1])
    assert order[:3] == ["a", "b", "c"]
    back = names(cli("runs", "--sort", "loss/gd", "--reverse", "--columns", "name")[1])
    assert back[:3] == ["b", "a", "c"]
    assert set(order[3:]) == set(back[3:]) == {"d", "e"}
    assert names(cli("runs", "--sort", "config", "--limit", "2", "--columns", "name")[1]) == ["a", "b"]


def test_values_of_several_kinds_are_ordered_too() -> None:
    values: list[Value] = ["b", 10, None, 9.5, True, NAN, "a", (1, 2)]
    runs = [Listed(RunRecord(Path(f"/{i}"), "complete", {"k": each}), f"{i}", None) for i, each in enumerate(values)]
    runs.append(Listed(RunRecord(Path("/x"), "complete"), "x", None))
    assert [run.record.config.get("k") for run in ordered(runs, "k")][:-3] == [True, 9.5, 10, (1, 2), "a", "b"]
    assert [run.name for run in ordered(runs, "k")][-3:] == ["2", "5", "x"]
    assert [run.name for run in filtered(runs, ["k=[1, 2]"])] == ["7"]
    assert [run.name for run in filtered(runs, ["k=true"])] == ["4"]
    assert [run.name for run in filtered(runs, ["k>9"])] == ["1", "3"]


def test_json_and_csv_are_for_scripts(cli: Cli, runs: Path) -> None:
    code, out, _ = cli("runs", "--json", "--sort", "seed")
    content = json.loads(out)
    assert (code, [each["values"]["seed"] for each in content]) == (0, [0, 1, 2, 3, 4])
    assert (content[2]["summary"], content[1]["differs_from"]) == ({"loss/gd": None}, "config debug")
    assert content[1]["differs"] == {"seed": [1, 0], "training.learning_rate": [0.003, 0.001]}
    assert content[0]["path"] == str(runs / "debug" / "20200101-000000-a")
    code, out, _ = cli("runs", "--csv", "--sort", "seed", "--columns", "name,loss/gd,seed,differs,begun")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [row["loss/gd"] for row in rows] == ["0.5", "10.0", "nan", "", ""]
    assert rows[1]["differs"] == "seed=1 training.learning_rate=0.003"
    assert json.loads(cli("runs", "--json", "--columns", "seed,loss/gd", "seed=2")[1]) == [{"seed": 2, "loss/gd": None}]


def test_no_runs_is_no_error(cli: Cli, tmp_path: Path) -> None:
    code, out, err = cli("runs", "anything=1")
    assert (code, out) == (0, "")
    assert "no runs below" in err
    assert cli("runs", "--json")[:2] == (0, "[]\n")


def test_names_and_values_of_strangers_are_escaped(cli: Cli, tmp_path: Path) -> None:
    path = make_run(tmp_path / "runs" / "a\x1b[2J\u202e" / "20200101-000000-a", 0)
    (path / "config.yaml").write_text('experiment: regression\ntask: {name: "<script>\\e]0;x\\a"}\nseed: ' + "9" * 3000)
    code, out, _ = cli("runs", "--columns", "name,task.name,seed")
    assert code == 0
    assert all(line.isprintable() for line in out.splitlines())
    assert max(map(len, out.splitlines())) < 600
    code, out, _ = cli("runs")
    assert (code, "(its experiment is not known here)" in out) == (0, True)


def test_columns_fit_a_terminal() -> None:
    rows = [["name", "n", "text"], ["a", "10", "x" * 100], ["文字", "9", "y"]]
    lines = aligned(rows, 40, to_cut=[2])
    assert lines[0] == "name   n  text"
    assert len(lines[1]) == 40
    assert lines[1].endswith("x…")
    assert lines[2] == "文字   9  y"


def test_what_has_not_changed_is_not_read_again(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = RunIndex([runs])
    expected, _ = find_records([runs], first)
    first.save()
    reads: list[Path] = []
    from iclgd.runs import records

    read = records._read

    def noted(path: Path) -> RunRecord | str:
        reads.append(path)
        return read(path)

    monkeypatch.setattr(records, "_read", noted)
    again = RunIndex([runs])
    found, _ = find_records([runs], again)
    assert [repr(each) for each in found] == [repr(each) for each in expected]  # NaN is not equal to itself
    assert reads == []
    changed = runs / "debug" / "20200101-000000-a"
    (changed / "summary.json").write_text('{"loss/gd": 0.7}')
    (runs / "debug" / "20200102-000000-b").rename(runs / "mine" / "20200102-000000-b")
    again = RunIndex([runs])
    found, _ = find_records([runs], again)
    assert {path.name for path in reads} == {"20200101-000000-a", "20200102-000000-b"}
    assert found[0].summary == {"loss/gd": 0.7}
    again.save()
    reads.clear()
    find_records([runs], RunIndex([runs]))  # what was written just now may be written again within its time's tick
    assert {path.name for path in reads} == {"20200101-000000-a"}


@pytest.mark.parametrize("damage", ["empty", "cut", "other", "binary"])
def test_a_damaged_cache_is_made_again(cli: Cli, runs: Path, damage: str) -> None:
    whole = cli("runs", "--columns", "name,seed")[1]
    folder = cache_folder()
    assert folder is not None
    for file in folder.iterdir():
        text = file.read_text()
        file.write_bytes({"empty": b"", "cut": text[:-20].encode(), "other": b"{}", "binary": b"\xff\0" * 99}[damage])
    assert cli("runs", "--columns", "name,seed")[:2] == (0, whole)
    assert isinstance(read_cache(RunIndex([runs])._name), dict)


def test_without_a_folder_that_can_be_written_there_is_no_cache(
    cli: Cli, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
    write_cache("x", 1)
    assert read_cache("x") is None
    assert cli("runs", "--columns", "name", "seed=1")[0] == 0
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # which the standard says to leave alone
    assert cache_folder() == Path.home() / ".cache" / "iclgd"


def test_bases_are_resolved_once_for_a_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = RunRecord(tmp_path / "one_layer" / "a", "complete", {"experiment": "regression", "task.name": "linear"})
    told: list[int] = []
    first = Bases(lambda: told.append(1))
    base = first.of(record)
    first.save()
    assert base is not None
    assert (base.name, base.values["trainer.max_steps"], base.values["task.num_context"]) == (
        "config one_layer",
        5000,
        10,
    )
    assert Bases(lambda: told.append(2)).of(record) == base
    monkeypatch.setattr(bases, "_fingerprint", lambda: "another version")
    assert Bases(lambda: told.append(3)).of(record) == base
    assert told == [1, 3]


def test_another_task_is_compared_with_its_own_defaults(tmp_path: Path) -> None:
    values = default_values("regression", {"task": "sine"})
    assert values["task.name"] == "sine"
    record = RunRecord(tmp_path / "mine" / "a", "complete", values | {"task.num_context": 3, "later": 1})
    base = Bases().of(record)
    assert base is not None
    assert differences(record, base) == {"task.num_context": (3, values["task.num_context"])}
    assert (
        Bases().of(RunRecord(tmp_path / "a" / "b", "complete", {"experiment": "regression", "task.name": "no"})) is None
    )


def test_values_are_compared_with_their_kinds() -> None:
    record = RunRecord(
        Path("/a/b"), "complete", {"a": 1, "b": True, "c": NAN, "d": None, "e": 1.0, "tracking.mode": "x"}
    )
    base = Base("", {"a": 1.0, "b": 1, "c": NAN, "d": 0, "e": 2.0, "tracking.mode": "y"})
    assert set(differences(record, base)) == {"b", "d", "e"}


def test_names_are_below_one_folder_and_paths_of_several(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = RunRecord(tmp_path / "runs" / "a" / "b", "complete")
    monkeypatch.chdir(tmp_path)
    assert listed([record], [Path("runs")])[0].name == "a/b"
    assert listed([record], [Path("runs"), Path("other")])[0].name == "runs/a/b"
    monkeypatch.chdir("/")
    assert listed([record], [record.path])[0].name == str(record.path).removeprefix("/")


def test_no_torch_is_imported_for_what_is_known(cli: Cli, runs: Path) -> None:
    code = (
        "import sys; from iclgd.cli import main; code = main(['runs']); "
        "sys.exit(code or 'torch' in sys.modules or 'numpy' in sys.modules)"
    )
    assert cli("runs")[0] == 0  # resolves configs
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr


@pytest.mark.slow
def test_ten_thousand_runs_are_listed_in_two_seconds_the_second_time(tmp_path: Path) -> None:
    for number in range(10_000):
        make_run(tmp_path / "runs" / f"debug{number % 7}" / f"20200101-000000-{number:05}", number)
    seconds = []
    for _ in range(2):
        begun = time.perf_counter()
        subprocess.run([sys.executable, "-m", "iclgd", "runs"], check=True, capture_output=True)
        seconds.append(time.perf_counter() - begun)
    assert seconds[1] < 2, seconds


def test_an_index_forgets_runs_that_are_gone(runs: Path) -> None:
    known = RunIndex([runs])
    find_records([runs], known)
    known.save()
    for file in (runs / "debug" / "20200101-000000-a").iterdir():
        file.unlink()
    again = RunIndex([runs])
    assert len(find_records([runs], again)[0]) == 4
    again.save()
    assert len(read_cache(again._name)["runs"]) == 4
    assert RunIndex([runs]).recall(Found(str(runs / "debug" / "20200101-000000-a"), "", 0.0)) is None


def test_a_filter_that_cannot_be_read_is_refused() -> None:
    with pytest.raises(InputError):
        filtered([], ["age<1"])
