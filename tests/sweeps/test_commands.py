"""``iclgd sweep`` as it is typed: what is printed, and what mistakes are told."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from iclgd.sweeps.launch.local import share
from iclgd.sweeps.trials.claims import raws_of
from iclgd.sweeps.trials.storage import open_sweep
from tests.conftest import ROOT
from tests.forked import Forked
from tests.sweeps.conftest import MakeSweep

Cli = Callable[..., tuple[int, str, str]]
SMOKE = ROOT / "sweeps" / "smoke.yaml"
QUICK = """\
method: METHOD
metric: {name: loss/transformer}
command: [iclgd, run, configs/regression/debug.yaml, "${args_no_hyphens}"]
parameters:
  training.learning_rate: {min: 0.01, max: 0.09}
  seed: {values: [0, 1]}
"""


@pytest.fixture(autouse=True)
def _at_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.yaml"], "nowhere.yaml: no such file"),
        (["stauts"], "stauts: no such file or action; did you mean: iclgd sweep status?"),
        ([SMOKE, "--workers", "0"], "--workers must be at least 1, got 0"),
        ([SMOKE, "--time-limit", "0"], "--time-limit must be positive, got 0"),
        ([SMOKE, "--time-limit", "nan"], "--time-limit must be positive, got nan"),
        ([SMOKE, "--grace", "nan"], "--grace must be at least 0, got nan"),
        ([SMOKE, "--nodes-per-trial", "2"], "--nodes-per-trial, --gpus-per-node and --sbatch need --launcher slurm"),
        ([SMOKE, "--count", "0"], "--count must be at least 1, got 0"),
        ([SMOKE, "--engine", "wandb"], "the W&B engine needs 'wandb login'"),
        ([SMOKE, "--resume"], f"no sweep of {SMOKE} to go on with; start it without --resume, or give its --dir"),
        ([SMOKE, "--resume", "--dir", "nowhere"], "nowhere: not a sweep's folder (it has no options.json)"),
        ([SMOKE, "--seed", str(10**30)], "--seed must be at most 4294967295, got 1000000000"),
        ([SMOKE, "--dir", "configs"], "configs: is there already and not a sweep's folder"),
        ([SMOKE, "--storage", "nonsense"], "--storage nonsense: cannot be used"),
        ([SMOKE, "modl.num_layers=2"], "command line: unknown key modl"),
        ([SMOKE, "--workers", "2", "seed=3"], "command line: seed=3: the sweep gives seed its values"),
        ([SMOKE, "--launcher", "slurm", "--dry-run", "--sbatch=nodes=3"], "--sbatch 'nodes=3': must be one option"),
        ([SMOKE, "--launcher", "slurm"], "sbatch not found: run this where Slurm's commands are"),
        ([SMOKE, "--launcher", "slurm", "--sbatch=--time=00:01:00"], "--sbatch --time=00:01:00: must be at least"),
        (["status", "configs"], "configs: not a sweep's folder (it has no options.json)"),
        (["stop", "nowhere"], "nowhere: not a sweep's folder (it has no options.json)"),
        (["best", "nowhere"], "nowhere: not a sweep's folder (it has no options.json)"),
        (["report", "nowhere"], "nowhere: not a sweep's folder (it has no options.json)"),
        (["upload", "nowhere"], "nowhere: not a sweep's folder (it has no options.json)"),
        (["work", "nowhere"], "nowhere: not a sweep's folder (it has no options.json)"),
    ],
)
def test_mistakes_get_one_line_and_leave_nothing(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[object], message: str
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))  # without Slurm's commands, where it is installed too
    code, out, err = cli("sweep", *arguments)
    assert code == 2
    assert out == ""
    assert err.splitlines()[-1].startswith(f"iclgd: {message}")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("method", ["random", "bayes"])
def test_a_search_without_end_is_refused(cli: Cli, tmp_path: Path, method: str) -> None:
    (tmp_path / "x.yaml").write_text(QUICK.replace("METHOD", method))
    code, _, err = cli("sweep", tmp_path / "x.yaml", "--engine", "local")
    assert code == 2
    assert f"a {method} search has no end: give --count K, or run_cap in the file" in err


def test_a_dry_run_prints_the_commands_of_the_trials(cli: Cli, tmp_path: Path) -> None:
    code, out, _ = cli("sweep", SMOKE, "--dry-run", "tracking.project=own")
    assert code == 0
    assert out.splitlines()[1] == (
        "iclgd run debug trainer.max_steps=200 training.learning_rate=0.001 seed=1 tracking.project=own"
    )
    assert len(out.splitlines()) == 4
    assert not (tmp_path / "runs").exists()


def test_a_dry_run_on_slurm_prints_the_script(cli: Cli, tmp_path: Path) -> None:
    code, out, _ = cli(
        *("sweep", SMOKE, "--dry-run", "--launcher", "slurm", "--workers", 3, "--nodes-per-trial", 2),
        *("--gpus-per-node", 4, "--sbatch=--partition=gpu"),
    )
    assert code == 0
    for line in ("--array=0-2", "--nodes=2", "--ntasks-per-node=4", "--gres=gpu:4", "--partition=gpu", "--requeue"):
        assert f"#SBATCH {line}" in out.splitlines()
    assert out.splitlines()[-1].startswith("exec ")
    assert not (tmp_path / "runs").exists()


def run(environment: dict[str, str], *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "iclgd.cli", "sweep", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def test_from_start_to_best(cli: Cli, quick_environment: dict[str, str], tmp_path: Path) -> None:
    code, out, err = Forked("sweep", SMOKE, "--workers", 2, **quick_environment).result()
    assert code == 0, err
    assert err.splitlines()[0] == "engine: local (no API key is configured)"
    assert err.splitlines()[-1].startswith("4 of 4 trials done")
    folder = Path(out.splitlines()[-1])
    assert folder.parent == tmp_path / "runs" / "sweeps" / "smoke"
    assert "4 of 4 trials done, 0 running" in out
    code, shown, _ = cli("sweep", "status", folder)
    assert code == 0
    assert "training.learning_rate=0.003 seed=0" in shown
    code, best, _ = cli("sweep", "best", folder)
    assert code == 0
    assert best.startswith("# best setting: training.learning_rate=0.003\n")
    code, best, _ = cli("sweep", "best", folder, "--trial")
    assert code == 0
    header, where, *_ = best.splitlines()
    assert header == f"# loss/transformer = {(0.003 - 0.01) ** 2!r} (training.learning_rate=0.003 seed=0)"
    config = yaml.safe_load(best)
    assert config["training.learning_rate"] == "0.003"  # as the quick trial writes it
    assert json.loads((Path(where.removeprefix("# ")) / "config.yaml").read_text()) == config
    code, _, stopped = cli("sweep", "stop", folder)
    assert (code, stopped.splitlines()[-1].partition(":")[0]) == (0, "finished")
    assert not (folder / "stop").exists()
    code, again, _ = cli("sweep", SMOKE, "--resume")  # the newest; there is nothing to do
    assert code == 0
    assert again.splitlines()[-1] == str(folder)


def test_a_changed_file_is_another_sweep(cli: Cli, make_sweep: MakeSweep, tmp_path: Path) -> None:
    folder = make_sweep(QUICK.replace("METHOD", "random"), count=2)
    (tmp_path / "quick.yaml").write_text(QUICK.replace("METHOD", "random").replace("0.09", "0.08"))
    code, _, err = cli("sweep", tmp_path / "quick.yaml", "--resume", "--dir", folder.path)
    assert code == 2
    assert "quick.yaml has changed since this sweep began; start a new one" in err


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--engine", "local", "--workers", "2", "--count", "2", "--seed", "0", "tracking.project=own"], None),
        (["--engine", "auto"], None),
        (["--engine", "wandb"], "--engine wandb: this sweep was started with --engine local, which holds for all"),
        (["--seed", "1"], "--seed 1: this sweep was started with --seed 0, which holds for all of it"),
        (["--count", "3"], "--count 3: this sweep was started with --count 2, which holds for all of it"),
        (["--storage", "sqlite://u:secret@x"], "--storage sqlite://u:***@x: this sweep was started with none"),
        (["tracking.project=other"], "tracking.project=other: this sweep was started with tracking.project=own; start"),
    ],
)
def test_options_retyped_on_resume_have_to_agree(
    cli: Cli,
    make_sweep: MakeSweep,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    given: list[str],
    message: str | None,
) -> None:
    folder = make_sweep(QUICK.replace("METHOD", "random"), count=2, overrides=("tracking.project=own",))
    monkeypatch.setattr("iclgd.sweeps.start._launch", lambda *_: "launched")
    code, _, err = cli("sweep", tmp_path / "quick.yaml", "--resume", "--dir", folder.path, *given)
    assert code == (2 if message else 1)
    assert err.splitlines()[-1].startswith(f"iclgd: {message or 'launched'}")


def test_a_worker_is_not_named_out_of_its_folder(cli: Cli, make_sweep: MakeSweep) -> None:
    folder = make_sweep(QUICK.replace("METHOD", "random"), count=2)
    code, _, err = cli("sweep", "work", folder.path, "--worker", "../x")
    assert (code, err) == (2, "iclgd: --worker must be a name that a file can have, got '../x'\n")


def test_best_without_a_trial_or_a_metric(cli: Cli, make_sweep: MakeSweep, tmp_path: Path) -> None:
    folder = make_sweep(QUICK.replace("METHOD", "random"), count=2)
    code, _, err = cli("sweep", "best", folder.path)
    assert code == 2
    assert err == f"iclgd: {folder.path}: no trial is done yet, or the best one's run directory is gone\n"
    nameless = make_sweep(
        QUICK.replace("METHOD", "random").replace("metric: {name: loss/transformer}\n", ""),
        count=2,
        path=tmp_path / "other",
    )
    code, _, err = cli("sweep", "best", nameless.path)
    assert code == 2
    assert "it names no metric" in err


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda lines: [*lines[:1], "{", *lines[1:]], "damaged; not even its whole lines are all entries"),
        (lambda lines: [*lines, '{"op_code":99}'], "damaged; not even its whole lines are all entries"),
        (lambda lines: [*lines, "[]"], "damaged; not even its whole lines are all entries"),
        (lambda lines: lines[:2], "its trials are not in"),  # cut off before their number
        (lambda _: [], "its trials are not in"),
    ],
)
@pytest.mark.parametrize("command", ["status", "best", "work"])
def test_a_damaged_journal_is_named(
    cli: Cli, make_sweep: MakeSweep, damage: Callable[[list[str]], list[str]], message: str, command: str
) -> None:
    folder = make_sweep(QUICK.replace("METHOD", "random"), count=2)
    lines = damage(folder.journal.read_text().splitlines())
    folder.journal.write_text("".join(f"{line}\n" for line in lines))
    code, out, err = cli("sweep", command, folder.path)
    assert (code, out) == (2, "")
    (line,) = err.splitlines()
    assert line.startswith(f"iclgd: {folder.path}")
    assert message in line


@pytest.mark.slow
def test_a_database_can_keep_the_trials(quick_environment: dict[str, str], tmp_path: Path) -> None:
    url, folder = f"sqlite:///{tmp_path / 'trials.db'}", tmp_path / "folder"
    done = run(quick_environment, SMOKE, "--workers", 2, "--engine", "local", "--storage", url, "--dir", folder)
    assert done.returncode == 0, done.stderr
    assert not (folder / "journal.log").exists()
    assert "4 of 4 trials done" in done.stdout


def test_cores_and_gpus_are_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    shares = [share(index, 3, {"COLOUR": "blue"}, num_gpus=8) for index in range(3)]
    assert [each["OMP_NUM_THREADS"] for each in shares] == ["2", "2", "2"]
    assert [each["CUDA_VISIBLE_DEVICES"] for each in shares] == ["0,3,6", "1,4,7", "2,5"]
    assert all(each["COLOUR"] == "blue" for each in shares)
    crowded = [share(index, 16, {"CUDA_VISIBLE_DEVICES": "5,7"}, num_gpus=2) for index in range(16)]
    assert {each["OMP_NUM_THREADS"] for each in crowded} == {"1"}
    assert [each["CUDA_VISIBLE_DEVICES"] for each in crowded[:4]] == ["5", "7", "5", "7"]
    assert "CUDA_VISIBLE_DEVICES" not in share(0, 2, {}, num_gpus=0)


def test_random_points_are_the_planned_ones(cli: Cli, make_sweep: MakeSweep, tmp_path: Path) -> None:
    folder = make_sweep(QUICK.replace("METHOD", "random"), count=3)
    sweep, trials = open_sweep(folder)
    planned = [" ".join(sweep.overrides(raws_of(trial))) for trial in trials.latest()]
    code, out, _ = cli("sweep", tmp_path / "quick.yaml", "--dry-run", "--count", 3)
    assert code == 0
    assert [line.split("debug.yaml ")[1] for line in out.splitlines()] == planned
