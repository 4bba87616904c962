"""One run on two nodes, started by srun."""

import json
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from iclgd.tracking.run_directory import RunDirectory
from tests.conftest import ROOT
from tests.processes import ICLGD, TWO_NODES, assert_interrupted, results, wait_for_metrics
from tests.slurm.conftest import until
from tests.test_experiment import numbers

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(600)]

CONFIG = ROOT / "configs" / "regression" / "two_nodes.yaml"
SRUN = ["srun", "--quiet", "--nodes=2", "--ntasks-per-node=1"]
KILL = "--kill-on-bad-exit=1"  # as two_nodes.yaml advises; not where a task might be ended before it has said why


@pytest.fixture
def name(tmp_path: Path) -> Iterator[str]:
    """Name the test's jobs, and cancel them at its end."""
    name = f"{tmp_path.parent.name}-{tmp_path.name}"
    yield name
    subprocess.run(["scancel", f"--name={name}"], check=True)


def start(name: str, *arguments: object) -> subprocess.Popen[str]:
    """Start a command on two nodes, in a job of this name."""
    command = [*SRUN, KILL, f"--job-name={name}", *ICLGD, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def run(name: str, *arguments: object) -> RunDirectory:
    """Run to the end; return the run directory."""
    ((code, out, err),) = results([start(name, *arguments)])
    assert code == 0, err
    return RunDirectory(Path(out.splitlines()[-1]))


def ids_of_wandb(directory: RunDirectory) -> list[str]:
    """Return W&B's id of each part of a run."""
    return [path.stem.removeprefix("run-") for path in (directory.path / "wandb").glob("offline-run-*/*.wandb")]


def hosts(directory: RunDirectory) -> list[str]:
    """Return the hosts of all processes, after checking what else is told of them."""
    environment = json.loads((directory.path / "environment.json").read_text())
    assert environment["world_size"] == 2
    assert [(each["rank"], each["device"]) for each in environment["processes"]] == [(0, "cpu"), (1, "cpu")]
    return [each["host"] for each in environment["processes"]]


@pytest.mark.parametrize("number", ["USR1", pytest.param("TERM", marks=pytest.mark.slow)])
def test_a_run_on_two_nodes_is_stopped_and_goes_on_to_the_same_numbers(name: str, tmp_path: Path, number: str) -> None:
    whole = run(name, "run", CONFIG)
    nodes = subprocess.run(["sinfo", "-h", "-N", "-o", "%N"], capture_output=True, text=True, check=True).stdout.split()
    assert len(set(hosts(whole))) == 2
    assert {host.split(".")[0] for host in hosts(whole)} <= set(nodes)
    assert ids_of_wandb(whole) == [whole.path.name]
    assert len(list((tmp_path / "runs" / "two_nodes").iterdir())) == 1
    (tmp_path / "runs" / "two_nodes").rename(tmp_path / "whole")
    whole.path = tmp_path / "whole" / whole.path.name

    process = start(name, "run", CONFIG)
    stopped = wait_for_metrics(tmp_path / "runs", 5, [process])
    subprocess.run(["scancel", f"--signal={number}", f"--name={name}"], check=True)
    ((code, out, err),) = results([process])
    ours = [line for line in err.splitlines(keepends=True) if not line.startswith(("srun: ", "slurmstepd"))]
    assert_interrupted(stopped, (code, out, "".join(ours)))
    assert stopped.step_of(stopped.last_checkpoint() or Path()) == stopped.read_metrics()[-1]["step"] < 1000
    assert run(name, "resume", stopped.path).path == stopped.path
    assert numbers(stopped) == numbers(whole)
    assert stopped.read_metrics() == whole.read_metrics()
    assert hosts(stopped) == hosts(whole)
    assert ids_of_wandb(stopped) == [stopped.path.name] * 2
    run(name, "resume", stopped.path)  # complete: both end at once


def test_different_configs_end_with_a_line(name: str) -> None:
    command = shlex.join([*ICLGD, "run", str(CONFIG), "tracking.mode=disabled"])
    srun = [*SRUN, f"--job-name={name}", "--label", "sh", "-c", f"{command} seed=$SLURM_PROCID"]
    done = subprocess.run(srun, capture_output=True, text=True, timeout=200, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    said = [line for line in done.stderr.splitlines() if line.startswith(("0: ", "1: "))]
    assert len(said) == 2, done.stderr
    for rank, line in enumerate(sorted(said)):
        assert line.startswith(f"{rank}: iclgd: all processes of a run need the same config, but seed is 0 on rank 0 (")


def test_tasks_that_the_config_does_not_know_are_refused(name: str, small_config: Path, tmp_path: Path) -> None:
    srun = [*SRUN, f"--job-name={name}", *ICLGD, "run", str(small_config)]
    done = subprocess.run(srun, capture_output=True, text=True, timeout=200, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    line = "iclgd: trainer.devices=1 with trainer.num_nodes=1 needs 1 processes per node, but srun has started 1(x2), "
    said = [each for each in done.stderr.splitlines() if each.startswith("iclgd: ")]
    assert len(said) == 2, done.stderr
    assert all(each.startswith(line) for each in said)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("is_batch", [False, True])
def test_one_process_within_an_allocation_of_two_tasks_is_one(
    name: str, small_config: Path, tmp_path: Path, is_batch: bool
) -> None:
    command = shlex.join([*ICLGD, "run", str(small_config)])
    allocation = ["--nodes=2", "--ntasks-per-node=1", f"--job-name={name}"]
    if is_batch:
        output = tmp_path / "output"
        sbatch = ["sbatch", "--wait", *allocation, f"--output={output}", f"--wrap={command}"]
        assert subprocess.run(sbatch, capture_output=True, timeout=200).returncode == 0, output.read_text()
    else:  # what a shell of salloc starts
        assert subprocess.run(["salloc", "--quiet", *allocation, "sh", "-c", command], timeout=200).returncode == 0
    (path,) = (tmp_path / "runs" / "small").iterdir()
    assert json.loads((path / "environment.json").read_text())["world_size"] == 1


def test_a_process_by_itself_within_an_allocation_is_told_to_use_srun(
    name: str, small_config: Path, tmp_path: Path
) -> None:
    command = shlex.join([*ICLGD, "run", str(small_config), *TWO_NODES])
    output = tmp_path / "output"
    sbatch = ["sbatch", "--wait", "--nodes=2", f"--job-name={name}", f"--output={output}", f"--wrap={command}"]
    assert subprocess.run(sbatch, capture_output=True, timeout=200).returncode == 2
    until(output.exists, "the job's output")
    assert "start them with 'srun --nodes=2 --ntasks-per-node=1 iclgd ...'" in output.read_text()
    assert not (tmp_path / "runs").exists()
