import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from iclgd.checks import InputError
from iclgd.runs.opening import config_and_name
from iclgd.shipped import FILES, find, names, place, runs_are_called
from tests.conftest import ROOT

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_checkouts_own_files_are_found_each_by_a_name_of_one_word_but_variants() -> None:
    assert place() == ROOT
    for kind in FILES:
        found = names(kind)
        assert found
        assert {name.partition("/")[0] for name in found if "/" in name} <= {"dai2023"}
        assert set(found.values()) == set(ROOT.glob(FILES[kind]))


def test_names_with_their_folder_are_found_too() -> None:
    assert find("config", "text/sst2") == find("config", "sst2") == ROOT / "configs" / "text" / "sst2.yaml"
    published = ROOT / "configs" / "text" / "dai2023" / "sst2.yaml"
    assert find("config", "dai2023/sst2") == find("config", "text/dai2023/sst2") == published


def test_runs_of_a_variant_are_told_from_those_of_the_config_of_its_name(tmp_path: Path) -> None:
    assert config_and_name(Path("sst2"))[1] == "sst2"
    published = ROOT / "configs" / "text" / "dai2023" / "sst2.yaml"
    assert config_and_name(Path("dai2023/sst2")) == config_and_name(published) == (published, "dai2023_sst2")
    assert runs_are_called()["dai2023_sst2"] == published
    own = tmp_path / "sst2.yaml"
    own.write_text("experiment: text\n")
    assert config_and_name(own)[1] == "sst2"


def test_a_path_wins_over_a_name(tmp_path: Path) -> None:
    own = tmp_path / "one_layer"
    own.write_text("experiment: regression\n")
    assert find("config", "one_layer") == Path("one_layer")
    own.unlink()
    own.mkdir()  # of runs, say: no config
    assert find("config", "one_layer") == ROOT / "configs" / "regression" / "one_layer.yaml"


def test_names_of_several_files_must_be_said_with_their_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("a", "b"):
        (tmp_path / "configs" / folder).mkdir(parents=True)
        (tmp_path / "configs" / folder / "both.yaml").touch()
    monkeypatch.setattr("iclgd.shipped.place", lambda: tmp_path)
    assert sorted(names("config")) == ["a/both", "b/both"]
    assert find("config", "b/both") == tmp_path / "configs" / "b" / "both.yaml"
    with pytest.raises(InputError, match=r"^both: several configs have this name; say which: a/both or b/both$"):
        find("config", "both")


@pytest.mark.parametrize(
    ("kind", "given", "message"),
    [
        ("config", "one_lair", "one_lair: no config of this name and no such file; did you mean one_layer?"),
        ("sweep", "smok", "smok: no sweep of this name and no such file; did you mean smoke?"),
        ("config", "quite-different", "quite-different: no config of this name and no such file; see: iclgd list"),
        ("config", "my_own", "my_own: no config of this name and no such file; did you mean my_own.yaml?"),
        ("config", "x" * 5000, f"{'x' * 5000}: no config of this name and no such file; see: iclgd list"),
        (
            "config",
            "configs/regression/one_layer.yaml",
            "configs/regression/one_layer.yaml: no such file; did you mean one_layer, the config that comes "
            "with iclgd?",
        ),
    ],
)
def test_what_is_not_found_gets_one_line_with_a_suggestion(tmp_path: Path, kind: str, given: str, message: str) -> None:
    (tmp_path / "my_own.yaml").touch()
    with pytest.raises(InputError) as caught:
        find(kind, given)
    assert str(caught.value) == message


def test_commands_take_names_anywhere(cli: Cli) -> None:
    code, out, _ = cli("show-config", "one_layer", "seed=3")
    assert code == 0
    assert "seed: 3" in out
    assert cli("run", "one_lair")[0] == 2
    code, out, _ = cli("sweep", "smoke", "--dry-run")
    assert code == 0
    assert out.splitlines()[0].startswith("iclgd run debug trainer.max_steps=200 ")


def test_benchmarks_run_by_name_wherever_one_is(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "sweep.py").write_text("raise SystemExit('not this one')")
    command = [sys.executable, "-m", "iclgd", "bench", "sweep", "--help"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("usage: iclgd bench sweep")
    assert "did you mean sweep?" in cli("bench", "swep")[2]
