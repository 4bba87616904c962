import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import iclgd
from iclgd.shipped import names
from tests.conftest import ROOT
from tests.processes import NOT_FOR_READING, modules_after

Cli = Callable[..., tuple[int, str, str]]
COMMANDS = ("run", "show-config", "show-prompt", "resume", "list", "verify", "bench", "export", "track", "sweep")
ONE_LAYER = ROOT / "configs" / "regression" / "one_layer.yaml"


def test_help_names_every_command(cli: Cli) -> None:
    code, out, _ = cli("--help")
    assert code == 0
    assert all(re.search(rf"^ +{name}\b", out, re.MULTILINE) for name in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_shows_an_example(cli: Cli, command: str) -> None:
    code, out, _ = cli(command, "--help")
    assert code == 0
    assert f"example: iclgd {command}" in out


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["--version"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    script = f"import sys; from iclgd.cli import main\ntry: main({arguments})\nfinally: print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    loaded = set(done.stdout.splitlines()[-1].split())
    assert not loaded & {"torch", "lightning", "omegaconf", "wandb", "numpy", "rich"}


def test_what_reads_files_alone_does_without_torch(cli: Cli, tmp_path: Path) -> None:
    runs = ROOT / "tests" / "reference" / "runs"
    (text,) = (runs / "embedded").iterdir()
    other = shutil.copytree(text, tmp_path / "other")
    report = ["report", str(runs), "--out", str(tmp_path / "page.html")]
    assert cli(*report)[0] == 0  # what configs ship, once for a version, is known from here on
    loaded = modules_after(report, ["compare", str(text), str(other)])
    assert "numpy" in loaded
    assert not loaded & NOT_FOR_READING


def test_help_is_quick() -> None:
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "iclgd.cli", "--help"], capture_output=True, check=True)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", ONE_LAYER, "model.num_layer=2"], "command line: unknown key model.num_layer; did you mean"),
        (["run", ONE_LAYER, "trainer.max_steps=ten"], "command line: trainer.max_steps must be a whole number"),
        (["run", ONE_LAYER, "task.num_context=0"], "task.num_context must be at least 1, got 0"),
        (["run", "nowhere.yaml"], "nowhere.yaml: no such file"),
        (["run", ONE_LAYER, "tracking.mode=online"], "tracking.mode=online needs an API key"),
        (["show-config", "nowhere.yaml"], "nowhere.yaml: no such file"),
        (["resume", "nowhere"], "nowhere: not a run directory (it has no config.yaml)"),
        (["bench", "nothing"], "no benchmark 'nothing'; choose one of: "),
    ],
)
def test_mistakes_get_one_line_and_leave_nothing(
    cli: Cli, tmp_path: Path, arguments: list[object], message: str
) -> None:
    code, out, err = cli(*arguments)
    assert code == 2
    assert out == ""
    assert err.startswith(f"iclgd: {message}")
    assert err.count("\n") == 1
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    "arguments",
    [[], ["rum"], ["run"], ["run", ONE_LAYER, "--fast"], ["sweep", "x.yaml", "--workers", "\x1b"], ["resume", "-\n"]],
)
def test_wrong_usage_exits_with_2(cli: Cli, arguments: list[object]) -> None:
    code, _, err = cli(*arguments)
    assert code == 2
    assert err.startswith("iclgd: ")
    assert "; see: iclgd " in err
    assert err.count("\n") == 1


def test_defects_of_ours_keep_their_stack_trace(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("a defect")

    monkeypatch.setattr("iclgd.experiment.run", fail)
    with pytest.raises(AssertionError, match="a defect"):
        cli("run", ONE_LAYER)


def test_interruption_is_one_line(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("iclgd.experiment.run", interrupt)
    assert cli("run", ONE_LAYER) == (130, "", "iclgd: interrupted\n")


def test_show_config_prints_a_config_that_can_be_run(cli: Cli, tmp_path: Path) -> None:
    code, out, _ = cli("show-config", ONE_LAYER, "seed=5")
    assert code == 0
    assert "seed: 5" in out.splitlines()
    saved = tmp_path / "saved.yaml"
    saved.write_text(out)
    assert cli("show-config", saved) == (0, out, "")


def test_list_shows_every_choice(cli: Cli) -> None:
    code, out, _ = cli("list")
    assert code == 0
    for name in (*names("config"), *names("sweep")):
        assert re.search(rf"^(config|sweep) +{name} +\S", out, re.MULTILINE), name
    for choice in ("sine", "laplace", "rotated", "softmax", "64-true", "disabled", "least_squares", "dual_form"):
        assert re.search(rf" {choice} +\w", out), choice


def test_the_makefile_has_one_recipe_for_each_target() -> None:
    done = subprocess.run(["make", "--dry-run", "sweep", "bench"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert done.stdout.count("iclgd sweep smoke --launcher local --workers 2") == 1


def test_a_notebooks_drawing_backend_is_not_looked_for(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MPLBACKEND", "module://a_notebook.that_is_not_here")
    assert cli("list")[0] == 0
    assert os.environ["MPLBACKEND"] == "agg"  # before anything imports matplotlib


@pytest.mark.parametrize("command", [["-m", "iclgd"], ["-m", "iclgd.cli"]])
def test_the_version_is_that_of_the_package(command: list[str]) -> None:
    done = subprocess.run([sys.executable, *command, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"iclgd {iclgd.__version__}\n"


def test_close_commands_are_suggested(cli: Cli) -> None:
    assert cli("rum") == (2, "", "iclgd: no command 'rum'; did you mean run?; see: iclgd --help\n")
    assert cli("quite-different") == (2, "", "iclgd: no command 'quite-different'; see: iclgd --help\n")


@pytest.mark.parametrize(
    ("typed", "offered", "not_offered"),
    [
        ("iclgd ", {"run", "sweep", "list"}, {"sweep status"}),
        ("iclgd run one", {"one_layer "}, {"two_layer"}),
        ("iclgd sweep s", {"smoke", "status", "stop"}, {"best"}),
        ("iclgd sweep smoke --launcher ", {"local", "slurm"}, {"smoke"}),
        ("iclgd bench te", {"text "}, {"sweep"}),
    ],
)
def test_shells_are_told_names_and_choices(typed: str, offered: set[str], not_offered: set[str]) -> None:
    shell = {"COMP_LINE": typed, "COMP_POINT": str(len(typed)), "_ARGCOMPLETE": "1", "_ARGCOMPLETE_IFS": "|"}
    shell |= {"_ARGCOMPLETE_SHELL": "bash", "_ARGCOMPLETE_STDOUT_FILENAME": "/dev/stdout"}
    command = [sys.executable, "-m", "iclgd"]
    done = subprocess.run(command, env={**os.environ, **shell}, cwd=ROOT, capture_output=True, text=True, check=True)
    told = set(done.stdout.split("|"))
    assert offered <= told
    assert not not_offered & told
