import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from iclgd.sweeps.launch.slurm_script import SlurmJobs, script
from iclgd.sweeps.workers import slurm_commands
from iclgd.sweeps.workers.slurm_commands import ArrayTask, SlurmError
from tests.conftest import ROOT

Fake = Callable[[str, str], Path]


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    """Put a shell script in the place of a command; it is given a file for what it notices."""
    folder = tmp_path / "commands"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setattr(slurm_commands, "SECONDS_BETWEEN_ATTEMPTS", (0.0, 0.0))

    def fake(name: str, text: str) -> Path:
        noticed = tmp_path / f"{name}.txt"
        noticed.touch()
        (folder / name).write_text(f"#!/bin/sh\nnoticed={shlex.quote(str(noticed))}\n{text}\n")
        (folder / name).chmod(0o755)
        return noticed

    return fake


# --- trials


def test_trial_runs_once_per_gpu() -> None:
    prefix = slurm_commands.trial_prefix(2, 4)
    assert prefix[0] == "srun"
    assert {"--nodes=2", "--ntasks=8", "--ntasks-per-node=4"} <= set(prefix)


def test_trial_runs_once_per_node_without_gpus() -> None:
    prefix = slurm_commands.trial_prefix(2, 0)
    assert {"--nodes=2", "--ntasks=2", "--ntasks-per-node=1"} <= set(prefix)


@pytest.mark.parametrize(
    ("shape", "overrides"),
    [
        ((1, 0), []),
        ((1, 1), ["trainer.accelerator=gpu", "trainer.num_nodes=1", "trainer.devices=1"]),
        ((2, 0), ["trainer.num_nodes=2", "trainer.devices=1", "trainer.strategy=ddp"]),
        ((2, 4), ["trainer.accelerator=gpu", "trainer.num_nodes=2", "trainer.devices=4", "trainer.strategy=ddp"]),
    ],
)
def test_config_of_a_trial_has_its_processes(shape: tuple[int, int], overrides: list[str]) -> None:
    assert slurm_commands.trial_overrides(*shape) == overrides


# --- Slurm's commands


def submit(tmp_path: Path, jobs: SlurmJobs | None = None) -> str:
    path = tmp_path / "workers.sh"
    path.write_text(script(jobs or SlurmJobs(1), tmp_path, "python", tmp_path, {}))
    return slurm_commands.submit(path)


def test_submit_returns_the_job(commands: Fake, tmp_path: Path) -> None:
    noticed = commands("sbatch", 'echo "$@" > "$noticed"; echo "1234;cluster"')
    assert submit(tmp_path) == "1234"
    assert noticed.read_text() == f"--parsable {tmp_path / 'workers.sh'}\n"


def test_submit_keeps_out_what_would_change_the_job(
    commands: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = {"SLURM_CONF": "/etc/slurm.conf", "SBATCH_ACCOUNT": "mine", "SBATCH_QOS": "low", "WANDB_MODE": "offline"}
    ours = (
        "SBATCH_ARRAY_INX",
        "SBATCH_SIGNAL",
        "SBATCH_NO_REQUEUE",
        "SBATCH_GPUS",
        "SBATCH_TIMELIMIT",
        "SBATCH_OUTPUT",
    )
    outer = ("SLURM_JOB_ID", "SLURM_MEM_PER_CPU", "SLURM_NTASKS", "SLURM_CPU_BIND")
    for name, value in (*kept.items(), *((name, "x") for name in (*ours, *outer))):
        monkeypatch.setenv(name, value)
    noticed = commands("sbatch", 'env > "$noticed"; echo 1')
    submit(tmp_path, SlurmJobs(1, options=("--time=1:00:00",)))
    passed_on = dict(line.partition("=")[::2] for line in noticed.read_text().splitlines())
    assert kept.items() <= passed_on.items()
    assert not {*ours, *outer} & passed_on.keys()


def test_submit_repeats_what_sbatch_says(commands: Fake, tmp_path: Path) -> None:
    commands(
        "sbatch", "printf 'sbatch: error: invalid partition: gpu\\nsbatch: error: Submission failed\\n' >&2; exit 1"
    )
    with pytest.raises(SlurmError, match=r"workers\.sh: invalid partition: gpu; Submission failed$"):
        submit(tmp_path)


def test_missing_sbatch_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SlurmError, match=r"sbatch not found: .* or use --launcher local"):
        submit(tmp_path)


def test_unfinished_workers_have_state_and_reason(commands: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SQUEUE_STATES", "RUNNING")
    commands(
        "squeue",
        'test -z "$SQUEUE_STATES" && printf "0|RUNNING|None\\n1|PENDING|ReqNodeNotAvail, Reserved for maintenance\\n"',
    )
    assert slurm_commands.unfinished("7") == [
        ArrayTask(0, "RUNNING", "None"),
        ArrayTask(1, "PENDING", "ReqNodeNotAvail, Reserved for maintenance"),
    ]


def test_job_that_slurm_has_forgotten_has_no_workers(commands: Fake) -> None:
    commands("squeue", "echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1")
    assert slurm_commands.unfinished("7") == []


def test_queue_is_asked_again_while_the_controller_restarts(commands: Fake) -> None:
    noticed = commands(
        "squeue",
        'echo x >> "$noticed"; test "$(wc -l < "$noticed")" -ge 3 && echo "0|RUNNING|None" && exit\n'
        "echo 'slurm_load_jobs error: Unable to contact slurm controller (connect failure)' >&2; exit 1",
    )
    assert slurm_commands.unfinished("7") == [ArrayTask(0, "RUNNING", "None")]
    assert noticed.read_text() == "x\n" * 3


def test_queue_that_does_not_answer_is_never_an_empty_one(commands: Fake) -> None:
    commands("squeue", "echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1")
    with pytest.raises(OSError, match=r"^squeue .*--jobs=7 .*: Unable to contact slurm controller$"):
        slurm_commands.unfinished("7")


@pytest.mark.parametrize(
    ("variables", "name"),
    [
        ({"SLURM_JOB_ID": "9", "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "0"}, "7_0"),
        ({"SLURM_JOB_ID": "9"}, "9"),
    ],
)
def test_worker_requeues_itself(
    commands: Fake, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], name: str
) -> None:
    for variable in ("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID"):
        monkeypatch.delenv(variable, raising=False)
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    noticed = commands("scontrol", 'echo "$@" > "$noticed"')
    slurm_commands.requeue_self()
    assert noticed.read_text() == f"requeue {name}\n"


def test_outside_of_jobs_there_is_nothing_to_requeue(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID"):
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(SlurmError, match="SLURM_JOB_ID is not set"):
        slurm_commands.requeue_self()


def test_only_steps_of_trials_are_ended(commands: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "9")
    monkeypatch.setattr(slurm_commands, "SECONDS_BETWEEN_LOOKS", 0.0)
    scancel = commands("scancel", 'echo "$@" >> "$noticed"')
    commands(
        "squeue",
        f'test -s {shlex.quote(str(scancel))} || echo "7_0.3|{slurm_commands.STEP_NAME}"\n'
        'echo "7_0.4|shell"; echo "7_0.batch|batch"',
    )
    slurm_commands.end_steps()
    assert scancel.read_text() == "9.3\n"


def test_step_that_does_not_end_is_no_secret(commands: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "9")
    monkeypatch.setattr(slurm_commands, "SECONDS_BETWEEN_LOOKS", 0.0)
    monkeypatch.setattr(slurm_commands, "SECONDS_TO_END_STEPS", 0.05)
    commands("scancel", "")
    commands("squeue", f'echo "9.3|{slurm_commands.STEP_NAME}"')
    with pytest.raises(OSError, match=r"do not end: 9\.3"):
        slurm_commands.end_steps()


# --- tests/slurm/run


@pytest.fixture
def cluster(commands: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Pretend that a cluster can be started here; return the file that tells what happened."""

    def make(start: str = "touch $state; echo export SLURM_CONF=$SLURM_LOCAL_DIR/slurm.conf") -> Path:
        state, events = tmp_path / "cluster-is-up", tmp_path / "events"
        events.touch()
        local = tmp_path / "local slurm"
        local.mkdir()
        for name, body in (("start", start), ("stop", "rm -f $state")):
            (local / name).write_text(f"#!/bin/sh\nstate={state}\necho {name} >> {events}\n{body}\n")
            (local / name).chmod(0o755)
        commands("sinfo", f"test -e {state}")
        monkeypatch.setenv("SLURM_LOCAL", str(local))
        monkeypatch.setenv("SLURM_LOCAL_DIR", str(tmp_path))
        monkeypatch.delenv("SLURM_CONF", raising=False)
        return events

    return make


def run_there(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([ROOT / "tests/slurm/run", *command], capture_output=True, text=True)


def test_cluster_is_started_and_stopped_around_the_tests(cluster: Callable[..., Path], tmp_path: Path) -> None:
    events = cluster()
    result = run_there("sh", "-c", f'echo "tests with $SLURM_CONF" >> {events}; exit 5')
    assert result.returncode == 5
    assert events.read_text().splitlines() == ["start", f"tests with {tmp_path}/slurm.conf", "stop"]


def test_cluster_that_was_there_stays(cluster: Callable[..., Path], tmp_path: Path) -> None:
    events = cluster()
    (tmp_path / "cluster-is-up").touch()
    assert run_there("true").returncode == 0
    assert events.read_text() == "start\n"


def test_cluster_of_the_user_is_taken_as_it_is(
    cluster: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = cluster()
    (tmp_path / "cluster-is-up").touch()
    monkeypatch.setenv("SLURM_CONF", "/etc/slurm.conf")
    assert run_there("sh", "-c", "echo $SLURM_CONF; exit 3").stdout == "/etc/slurm.conf\n"
    assert events.read_text() == ""


@pytest.mark.parametrize("start", ["exit 4", "echo export SLURM_CONF=x"], ids=["fails", "leaves nothing running"])
def test_cluster_that_does_not_start_is_an_error(cluster: Callable[..., Path], start: str) -> None:
    events = cluster(start)
    result = run_there("sh", "-c", f"echo tests >> {events}")
    assert result.returncode == 1
    assert "start" in result.stderr
    assert events.read_text().splitlines() == ["start", "stop"]


def test_without_any_cluster_tests_are_skipped(
    cluster: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = cluster()
    monkeypatch.setenv("SLURM_LOCAL", str(tmp_path / "nowhere"))
    result = run_there("false")
    assert result.returncode == 0
    assert len(result.stdout.splitlines()) == 1
    assert result.stdout.startswith("skipped: no Slurm cluster")
    assert events.read_text() == ""


def test_cluster_is_stopped_when_the_tests_are_interrupted(cluster: Callable[..., Path]) -> None:
    events = cluster()
    tests = f"{shlex.quote(sys.executable)} -c 'import time; time.sleep(1)'"
    process = subprocess.Popen([ROOT / "tests/slurm/run", "sh", "-c", f"echo tests >> {events}; exec {tests}"])
    while "tests" not in events.read_text():
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait() == 143
    assert events.read_text().splitlines() == ["start", "tests", "stop"]
