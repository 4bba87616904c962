"""What the sweeps' Slurm launcher relies on, with small programs in the place of workers and trials."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from iclgd.sweeps.launch import slurm_script
from iclgd.sweeps.launch.slurm_script import SlurmJobs
from iclgd.sweeps.workers import slurm_commands
from tests.conftest import ROOT
from tests.slurm.conftest import lines, until

pytestmark = pytest.mark.slurm

Start = Callable[..., str]

# Both note which signals they get. A trial's process runs for a minute, or until SIGUSR1.
COMMON = """\
import os, signal, subprocess, sys, time
from pathlib import Path

folder = Path(__file__).parent

def note(who, what):
    with (folder / who).open("a") as file:
        file.write(what + "\\n")

def noted(who):
    return (folder / who).read_text().split() if (folder / who).exists() else []
"""
TRIAL = """\
who = "rank" + os.environ["SLURM_PROCID"]
is_over = False

def handle(number, frame):
    global is_over
    note(who, signal.Signals(number).name)
    is_over = number == signal.SIGUSR1

for number in (signal.SIGUSR1, signal.SIGTERM):
    signal.signal(number, handle)
note(who, "begins")
for _ in range(1200):
    if is_over:
        break
    note(who + ".beats", "x")
    time.sleep(0.05)
note(who, "ends")
"""
WORKER = """\
from iclgd.sweeps.workers import slurm_commands

got = []
for number in (signal.SIGUSR1, signal.SIGTERM):
    signal.signal(number, lambda number, frame: (got.append(number), note("worker", signal.Signals(number).name)))

def start_trial():
    command = [*slurm_commands.trial_prefix({nodes}, 0), sys.executable, str(folder / "trial.py")]
    return subprocess.Popen(command, process_group=0)

def wait_for_ranks(times):
    while not all(noted("rank" + str(rank)).count("begins") >= times for rank in range({nodes})):
        time.sleep(0.05)

note("worker", "begins")
{body}
note("worker", "ends")
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "a sweep, 100%a"
    (path / "logs").mkdir(parents=True)
    return path


@pytest.fixture
def start(folder: Path, jobs: list[str]) -> Start:
    """Submit workers that run the body of a program; return the job."""

    def submit(body: str, workers: int = 1, nodes: int = 2, gpus: int = 0) -> str:
        worker = folder / "worker.py"
        path = f"sys.path.insert(0, {str(ROOT)!r})\n"
        worker.write_text(f"#!{sys.executable}\n{COMMON}{path}{WORKER.format(nodes=nodes, body=body)}")
        worker.chmod(0o755)
        (folder / "trial.py").write_text(COMMON + TRIAL)
        script = folder / "workers.sh"
        script.write_text(slurm_script.script(SlurmJobs(workers, nodes, gpus), folder, str(worker), ROOT, {}))
        jobs.append(slurm_commands.submit(script))
        return jobs[-1]

    return submit


def states(job: str) -> dict[int, str]:
    return {task.index: task.state for task in slurm_commands.unfinished(job)}


def signal_workers(job: str, name: str) -> None:
    subprocess.run(["scancel", "--batch", f"--signal={name}", job], check=True)


def test_worker_is_told_alone_and_tells_all_processes_of_its_trial(folder: Path, start: Start) -> None:
    job = start(
        """\
process = start_trial()
while not got:
    time.sleep(0.05)
note("worker", f"then:{noted('rank0')}{noted('rank1')}".replace(" ", ""))
os.killpg(process.pid, signal.SIGUSR1)
note("worker", f"exit:{process.wait()}")
"""
    )
    until(lambda: lines(folder / "rank0") and lines(folder / "rank1"), "both processes of the trial")
    signal_workers(job, "USR1")
    until(lambda: not states(job), "the end of the job")
    assert lines(folder / "worker") == ["begins", "SIGUSR1", "then:['begins']['begins']", "exit:0", "ends"]
    assert lines(folder / "rank0") == lines(folder / "rank1") == ["begins", "SIGUSR1", "ends"]


def test_trial_whose_srun_was_killed_ends_on_all_nodes_before_the_next_begins(folder: Path, start: Start) -> None:
    """Without ``end_steps`` the processes of the first trial beat on for a minute: srun's group has its helper too."""
    job = start(
        """\
process = start_trial()
wait_for_ranks(1)
os.killpg(process.pid, signal.SIGKILL)
process.wait()
slurm_commands.end_steps()
before = [len(noted(f"rank{rank}.beats")) for rank in range(2)]
time.sleep(1)
after = [len(noted(f"rank{rank}.beats")) for rank in range(2)]
note("worker", "silent" if before == after else "alive")
process = start_trial()
wait_for_ranks(2)
os.killpg(process.pid, signal.SIGUSR1)
note("worker", f"exit:{process.wait()}")
"""
    )
    until(lambda: "begins" in lines(folder / "worker") and not states(job), "the end of the job")
    assert lines(folder / "worker") == ["begins", "silent", "exit:0", "ends"]
    assert lines(folder / "rank0").count("ends") == 1  # the second trial's


def test_first_process_outlives_the_others_but_not_their_failure(folder: Path, start: Start) -> None:
    job = start(
        """\
prefix = slurm_commands.trial_prefix(2, 0)
for code in (0, 3):
    seconds = 20 if code else 4  # time to be ended by the other's failure, on a slow machine too
    last = f'if [ $SLURM_PROCID = 1 ]; then exit {code}; fi; sleep {seconds}; echo done >> "$0"'
    started = time.monotonic()
    process = subprocess.run([*prefix, "sh", "-c", last, folder / f"after{code}"])
    note("worker", f"failed:{process.returncode != 0}")
"""
    )
    until(lambda: "begins" in lines(folder / "worker") and not states(job), "the end of the job")
    assert lines(folder / "worker") == ["begins", "failed:False", "failed:True", "ends"]
    assert lines(folder / "after0") == ["done"]
    assert lines(folder / "after3") == []


@pytest.mark.slow
def test_cancelling_spares_those_that_run_until_they_are_ready(folder: Path, start: Start) -> None:
    job = start(
        """\
process = start_trial()
while not got:
    time.sleep(0.05)
os.killpg(process.pid, signal.SIGUSR1)
process.wait()
time.sleep(2)
""",
        workers=20,
    )
    assert set(states(job)) == set(range(20))
    until(lambda: lines(folder / "rank1"), "a worker that runs")
    assert {task.state for task in slurm_commands.unfinished(job)} == {"RUNNING", "PENDING"}
    slurm_commands.cancel_pending(job)
    until(lambda: set(states(job).values()) == {"RUNNING"}, "the end of those that waited")
    num_workers = len(states(job))
    until(lambda: lines(folder / "rank1").count("begins") == num_workers, "their trials")
    signal_workers(job, "TERM")
    until(lambda: not states(job), "the end of the job")
    assert sorted(lines(folder / "worker")) == sorted(["begins", "SIGTERM", "ends"] * num_workers)
    assert sorted(lines(folder / "rank1")) == sorted(["begins", "SIGUSR1", "ends"] * num_workers)


def test_worker_that_requeues_itself_begins_again_under_another_name(folder: Path, start: Start) -> None:
    job = start(
        """\
note("names", sys.argv[sys.argv.index("--worker") + 1])
print("life", os.environ.get("SLURM_RESTART_COUNT", "0"), flush=True)
if "SLURM_RESTART_COUNT" not in os.environ:
    slurm_commands.requeue_self()
    time.sleep(60)
""",
        nodes=1,
    )
    until(lambda: "ends" in lines(folder / "worker") and not states(job), "the end of the second life")
    assert lines(folder / "names") == [f"slurm-{job}-0-0", f"slurm-{job}-0-1"]
    log = lines(folder / "logs" / "worker-0.log")
    assert [line for line in log if line.startswith("life")] == ["life 0", "life 1"]


def test_jobs_that_slurm_does_not_know_are_over() -> None:
    job = "67000000"  # above the ids that Slurm gives
    assert slurm_commands.unfinished(job) == []
    slurm_commands.cancel_pending(job)


def test_sbatch_says_why_it_refuses(folder: Path) -> None:
    script = folder / "workers.sh"
    script.write_text(slurm_script.script(SlurmJobs(1, options=("--partition=nowhere",)), folder, "python", ROOT, {}))
    with pytest.raises(slurm_commands.SlurmError, match="invalid partition specified: nowhere"):
        slurm_commands.submit(script)


def test_all_processes_see_the_gpus_of_their_node_and_no_others(folder: Path, start: Start) -> None:
    """Needs a cluster that counts GPUs and has two cores on a node; otherwise it is skipped."""
    asked = ["--nodes=2", "--ntasks-per-node=2", "--gres=gpu:2"]
    if subprocess.run(["sbatch", "--test-only", *asked, "--wrap=true"], capture_output=True).returncode != 0:
        pytest.skip("two nodes with two GPUs and two cores each would be needed")
    start(
        """\
show = 'echo "$SLURM_NODEID/$SLURM_LOCALID sees $CUDA_VISIBLE_DEVICES" >> "$0"'
subprocess.run([*slurm_commands.trial_prefix(2, 2), "sh", "-c", show, folder / "seen"])
""",
        gpus=2,
    )
    until(lambda: "ends" in lines(folder / "worker"), "the end of the worker")
    assert sorted(lines(folder / "seen")) == [f"{node}/{local} sees 0,1" for node in (0, 1) for local in (0, 1)]
