"""W&B's real client and agents against a stand-in for its server."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from wandb.sdk.launch.sweeps.utils import create_sweep_command_args

from iclgd.checks import InputError
from iclgd.sweeps.launch import online
from iclgd.sweeps.workers.agent import agent_command
from iclgd.tracking.run_directory import RunDirectory
from tests.sweeps.file.test_parameter import VALUES, parsed
from tests.wandb_server import WandbServer
from tests.wandb_sweeps import Sweeps

WANDB = [sys.executable, "-m", "wandb"]
QUICK_TRIAL = """\
import pathlib, signal, sys, time
import wandb

def end(number, frame):
    pathlib.Path("got-sigterm").touch()
    sys.exit(3)

signal.signal(signal.SIGTERM, end)
with wandb.init(config=dict(pair.split("=") for pair in sys.argv[1:])):
    pathlib.Path("trial-runs").touch()
    while pathlib.Path("wait").exists():
        time.sleep(0.1)
"""
QUICK = {
    "method": "grid",
    "command": ["${env}", "python", "trial.py", "${args_no_hyphens}"],
    "parameters": {"a": {"values": [1, 2]}},
}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[WandbServer]:
    """A server, a key for it, and an activated environment in an own folder."""
    scripts = str(Path(sys.executable).parent)
    for name in ("WANDB_ENTITY", "WANDB_PROJECT"):  # the client sets them; so they are unset afterwards
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("PATH", os.pathsep.join([scripts, os.environ["PATH"]]))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1] / "quick_trials"))  # for agents that do not dawdle
    monkeypatch.chdir(tmp_path)
    (tmp_path / "trial.py").write_text(QUICK_TRIAL)
    with WandbServer() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
        yield server


@pytest.fixture
def sweeps(server: WandbServer) -> Sweeps:
    return Sweeps(server)


def start(*command: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def client(*command: str) -> str:
    """Run a command to its end and return what it says."""
    process = start(*command)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 0, said
    return said


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline, f"no {path}"
        time.sleep(0.05)


@pytest.mark.slow  # the same as our engine, without it
def test_plain_wandb_sweep_and_two_agents_run_every_point_once(
    server: WandbServer, sweeps: Sweeps, small_config: Path, tmp_path: Path
) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_text("""\
method: grid
metric: {name: loss/transformer, goal: minimize}
command: ["${env}", iclgd, run, small.yaml, trainer.max_steps=20, tracking.mode=auto, "${args_no_hyphens}"]
parameters:
  training: {parameters: {learning_rate: {values: [0.001, 0.003]}}}
  seed: {values: [0, 1]}
  evaluation.num_tasks: {value: 100}
""")
    path = client(*WANDB, "sweep", "--project=own", str(file)).split()[-1]
    (sweep,) = sweeps.values()
    assert path == f"tester/own/{sweep.name}"

    agents = [start(*WANDB, "agent", path), start(*agent_command(path, None))]
    said = [agent.communicate(timeout=120)[0] for agent in agents]
    assert [agent.returncode for agent in agents] == [0, 0], said

    runs = sweeps.runs(sweep.name)
    assert sorted(run.name for run in runs) == sorted(sweep.handed_out)
    assert len(sweep.agents) == 2
    assert sweep.state == "FINISHED"
    assert {(run.config["training"]["learning_rate"], run.config["seed"]) for run in runs} == {
        (0.001, 0), (0.001, 1), (0.003, 0), (0.003, 1)
    }  # fmt: skip
    for run in runs:
        directory = RunDirectory(tmp_path / "runs" / "small" / run.name)
        summary = directory.read_summary()
        assert summary is not None
        assert {name: run.summary[name] for name in summary} == pytest.approx(summary)
        assert (run.project, run.state, run.exit_code) == ("own", "finished", 0)
        assert run.config["training"]["batch_size"] == 64  # beside the value that the sweep has set
        assert run.config["evaluation.num_tasks"] == run.config["evaluation"]["num_tasks"] == 100
        recorded = yaml.safe_load(directory.config_path.read_text())
        assert recorded["training"]["learning_rate"] == run.config["training"]["learning_rate"]
        assert recorded["seed"] == run.config["seed"]
    assert server.unknown_operations == []


def test_create_tells_the_sweep_and_takes_our_command(server: WandbServer, sweeps: Sweeps) -> None:
    command = online.trial_command(["srun", "-n2"], Path("c.yaml"), ["a=1"], ["b=2"])
    assert command == ["${env}", "srun", "-n2", "iclgd", "run", "c.yaml", "a=1", "${args_no_hyphens}", "b=2"]
    path = online.create({**QUICK, "name": "n"}, command, "own", None)
    (sweep,) = sweeps.values()
    assert path == f"tester/own/{sweep.name}"
    assert sweep.config == {**QUICK, "name": "n", "command": command}
    assert online.create(QUICK, command, "own", "team").startswith("team/own/")
    assert server.unknown_operations == []
    assert "WANDB_SERVICE" not in os.environ


def test_create_prints_nothing_on_standard_output(sweeps: Sweeps, capfd: pytest.CaptureFixture[str]) -> None:
    online.create(QUICK, ["true"], "own", None)
    out, err = capfd.readouterr()
    assert out == ""
    assert "/tester/own/sweeps/" in err


def test_a_refused_sweep_is_one_line(sweeps: Sweeps) -> None:
    with pytest.raises(InputError, match=r"W&B did not create the sweep: .*a sweep needs parameters") as error:
        online.create({**QUICK, "parameters": {}}, ["true"], "own", None)
    assert "\n" not in str(error.value)


def test_an_agent_runs_as_many_as_it_is_told(sweeps: Sweeps) -> None:
    client(*agent_command(online.create(QUICK, QUICK["command"], "own", None), 1))
    (sweep,) = sweeps.values()
    assert [run.config for run in sweeps.runs(sweep.name)] == [{"a": 1}]
    assert sweep.state == "RUNNING"


@pytest.mark.slow
def test_a_paused_sweep_starts_no_other_trials_until_it_goes_on(
    server: WandbServer, sweeps: Sweeps, tmp_path: Path
) -> None:
    (tmp_path / "wait").touch()
    path = online.create(QUICK, QUICK["command"], "own", None)
    (sweep,) = sweeps.values()
    agent = start(*agent_command(path, None))
    wait_for(tmp_path / "trial-runs")
    online.pause(path)
    (tmp_path / "wait").unlink()
    (trial,) = sweep.handed_out
    deadline = time.monotonic() + 60
    while server.runs[trial].state == "running":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    num_asked = server.requests["Heartbeat"]
    while server.requests["Heartbeat"] < num_asked + 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert list(sweep.handed_out) == [trial]
    assert sweep.state == "PAUSED"
    online.resume(path)
    said, _ = agent.communicate(timeout=60)
    assert agent.returncode == 0, said
    assert [(run.config, run.state) for run in sweeps.runs(sweep.name)] == [({"a": a}, "finished") for a in (1, 2)]
    assert sweep.state == "FINISHED"
    online.pause(path)  # it is over: nothing to do
    assert sweep.state == "FINISHED"
    assert server.unknown_operations == []


def test_a_stopped_agent_stops_its_trial(sweeps: Sweeps, tmp_path: Path) -> None:
    (tmp_path / "wait").touch()
    agent = start(*agent_command(online.create(QUICK, QUICK["command"], "own", None), None))
    wait_for(tmp_path / "trial-runs")
    agent.send_signal(signal.SIGTERM)
    agent.communicate(timeout=60)
    assert (tmp_path / "got-sigterm").exists()


@pytest.mark.parametrize("change", [online.pause, online.resume])
def test_a_change_of_an_unknown_sweep_is_one_line(change: Callable[[str], None], sweeps: Sweeps) -> None:
    with pytest.raises(InputError, match=rf"W&B did not {change.__name__} tester/own/nothing: .*not found") as error:
        change("tester/own/nothing")
    assert "\n" not in str(error.value)


def test_the_engine_is_the_servers_where_it_answers(server: WandbServer) -> None:
    for wanted in ("auto", "wandb"):
        assert online.choose_engine(wanted) == ("wandb", f"engine: W&B ({server.url} answers)")
    assert online.choose_engine("local") == ("local", "engine: local (as configured)")
    assert "WANDB_SERVICE" not in os.environ


def test_without_an_answer_the_engine_is_ours(server: WandbServer) -> None:
    server.stop()
    assert online.choose_engine("auto") == ("local", f"engine: local (no answer from {server.url})")
    with pytest.raises(InputError, match=f"the W&B engine needs .*no answer from {server.url}"):
        online.choose_engine("wandb")


def test_without_a_key_the_engine_is_ours() -> None:
    assert online.choose_engine("auto") == ("local", "engine: local (no API key is configured)")
    with pytest.raises(InputError, match="'wandb login'"):
        online.choose_engine("wandb")


@pytest.mark.parametrize("mode", ["offline", "disabled"])
def test_no_tracking_online_means_no_engine_online(
    mode: str, server: WandbServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", mode)
    assert online.choose_engine("auto") == ("local", f"engine: local (WANDB_MODE={mode})")
    with pytest.raises(InputError, match=f"WANDB_MODE={mode}"):
        online.choose_engine("wandb")


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_agents_of_wandb_get_what_they_write_to_the_same_effect(value: Any) -> None:
    content = {"a": {"parameters": {"b": {"values": [1, value]}, "c": {"value": value}, "d": {"min": 0, "max": 1}}}}
    changed = online.for_agents(content)
    assert changed["a.d"] == {"min": 0, "max": 1}
    assert changed["a.b"] == {"values": [1, changed["a.c"]["value"]]}
    (written,) = create_sweep_command_args({"args": {"a.b": changed["a.c"]}})["args_no_hyphens"]
    assert repr(parsed(written.partition("=")[2])) == repr(value)


def test_numbers_stay_numbers_to_wandb() -> None:
    content = {"x": {"values": [1e-05, 0.001, 3, True, "sine", [1, 2]]}}
    assert online.for_agents(content) == content
