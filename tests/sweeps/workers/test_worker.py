"""One worker in this process, and what it makes of trials of every kind."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from optuna.trial import TrialState

from iclgd.sweeps.trials.folder import SweepFolder
from iclgd.sweeps.trials.storage import open_sweep
from iclgd.sweeps.workers.options import WorkerOptions
from iclgd.sweeps.workers.worker import Worker
from tests.sweeps.conftest import MakeSweep

ONE = """\
method: grid
metric: {name: loss/transformer}
command: [iclgd, run, configs/regression/debug.yaml, trainer.max_steps=5, "${args_no_hyphens}"]
parameters:
  training.learning_rate: {values: [0.1, 0.5]}
  seed: {value: 3}
"""
SEARCH = """\
method: bayes
metric: {name: loss/transformer, goal: minimize}
command: [iclgd, run, configs/regression/debug.yaml, "${args_no_hyphens}"]
parameters:
  training.learning_rate: {min: 0.0, max: 0.1}
  seed: {value: 0}
"""
HALVING = """\
method: grid
metric: {name: loss/gd}
command: [iclgd, run, configs/regression/debug.yaml, "${args_no_hyphens}"]
early_terminate: {type: hyperband, min_iter: 3}
parameters:
  seed: {values: [0, 1, 2, 3]}
"""


@pytest.fixture(autouse=True)
def _quick(quick_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    import signal

    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)}
    for name in ("PYTHONPATH", "QUICK_RECORD"):
        monkeypatch.setenv(name, quick_environment[name])
    monkeypatch.setenv("QUICK_SECONDS", "0.01")
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


def work(folder: SweepFolder, **options: object) -> None:
    Worker(folder, WorkerOptions(name="tester", **options)).work()  # type: ignore[arg-type]


def test_trials_are_runs_of_the_command_line(make_sweep: MakeSweep, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_sweep(ONE)
    worker = Worker(folder, WorkerOptions(name="tester"))
    claim = worker.trials.claim("tester")
    assert claim
    command = worker.command(claim)
    assert command[1:] == [
        *("-m", "iclgd.cli", "run", "configs/regression/debug.yaml"),
        *("trainer.max_steps=5", "training.learning_rate=0.1", "seed=3"),
    ]
    environment = worker.environment(claim)
    assert environment["ICLGD_RUNS"] == str(folder.runs)
    assert environment["WANDB_RUN_ID"] == "abc123-0000"
    assert environment["WANDB_RUN_GROUP"] == "quick-abc123"
    assert environment["WANDB_JOB_TYPE"] == "trial"
    assert environment["WANDB_TAGS"] == "sweep,quick"
    assert environment["PATH"] == os.environ["PATH"]


def test_what_an_earlier_attempt_left_is_gone_on_with(make_sweep: MakeSweep) -> None:
    folder = make_sweep(ONE)
    worker = Worker(folder, WorkerOptions(name="tester"))
    claim = worker.trials.claim("tester")
    assert claim
    begun = folder.runs / "debug" / folder.run_id(claim.point)
    begun.mkdir(parents=True)
    assert worker.command(claim)[1:] == ["-m", "iclgd.cli", "resume", str(begun)]


def test_on_slurm_trials_are_steps_of_the_job(make_sweep: MakeSweep) -> None:
    folder = make_sweep(ONE)
    options = WorkerOptions(name="tester", launcher="slurm", nodes_per_trial=2)
    worker = Worker(folder, options)
    claim = worker.trials.claim("tester")
    assert claim
    command = worker.command(claim)
    assert command[0] == "srun"
    assert "--nodes=2" in command
    assert command[-3:] == ["trainer.num_nodes=2", "trainer.devices=1", "trainer.strategy=ddp"]


def test_values_come_from_the_summary(make_sweep: MakeSweep) -> None:
    folder = make_sweep(ONE)
    work(folder)
    _, trials = open_sweep(folder)
    assert [trial.value for trial in trials.latest()] == pytest.approx([3.0081, 3.2401])
    assert trials.is_finished()
    assert list(folder.workers.iterdir()) == []


def test_a_trial_whose_analysis_failed_has_its_value(make_sweep: MakeSweep, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_sweep(ONE.replace("trainer.max_steps=5", "tracking.project=half"))
    work(folder)
    _, trials = open_sweep(folder)
    assert [trial.value for trial in trials.latest()] == pytest.approx([3.0081, 3.2401])
    assert trials.is_finished()
    assert capsys.readouterr().err.count("it has its numbers, but not all analyses or figures") == 2


def test_bayes_runs_as_many_as_planned(make_sweep: MakeSweep) -> None:
    folder = make_sweep(SEARCH, count=6)
    work(folder)
    _, trials = open_sweep(folder)
    rates = [json.loads(path.read_text())["training.learning_rate"] for path in folder.runs.glob("*/*/config.yaml")]
    assert len(set(rates)) == 6
    assert all(trial.state == TrialState.COMPLETE for trial in trials.latest())


def test_a_metric_that_no_run_has_is_named(make_sweep: MakeSweep, capfd: pytest.CaptureFixture[str]) -> None:
    folder = make_sweep(ONE.replace("loss/transformer", "loss/transformers"))
    work(folder)
    assert "its summary has no 'loss/transformers', which metric.name asks for; it has: loss/transformer" in (
        capfd.readouterr().err
    )


def test_the_metric_may_be_one_that_is_only_logged(make_sweep: MakeSweep) -> None:
    folder = make_sweep(ONE.replace("loss/transformer", "loss/gd"))
    work(folder)
    _, trials = open_sweep(folder)
    assert [trial.value for trial in trials.latest()] == [28.0, 28.0]  # 1 + 9 x 3: the last line of metrics.jsonl


def test_bad_trials_end_early(make_sweep: MakeSweep, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUICK_SECONDS", "1.5")
    monkeypatch.setattr("iclgd.sweeps.workers.worker.SECONDS_BETWEEN_EVALUATION_LOOKS", 0.05)
    folder = make_sweep(HALVING)
    work(folder, grace=0.0)
    _, trials = open_sweep(folder)
    states = [trial.state for trial in trials.latest()]
    assert states[0] == TrialState.COMPLETE  # loss/gd rises by the seed with every evaluation
    assert TrialState.PRUNED in states[1:]
    pruned = next(trial for trial in trials.latest() if trial.state == TrialState.PRUNED)
    assert pruned.last_step
    assert 3 <= pruned.last_step < 10


def test_a_sweep_without_metric_needs_none(make_sweep: MakeSweep) -> None:
    folder = make_sweep(ONE.replace("metric: {name: loss/transformer}\n", ""))
    work(folder)
    _, trials = open_sweep(folder)
    assert trials.is_finished()


def test_logs_keep_what_every_attempt_said(make_sweep: MakeSweep) -> None:
    folder = make_sweep(ONE)
    work(folder)
    assert folder.trial_log(0).read_text().splitlines()[-1] == str(folder.run_directory(0))


def test_a_worker_does_not_begin_after_a_stop(make_sweep: MakeSweep) -> None:
    folder = make_sweep(ONE)
    folder.request_stop("after")
    work(folder)
    assert not list(folder.runs.iterdir())
    folder.forget_stop()
    work(folder)
    assert len(list(folder.runs.glob("*/*/summary.json"))) == 2


def test_a_disk_that_is_nearly_full_is_not_the_trials_fault(
    make_sweep: MakeSweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_sweep(ONE + "  tracking.project: {value: raise}\n")
    monkeypatch.setattr("iclgd.sweeps.workers.worker.BYTES_TO_GO_ON", 2**60)
    with pytest.raises(OSError, match="the disk is full"):
        work(folder)
    _, trials = open_sweep(folder)
    assert [trial.state for trial in trials.latest()] == [TrialState.WAITING, TrialState.WAITING]


def test_nothing_is_read_from_the_users_folder(make_sweep: MakeSweep, tmp_path: Path) -> None:
    """The sweep's own copy counts: the user may go on writing in the file."""
    folder = make_sweep(ONE)
    (tmp_path / "quick.yaml").write_text("method: nonsense\n")
    work(folder)
    assert open_sweep(folder)[1].is_finished()
