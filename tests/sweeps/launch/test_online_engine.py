"""Whole sweeps of W&B's engine, with its own agents, against a stand-in for its server."""

import os
import signal
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from iclgd.sweeps.file import schema
from iclgd.sweeps.launch import online
from iclgd.sweeps.trials.folder import SweepFolder, SweepOptions
from tests.conftest import ROOT
from tests.forked import Forked
from tests.sweeps.conftest import start_sweep
from tests.sweeps.test_faults import events, finish, survivors, wait_for, worker_pids
from tests.wandb_server import WandbServer
from tests.wandb_sweeps import Sweeps

REAL = f"""\
method: grid
metric: {{name: loss/transformer, goal: minimize}}
command: [iclgd, run, {ROOT}/configs/regression/debug.yaml, trainer.max_steps=50, "${{args_no_hyphens}}"]
parameters:
  training: {{parameters: {{learning_rate: {{values: [0.00001, 0.003, 0.1]}}}}}}
  seed: {{value: 0}}
"""
QUICK = f"""\
method: grid
metric: {{name: loss/transformer}}
command: [iclgd, run, {ROOT}/configs/regression/debug.yaml, "${{args_no_hyphens}}"]
parameters:
"""
Cli = Callable[..., tuple[int, str, str]]
Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def server() -> Iterator[WandbServer]:
    with WandbServer() as server:
        yield server
    assert server.unknown_operations == []


@pytest.fixture
def sweeps(server: WandbServer) -> Sweeps:
    return Sweeps(server)


@pytest.fixture
def environment(
    server: WandbServer, quick_environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, str]:
    account = {"WANDB_BASE_URL": server.url, "WANDB_API_KEY": "0" * 40}
    for name in ("WANDB_ENTITY", "WANDB_PROJECT"):  # W&B's client sets them; so they are unset afterwards
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    for name, value in account.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    return {**quick_environment, **account}


@pytest.fixture
def start(environment: dict[str, str], record: Path, tmp_path: Path) -> Iterator[Start]:
    """Start ``iclgd sweep`` in a folder of its own; nothing of it may outlive the test."""

    def run(*arguments: object, **further: str) -> subprocess.Popen[str]:
        return start_sweep(arguments, tmp_path, {**environment, **further})

    yield run
    assert not survivors(record), "processes are left"


def test_a_point_is_a_finished_run(
    server: WandbServer, sweeps: Sweeps, environment: dict[str, str], cli: Cli, tmp_path: Path
) -> None:
    del environment["QUICK_RECORD"]  # a real trial
    file, folder = tmp_path / "x.yaml", tmp_path / "D"
    file.write_text(REAL)
    code, out, err = Forked("sweep", file, "--count", 1, "--dir", folder, **environment).result()
    assert code == 0, err
    assert err.splitlines()[0] == f"engine: W&B ({server.url} answers)"
    (sweep,) = sweeps.values()
    assert len(sweep.agents) == 1
    (run,) = sweeps.runs(sweep.name)
    assert run.config["training"]["learning_rate"] == 0.00001
    assert (run.state, run.exit_code, run.config["seed"]) == ("finished", 0, 0)
    assert "loss/transformer" in run.summary
    assert (folder / "runs" / "debug" / run.name / "summary.json").exists()
    assert sorted(path.name for path in tmp_path.iterdir() if path.name in ("wandb", "runs")) == []
    setting = "training.learning_rate=1e-05 seed=0"
    assert f"1 of 1 trials done, 0 running, best {run.summary['loss/transformer']:.6g} ({setting})" in out
    assert out.splitlines()[-1] == str(folder)

    code, shown, err = cli("sweep", "status", folder)
    assert code == 0, err
    assert setting in shown
    code, shown, err = cli("sweep", "best", folder)
    assert code == 0, err
    assert shown.startswith(f"# loss/transformer = {run.summary['loss/transformer']!r} ({setting})\n")
    assert yaml.safe_load(shown)["seed"] == 0


def make(file: Path, path: Path) -> SweepFolder:
    """Make a sweep as ``iclgd sweep`` does, but without the seconds that checking a config takes."""
    sweep = schema.read(file)
    online_path = online.create(sweep.content, online.trial_command([], sweep.config, sweep.fixed, []), "project", None)
    options = SweepOptions("x", "abc123", "wandb", str(file.parent), wandb=online_path, num_trials=sweep.num_points)
    return SweepFolder.create(path, sweep.text, options, lambda _: None)


@pytest.mark.usefixtures("environment")
def test_a_trial_that_fails_is_named(sweeps: Sweeps, start: Start, cli: Cli, tmp_path: Path, record: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(QUICK + "  tracking.project: {values: [raise, ok]}\n  seed: {values: [0, 1]}\n")
    folder = make(file, tmp_path / "D").path
    again = (file, "--resume", "--dir", folder)
    code, out, err = finish(start(*again, "--workers", 2))
    assert code == 1
    (sweep,) = sweeps.values()
    assert len(sweep.agents) == 2
    assert len(sweep.handed_out) == 4
    failed = [run for run, point in sweep.handed_out.items() if point["tracking.project"] == "raise"]
    assert len(failed) == 2
    for run in failed:
        assert f"failed: {run} (" in err
    assert "it broke" in err
    assert "iclgd: 2 of 4 trials failed; go on with: iclgd sweep" in err
    assert "2 of 4 trials done, 0 running, 2 failed, best " in out
    code, shown, err = cli("sweep", "best", folder)  # of the two that are done
    assert code == 0, err
    assert "# loss/transformer: mean 1.5, " in shown
    assert "# best single trial: 0.9801 (" in shown
    code, _, err = finish(start(*again))  # they get another chance, once
    assert code == 1
    assert events(record, "begins") == Counter(dict.fromkeys(sweep.handed_out, 1) | dict.fromkeys(failed, 2))
    assert set(events(record, "ends").values()) == {1}


@pytest.mark.slow
@pytest.mark.parametrize("how", ["after", "now", "Ctrl-C"])
@pytest.mark.usefixtures("environment")
def test_what_is_interrupted_goes_on(
    how: str, sweeps: Sweeps, start: Start, cli: Cli, tmp_path: Path, record: Path
) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(QUICK + "  seed: {values: [0, 1, 2]}\n")
    folder = make(file, tmp_path / "D").path
    again = (file, "--resume", "--dir", folder, "--workers", 2)
    process = start(*again, "--grace", 5, QUICK_SECONDS="6" if how == "after" else "60")
    wait_for(lambda: sum(events(record, "begins").values()) == 2)
    if how == "Ctrl-C":
        os.kill(worker_pids(folder)[0], signal.SIGKILL)  # another worker goes on with its trial
        wait_for(lambda: sum(events(record, "begins").values()) == 3)
        process.send_signal(signal.SIGINT)
    else:
        code, _, err = cli("sweep", "stop", folder, *(["--now"] if how == "now" else []))
        assert code == 0, err
    code, _, err = finish(process)
    assert code == 130, err
    assert f"go on with: iclgd sweep {file} --resume --dir {folder}" in err
    assert not survivors(record)
    assert sum(events(record, "ends").values()) == (2 if how == "after" else 0)
    (sweep,) = sweeps.values()
    assert len(sweep.handed_out) == 2

    code, out, err = finish(start(*again))
    assert code == 0, err
    assert "3 of 3 trials done" in out
    assert events(record, "ends") == Counter(sweep.handed_out.keys())
