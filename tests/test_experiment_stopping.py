"""Runs that are asked to stop, and go on later."""

import dataclasses
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from iclgd.experiments import EXPERIMENTS, ExperimentEntry, regression, text
from iclgd.runtime.recording import MetricsRecorder
from iclgd.runtime.signals import STOP_SIGNALS
from iclgd.tracking.mirror import Mirror
from iclgd.tracking.run_directory import RunDirectory
from tests.experiments.test_embedded import EMBEDDED, LANGUAGE, SMALL_LANGUAGE
from tests.processes import ICLGD, SECONDS, assert_interrupted, results, signal_now, wait_for_metrics
from tests.test_experiment import Cli, numbers, run_directory

pytestmark = pytest.mark.usefixtures("quick_images")
SMALL_TEXT = ["task.num_queries=16", "demonstrations.num=4", "evaluation={controls: [], other_task: null}"]
SPEEDS = {"train/tokens_per_second", "queries_per_second", "peak_memory_bytes"}


@pytest.fixture(autouse=True)
def _own_handlers() -> Iterator[None]:
    """Put back the handlers of signals, which stay in force once a run has been asked to stop."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, *STOP_SIGNALS)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def at_step(step: int, do: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Do something when an evaluation has been recorded."""
    record = MetricsRecorder.on_validation_end

    def record_and_do(self: MetricsRecorder, trainer: Any, pl_module: Any) -> None:
        record(self, trainer, pl_module)
        if trainer.global_step == step:
            do()

    monkeypatch.setattr(MetricsRecorder, "on_validation_end", record_and_do)


def comparable(directory: RunDirectory) -> dict[str, float]:
    return {name: value for name, value in numbers(directory).items() if name not in SPEEDS}


def only_run(tmp_path: Path, *others: RunDirectory) -> RunDirectory:
    paths = {path for path in (tmp_path / "runs").glob("*/[!.]*") if path.is_dir()}
    (path,) = paths - {other.path for other in others}
    return RunDirectory(path)


@pytest.mark.parametrize("number", STOP_SIGNALS)
@pytest.mark.parametrize(("step", "is_saved"), [(0, False), (20, True), (50, True)])
def test_a_stopped_training_goes_on_to_the_same_numbers(
    cli: Cli,
    small_config: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: signal.Signals,
    step: int,
    is_saved: bool,
) -> None:
    whole = run_directory(cli("run", small_config)[1])
    with monkeypatch.context() as patch:
        at_step(step, lambda: signal_now(number), patch)
        done = cli("run", small_config)
    stopped = only_run(tmp_path, whole)
    assert_interrupted(stopped, done)
    checkpoint = stopped.last_checkpoint()
    assert (checkpoint is not None) == is_saved
    assert checkpoint is None or stopped.step_of(checkpoint) == step
    assert [record["step"] for record in stopped.read_metrics()] == [at for at in (0, 20, 40, 50) if at <= step]
    code, _, err = cli("resume", stopped.path)
    assert code == 0, err
    assert comparable(stopped) == comparable(whole)
    assert stopped.read_metrics() == whole.read_metrics()
    weights = "weights.safetensors"
    assert (stopped.path / weights).read_bytes() == (whole.path / weights).read_bytes()


def test_a_signal_within_a_stretch_of_steps_waits_for_its_end(
    cli: Cli, small_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learning_rate_at = regression.TrainingConfig.learning_rate_at

    def signal_at_step_27(self: regression.TrainingConfig, step: int, max_steps: int) -> float:
        if step == 27:
            signal_now(signal.SIGUSR1)
        return learning_rate_at(self, step, max_steps)

    monkeypatch.setattr(regression.TrainingConfig, "learning_rate_at", signal_at_step_27)
    done = cli("run", small_config)
    stopped = only_run(tmp_path)
    assert_interrupted(stopped, done)
    assert stopped.read_metrics()[-1]["step"] == 40
    assert (stopped.checkpoints / "step=40.ckpt").exists()


def test_a_stopped_language_model_goes_on_to_the_same_numbers(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run_directory(cli("run", LANGUAGE, *SMALL_LANGUAGE)[1])
    with monkeypatch.context() as patch:
        at_step(4, lambda: signal_now(signal.SIGTERM), patch)
        done = cli("run", LANGUAGE, *SMALL_LANGUAGE)
    stopped = only_run(tmp_path, whole)
    assert_interrupted(stopped, done)
    assert cli("resume", stopped.path)[0] == 0
    assert comparable(stopped) == comparable(whole)
    assert stopped.read_metrics() == whole.read_metrics()
    model = Path("model") / "model.safetensors"
    assert (stopped.path / model).read_bytes() == (whole.path / model).read_bytes()


@pytest.mark.parametrize("where", ["analyses", "figures"])
def test_after_training_a_signal_interrupts_at_once(
    cli: Cli, small_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    def interrupt(*_: object) -> None:
        signal_now(signal.SIGUSR1)
        raise AssertionError("it goes on")

    target = {
        "analyses": "iclgd.analysis.iterated.losses_per_application",
        "figures": "iclgd.experiment.draw_figures",
    }[where]
    with monkeypatch.context() as patch:
        patch.setattr(target, interrupt)
        done = cli("run", small_config, "analysis={run: [iterated], num_tasks: 20}")
    stopped = only_run(tmp_path)
    assert_interrupted(stopped, done, has_numbers=True)
    summary = stopped.read_summary()
    assert cli("resume", stopped.path)[0] == 0
    assert [record["step"] for record in stopped.read_metrics()] == [0, 20, 40, 50]
    assert stopped.read_summary() == summary
    assert set(stopped.read_analyses()) == {"iterated"}
    assert (stopped.figures / "iterated.png").exists()


def test_a_run_that_is_complete_is_recorded_whole(
    cli: Cli, small_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish, finished = Mirror.finish, []

    def finish_after_signal(self: Mirror) -> None:
        signal_now(signal.SIGTERM)
        finish(self)
        finished.append(self)

    monkeypatch.setattr(Mirror, "finish", finish_after_signal)
    code, out, err = cli("run", small_config, "tracking.mode=offline")
    assert (code, out) == (130, "")
    assert len(finished) == 1
    assert err.count("tracking: ") == 1  # that it is offline, and nothing of a loss
    directory = only_run(tmp_path)
    assert directory.read_summary() is not None
    assert cli("resume", directory.path)[0] == 0


def test_before_there_is_a_directory_nothing_is_left(
    cli: Cli, small_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(config: regression.Config) -> regression.Prepared:
        signal_now(signal.SIGTERM)
        return regression.prepare(config)

    entry = ExperimentEntry("", lambda: dataclasses.replace(regression.EXPERIMENT, prepare=interrupt))
    monkeypatch.setitem(EXPERIMENTS, "regression", entry)
    assert cli("run", small_config) == (130, "", "iclgd: interrupted\n")
    assert not (tmp_path / "runs").exists()


def test_a_text_run_has_no_checkpoint_to_wait_for(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = []
    take_step = text.DualFormModule.training_step

    def interrupt(self: text.DualFormModule, *arguments: Any) -> None:
        steps.append(arguments)
        if len(steps) == 2:
            signal_now(signal.SIGUSR1)
        take_step(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(text.DualFormModule, "training_step", interrupt)
        done = cli("run", EMBEDDED, "tracking.mode=disabled", *SMALL_TEXT)
    assert len(steps) == 2
    stopped = only_run(tmp_path)
    assert_interrupted(stopped, done)
    assert cli("resume", stopped.path)[0] == 0
    whole = run_directory(cli("run", EMBEDDED, "tracking.mode=disabled", *SMALL_TEXT)[1])
    assert comparable(stopped) == comparable(whole)
    assert stopped.read_metrics() == whole.read_metrics()


def test_a_process_that_is_stopped_closes_its_files(cli: Cli, small_config: Path, tmp_path: Path) -> None:
    command = [*ICLGD, "run", str(small_config), "tracking.mode=offline", "trainer.max_steps=100000"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    stopped = wait_for_metrics(tmp_path / "runs", 3, [process])
    assert process.stderr is not None
    while not process.stderr.readline().startswith("tracking: W&B offline"):
        assert process.poll() is None
    process.send_signal(signal.SIGUSR1)
    process.send_signal(signal.SIGTERM)  # those who want an end may ask for it twice
    (done,) = results([process])
    assert_interrupted(stopped, done)
    last = stopped.last_checkpoint()
    assert last is not None
    assert stopped.step_of(last) == stopped.read_metrics()[-1]["step"]
    (log,) = (stopped.path / "wandb").glob("offline-run-*/logs/debug-internal.log")
    assert "stream: all finished" in log.read_text()
    config = stopped.config_path
    config.write_text(config.read_text().replace("max_steps: 100000", f"max_steps: {stopped.step_of(last) + 20}"))
    assert cli("resume", stopped.path)[0] == 0
    files = sorted((stopped.path / "wandb").glob("offline-run-*/*.wandb"))
    assert [path.name for path in files] == [f"run-{stopped.path.name}.wandb"] * 2


def test_a_signal_while_python_imports_is_one_line(small_config: Path, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [*ICLGD, "run", str(small_config)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    status = Path(f"/proc/{process.pid}/status")
    caught = 1 << (signal.SIGUSR1 - 1)
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:  # until the signal is handled, which it is before the slow imports
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        if int(lines["SigCgt"], 16) & caught:
            break
    process.send_signal(signal.SIGUSR1)
    assert results([process]) == [(130, "", "iclgd: interrupted\n")]
    assert not (tmp_path / "runs").exists()
