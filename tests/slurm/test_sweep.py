"""Whole sweeps by the Slurm launcher, with real trials."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from iclgd.sweeps.trials.folder import SweepFolder
from iclgd.sweeps.workers import slurm_commands
from tests.conftest import ROOT
from tests.slurm.conftest import PATIENCE, lines, until

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(900)]

CONFIG = """\
experiment: regression
task: {num_context: 4, input_dim: 3}
training: {batch_size: 64}
evaluation: {every_num_steps: 50, num_tasks: 200, gd_plus_plus: optimal}
trainer: {max_steps: 100, accelerator: cpu}
"""


class Launch:
    """``iclgd sweep`` in a process of its own, on a sweep of two learning rates and some seeds."""

    def __init__(self, tmp_path: Path, jobs: list[str]) -> None:
        self.config, self.file, self.path = tmp_path / "small.yaml", tmp_path / "search.yaml", tmp_path / "the sweep"
        self.config.write_text(CONFIG)
        self.errors = tmp_path / "errors"
        self._jobs = jobs
        self._process: subprocess.Popen[str] | None = None

    def write(self, **parameters: list[Any]) -> None:
        content = {
            "method": "grid",
            "metric": {"name": "loss/transformer", "goal": "minimize"},
            "command": ["${env}", "iclgd", "run", str(self.config), "${args_no_hyphens}"],
            "parameters": {name.replace("__", "."): {"values": values} for name, values in parameters.items()},
        }
        self.file.write_text(json.dumps(content))  # which is YAML, too

    def start(self, *arguments: str, file: Path | None = None) -> None:
        command = [sys.executable, "-m", "iclgd.cli", "sweep", str(file or self.file), *arguments]
        command += ["--launcher", "slurm", "--engine", "local", "--dir", str(self.path)]
        with self.errors.open("w") as errors:
            self._process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=errors, text=True)

    def end(self, seconds: float = 2 * PATIENCE) -> tuple[int, str]:
        """Wait for the end; return the exit code and standard output."""
        assert self._process is not None
        output, _ = self._process.communicate(timeout=seconds)
        return self._process.returncode, output

    def wait_for_step(self, step: int, *points: int) -> None:
        """Wait until the runs of these points have recorded something at a step."""
        process = self._process
        assert process is not None

        def has_come() -> bool:
            return process.poll() is not None or all(step in self.steps(point) for point in points)

        until(has_come, f"step {step} of points {points}", 120)
        assert process.poll() is None, self.errors.read_text()

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
        self._jobs += self.jobs if (self.path / "options.json").exists() else []

    @property
    def folder(self) -> SweepFolder:
        return SweepFolder(self.path)

    @property
    def jobs(self) -> list[str]:
        return self.folder.slurm_jobs()

    def runs(self) -> list[Path]:
        return sorted((self.path / "runs").glob("*/*"))

    def steps(self, point: int) -> list[int]:
        """Return the steps at which a point's run has recorded something."""
        found = next((self.path / "runs").glob(f"*/*-{point:04d}"), None)
        if found is None or not (found / "metrics.jsonl").exists():
            return []
        whole_lines = (found / "metrics.jsonl").read_text().split("\n")[:-1]
        return [json.loads(line)["step"] for line in whole_lines]

    def log(self, point: int) -> str:
        return "\n".join(lines(self.path / "logs" / f"trial-{point:04d}.log"))


@pytest.fixture
def launch(tmp_path: Path, jobs: list[str]) -> Iterator[Launch]:
    launch = Launch(tmp_path, jobs)
    yield launch
    launch.kill()


def summaries(launch: Launch) -> list[dict[str, float]]:
    return [json.loads((run / "summary.json").read_text()) for run in launch.runs()]


def environment(run: Path) -> dict[str, Any]:
    return dict(json.loads((run / "environment.json").read_text()))


def test_smoke_sweep_is_done_by_two_workers(launch: Launch) -> None:
    launch.start("--workers", "2", file=ROOT / "sweeps" / "smoke.yaml")
    code, output = launch.end()
    assert code == 0, launch.errors.read_text()
    assert output.splitlines()[-1] == str(launch.path)
    assert len(summaries(launch)) == 4
    for point, run in enumerate(launch.runs()):
        assert launch.log(point).splitlines()[-1] == str(run)
    until(lambda: not slurm_commands.unfinished(launch.jobs[0]), "the end of the workers")


def test_trial_has_a_process_on_each_of_its_nodes_and_one_wandb_run(launch: Launch) -> None:
    launch.write(training__learning_rate=[0.001, 0.003])
    launch.start("tracking.mode=offline", "--workers", "1", "--nodes-per-trial", "2")
    code, _ = launch.end()
    assert code == 0, launch.errors.read_text()
    assert len(launch.runs()) == 2
    for point, run in enumerate(launch.runs()):
        recorded = environment(run)
        assert recorded["world_size"] == 2
        assert len({process["host"] for process in recorded["processes"]}) == 2
        assert [path.name for path in run.parent.glob("*")].count(run.name) == 1
        (wandb_file,) = run.glob("wandb/**/*.wandb")
        assert wandb_file.name == f"run-{run.name}.wandb"
        assert launch.log(point).splitlines()[-1] == str(run)
    first, second = summaries(launch)
    assert first["loss/transformer"] != second["loss/transformer"]


def test_dry_run_shows_the_script_and_submits_nothing(launch: Launch) -> None:
    launch.write(seed=[0, 1])
    launch.start("--workers", "3", "--nodes-per-trial", "2", "--sbatch=--time=60", "--dry-run")
    code, output = launch.end()
    assert code == 0, launch.errors.read_text()
    assert output.startswith("#!/bin/sh\n#SBATCH ")
    assert "\n#SBATCH --array=0-2\n#SBATCH --nodes=2\n" in output
    assert "\n#SBATCH --time=60\n" in output
    assert not launch.path.exists()
    names = subprocess.run(["squeue", "--noheader", "--format=%j"], capture_output=True, text=True, check=True).stdout
    assert f"iclgd-{launch.path.name}" not in names.splitlines()


def test_worker_near_its_time_limit_goes_on_with_its_trial_after_the_queue(launch: Launch) -> None:
    launch.write(seed=[0], trainer__max_steps=[4000])
    launch.start("evaluation.num_tasks=20000", "--workers", "1")
    launch.wait_for_step(200, 0)
    subprocess.run(
        ["scancel", "--batch", "--signal=USR1", launch.jobs[0]], check=True
    )  # as Slurm does before the limit
    code, _ = launch.end()
    assert code == 0, launch.errors.read_text()
    (line,) = [line for line in launch.log(0).splitlines() if line.startswith("resuming from step")]
    assert 200 <= int(line.split()[-1]) < 4000
    assert len(launch.runs()) == 1
    steps = launch.steps(0)
    assert steps == sorted(steps)
    assert steps[-1] == 4000
    assert len(launch.jobs) == 1


def test_other_workers_finish_the_trials_of_one_that_is_cancelled(launch: Launch) -> None:
    launch.write(seed=[0, 1], trainer__max_steps=[4000])
    launch.start("evaluation.num_tasks=20000", "--workers", "2")
    launch.wait_for_step(50, 0, 1)
    subprocess.run(["scancel", f"{launch.jobs[0]}_0"], check=True)
    code, _ = launch.end()
    assert code == 0, launch.errors.read_text()
    assert [launch.steps(point)[-1] for point in range(2)] == [4000, 4000]
    assert len(launch.jobs) == 1
    assert "worker died" not in launch.folder.journal.read_text()  # it has given its trial back


@pytest.mark.slow
def test_worker_that_is_lost_with_its_node_is_replaced(launch: Launch) -> None:
    """A lost node gives no worker the time to hand its trial back; Slurm then requeues the job by itself."""
    launch.write(seed=[0], trainer__max_steps=[4000])
    launch.start("evaluation.num_tasks=20000", "--workers", "1")
    launch.wait_for_step(50, 0)
    subprocess.run(["scancel", "--batch", "--signal=KILL", launch.jobs[0]], check=True)
    until(lambda: not slurm_commands.unfinished(launch.jobs[0]), "the end of the worker", 60)
    subprocess.run(["scontrol", "requeue", f"{launch.jobs[0]}_0"], check=True)
    code, _ = launch.end()
    assert code == 0, launch.errors.read_text()
    assert launch.steps(0)[-1] == 4000
    assert len(launch.runs()) == 1
