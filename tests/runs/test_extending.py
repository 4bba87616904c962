"""``iclgd resume RUN_DIR key=value``: a run whose end moves is the longer run, or is refused."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from iclgd.tracking.run_directory import RunDirectory
from tests.test_experiment import Cli, numbers, run_directory

pytestmark = pytest.mark.usefixtures("quick_images")
STRETCH = [
    "evaluation.every_num_steps=4",
    "evaluation.num_tasks=20",
    "training.batch_size=8",
    "training.warmup_steps=9",
]
CHANGES = "analysis={run: [iterated], num_tasks: 20, num_applications: 2}"


def content(directory: RunDirectory) -> tuple[object, ...]:
    """Return all of a run but its speed."""
    names = ("weights.safetensors", "metrics.jsonl", "config.yaml", "analysis/iterated.json", "figures/iterated.png")
    return numbers(directory), *((directory.path / name).read_bytes() for name in names)


def test_an_extended_run_is_the_longer_run(cli: Cli, small_config: Path) -> None:
    run = run_directory(cli("run", small_config, *STRETCH, "trainer.max_steps=8")[1])
    assert (
        cli("analyze", run.path, "out_of_distribution", "analysis.num_tasks=9", "analysis.shifts=[num_noise]")[0] == 0
    )
    code, _, err = cli("resume", run.path, "trainer.max_steps=18", CHANGES)
    assert code == 0, err
    assert "resuming from step 8" in err
    longer = run_directory(cli("run", small_config, *STRETCH, "trainer.max_steps=18", CHANGES)[1])
    assert content(run) == content(longer)
    assert set(run.read_analyses()) == {"iterated"}  # others were of the weights at step 8
    assert {path.name for path in run.figures.iterdir()} == {path.name for path in longer.figures.iterdir()}
    code, _, err = cli("resume", run.path)  # complete, and as it says
    assert (code, err) == (0, "")
    code, _, err = cli("resume", run.path, "trainer.max_steps=20")  # step 18 is between two evaluations of that run
    assert (code, err.count("\n")) == (2, 1)
    assert "the run has ended at step 18, between two evaluations of a longer one" in err
    assert content(run) == content(longer)


def test_what_would_be_another_run_is_refused(cli: Cli, small_config: Path) -> None:
    run = run_directory(cli("run", small_config, *STRETCH, "trainer.max_steps=8", "training.schedule=cosine")[1])
    before = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    for change, said in (
        ("trainer.max_steps=12", "with training.schedule=cosine the steps so far would have been others"),
        ("trainer.max_steps=4", "with training.schedule=cosine"),
        ("model.num_layers=2", f"start a new one with: iclgd run {run.path} model.num_layers=2"),
        ("trainer.precision=64-true", "this cannot change within a run"),
        ("trainer.max_step=9", "did you mean trainer.max_steps?"),
    ):
        code, _, err = cli("resume", run.path, change)
        assert (code, err.count("\n")) == (2, 1), err
        assert said in err
        assert {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()} == before
    shutil.rmtree(run.checkpoints)
    code, _, err = cli("resume", run.path, "trainer.max_steps=12")
    assert (code, err.count("\n")) == (2, 1)
    assert "there is no checkpoint to go on from; start a new run with: iclgd run" in err


def test_an_interrupted_extension_goes_on(cli: Cli, small_config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_directory(cli("run", small_config, *STRETCH, "trainer.max_steps=8")[1])
    with monkeypatch.context() as patch:

        def interrupted(*_: object) -> None:
            raise KeyboardInterrupt

        patch.setattr("iclgd.experiments.training.train_and_test", interrupted)
        assert cli("resume", run.path, "trainer.max_steps=12")[0] == 130
    assert run.read_summary() is None
    assert cli("resume", run.path)[0] == 0
    longer = run_directory(cli("run", small_config, *STRETCH, "trainer.max_steps=12")[1])
    assert numbers(run) == numbers(longer)
    assert run.read_metrics() == longer.read_metrics()


@pytest.mark.slow
def test_two_processes_extend_a_run_as_one_does(small_config: Path) -> None:
    two = [*STRETCH, "trainer.devices=2", "trainer.strategy=ddp"]

    def command(*arguments: object) -> RunDirectory:
        line = [sys.executable, "-m", "iclgd.cli", *map(str, arguments)]
        done = subprocess.run(line, capture_output=True, text=True, timeout=200, check=False)
        assert done.returncode == 0, done.stderr
        return run_directory(done.stdout)

    run = command("run", small_config, *two, "trainer.max_steps=8")
    assert command("resume", run.path, "trainer.max_steps=12").path == run.path
    longer = command("run", small_config, *two, "trainer.max_steps=12")
    assert numbers(run) == numbers(longer)
    assert run.read_metrics() == longer.read_metrics()
