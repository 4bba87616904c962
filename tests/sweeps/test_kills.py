"""A sweep of tracked trials, whose W&B processes are killed again and again: it costs no trial."""

import json
import os
import random
import signal
import time
from pathlib import Path

import pytest

from iclgd.tracking.track import track
from tests.conftest import ROOT
from tests.sweeps.conftest import start_sweep
from tests.tracking import copied_rows
from tests.tracking.test_mirror import wandb_processes
from tests.wandb_server import WandbServer

NUM_TRIALS, NUM_KILLS = 40, 200
SWEEP = f"""\
method: grid
metric: {{name: loss/transformer, goal: minimize}}
command: [iclgd, run, {ROOT}/configs/regression/debug.yaml, trainer.max_steps=40, evaluation.every_num_steps=10,
          training.batch_size=64, evaluation.num_tasks=200, evaluation.gd_plus_plus=optimal, "${{args_no_hyphens}}"]
parameters:
  seed: {{values: {list(range(NUM_TRIALS))}}}
"""


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_two_hundred_kills_cost_no_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file, folder = tmp_path / "x.yaml", tmp_path / "D"
    file.write_text(SWEEP)
    generator = random.Random(0)
    with WandbServer() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        arguments = (file, "--engine", "local", "--workers", 4, "--dir", folder)
        sweep = start_sweep(arguments, tmp_path, environment)
        moments = killed = 0
        while sweep.poll() is None:
            time.sleep(generator.expovariate(1 / 0.7))
            if moments < NUM_KILLS and (folder / "runs").exists():
                moments += 1
                if found := wandb_processes():
                    os.kill(generator.choice(found), signal.SIGKILL)
                    killed += 1
        out, err = sweep.communicate()
        print(f"{moments} moments, {killed} processes killed, exit code {sweep.returncode}")  # noqa: T201
        assert sweep.returncode == 0, err
        assert f"{NUM_TRIALS} of {NUM_TRIALS} trials done" in out
        runs = sorted((folder / "runs").glob("*/*"))
        assert len(runs) == NUM_TRIALS
        seeds = [json.loads((run / "summary.json").read_text())["loss/transformer"] for run in runs]
        assert len(set(seeds)) == NUM_TRIALS
        logs = [log.read_text() for log in (folder / "logs").glob("trial-*.log")]
        assert len(logs) == NUM_TRIALS
        assert all(log.count("\n" + str(folder / "runs")) == 1 for log in logs), "each ended once"
        lost = sum("the run goes on without it" in log for log in logs)
        report = track([folder])
        print(f"{lost} trials lost W&B; then: {report}")  # noqa: T201
        assert (report.failed, report.not_complete) == (0, 0)
        assert moments == NUM_KILLS
        assert 0 < lost <= killed
        for run in runs:
            stored = server.runs[run.name]
            lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
            assert [row["trainer/global_step"] for row in copied_rows.lines(stored)] == [line["step"] for line in lines]
            assert len(copied_rows.pages(stored)) == 1
            assert stored.state == "finished"
