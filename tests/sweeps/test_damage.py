"""Files of a stopped sweep that are damaged: no point is lost or run twice, or one line says what is broken."""

import contextlib
import random
import re
import shutil
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from iclgd.cli import main
from iclgd.sweeps import start as starting
from iclgd.sweeps.trials.folder import SweepFolder
from iclgd.sweeps.trials.storage import open_sweep
from iclgd.sweeps.workers import worker as working
from iclgd.sweeps.workers.options import WorkerOptions
from iclgd.sweeps.workers.worker import Worker
from iclgd.tracking.run_directory import RunDirectory
from tests.processes import signal_now
from tests.sweeps.conftest import MakeSweep
from tests.test_damage import damaged, one_line_at_most
from tests.test_experiment import Cli, numbers
from tests.test_experiment_stopping import at_step

pytestmark = pytest.mark.usefixtures("quick_images")
SHORT = "trainer.max_steps=4, evaluation.every_num_steps=2, evaluation.num_tasks=20, training.batch_size=8"
SWEEP = f"""\
method: METHOD
metric: {{name: loss/transformer}}
command: [iclgd, run, CONFIG, {SHORT}, "${{args_no_hyphens}}"]
parameters:
  seed: {{values: [0, 1, 2]}}
  training.learning_rate: RATE
"""
METHODS = {
    "grid": SWEEP.replace("METHOD", "grid").replace("RATE", "{value: 0.001}"),
    "bayes": SWEEP.replace("METHOD", "bayes").replace("RATE", "{min: 0.001, max: 0.01}") + "run_cap: 3\n",
}


class TrialHere:
    """A trial in this process; stands in for :class:`iclgd.sweeps.workers.trial_process.TrialProcess`."""

    started: list[str] = []  # noqa: RUF012

    def __init__(self, command: list[str], environment: dict[str, str], *_: object) -> None:
        self.started.append(environment["WANDB_RUN_ID"])
        with pytest.MonkeyPatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            self.exit_code = main(command[command.index("iclgd.cli") + 1 :])

    def ended_within(self, _: float) -> bool:
        return True

    def last_words(self) -> str:
        return "see above"


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let sweeps run in this process, without the seconds that each other process takes."""

    def work(workers: Any, *_: object) -> None:
        Worker(SweepFolder(workers.folder.path), WorkerOptions("here")).work()

    monkeypatch.setattr(starting, "run_workers", work)
    monkeypatch.setattr(working, "TrialProcess", TrialHere)
    monkeypatch.setattr(working, "Guard", contextlib.nullcontext)
    monkeypatch.setattr(starting.checking, "check", lambda *_: None)
    numbers_of_signals = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers_of_signals}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


MakeStopped = Callable[[str], SweepFolder]


@pytest.fixture
def stopped(cli: Cli, small_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeStopped:
    """Make a sweep that was stopped when its first trial was done and its second at step 2 of 4."""

    def make(method: str) -> SweepFolder:
        file = tmp_path / "some.yaml"
        file.write_text(METHODS[method].replace("CONFIG", str(small_config)))
        arguments = ["sweep", file, "--engine", "local", "--workers", 1, "--dir", tmp_path / "folder"]
        with monkeypatch.context() as patch:

            def stop_the_second() -> None:
                if len(list((tmp_path / "folder").glob("runs/*/[!.]*"))) == 2:
                    signal_now(signal.SIGUSR1)
                    SweepFolder(tmp_path / "folder").request_stop("now")

            at_step(2, stop_the_second, patch)
            assert cli(*arguments)[0] == 130
        return SweepFolder(tmp_path / "folder")

    return make


def is_as_expected(folder: SweepFolder, expected: SweepFolder, said: str) -> bool:
    """Say whether all numbers of a sweep are those of another, but of runs that have been said to be damaged."""
    if state(folder) != state(expected):
        return False
    told: list[str] = []
    for path in folder.runs.glob("*/[!.]*"):
        run, other = RunDirectory(path), RunDirectory(expected.runs / path.relative_to(folder.runs))
        metrics, summary = run.read_metrics(told.append), run.read_summary(told.append)
        is_same = metrics == other.read_metrics() and summary is not None and numbers(run) == numbers(other)
        if not is_same and str(path) not in said:
            return False
    return True


def state(folder: SweepFolder) -> object:
    """Return what a sweep knows of its trials."""
    _, trials = open_sweep(folder)
    return [(trial.user_attrs["point"], trial.state, trial.value) for trial in trials.latest()]


def resume(cli: Cli, folder: SweepFolder) -> tuple[int, str, str]:
    return cli("sweep", folder.path.parent / "some.yaml", "--resume", "--dir", folder.path)


def try_damages(cli: Cli, folder: SweepFolder, number: int) -> Counter[str]:
    """Damage copies of a stopped sweep, each in one place, and go on; count how that ends."""
    pristine = folder.path.with_name("pristine")
    shutil.copytree(folder.path, pristine, symlinks=True)
    assert resume(cli, folder)[0] == 0
    shutil.copytree(folder.path, folder.path.with_name("expected"), symlinks=True)
    expected = SweepFolder(folder.path.with_name("expected"))
    files = sorted(
        path.relative_to(pristine) for path in pristine.rglob("*") if path.is_file() and path.suffix != ".png"
    )
    chance = random.Random(0)
    ends: Counter[str] = Counter()
    for index in range(number):
        shutil.rmtree(folder.path)
        shutil.copytree(pristine, folder.path, symlinks=True)
        file, how = files[index % len(files)], ("flip", "flip", "cut", "empty", "remove")[index // len(files) % 5]
        damaged(folder.path / file, how, chance)
        what = f"{index}: {how} {file}"
        code, out, err = cli("sweep", "status", folder.path)
        assert code == 0, (what, out, err)
        TrialHere.started.clear()
        code, out, err = resume(cli, folder)
        what = f"{what}: exit code {code}\n{out}\n{err}"
        assert one_line_at_most(err), what
        assert not {name for name in TrialHere.started if name.endswith("0000")}, f"run again: {what}"
        if code == 0:
            is_edit = "trainer.max_steps was" in err  # which no checksum tells from one bit
            assert is_edit or is_as_expected(folder, expected, err), what
            ends["told" if re.search("damaged|put back|mended", err) else "same"] += 1
        else:
            assert code in (1, 2), what
            assert re.search(r"damaged|changed|cannot|not a |must be|expected|unknown key|not valid", err), what
            ends["refused"] += 1
    return ends


def test_a_damaged_sweep_goes_on_or_says_why_not(cli: Cli, stopped: MakeStopped) -> None:
    ends = try_damages(cli, stopped("grid"), 4)
    assert ends["same"] + ends["told"] >= 2, ends


@pytest.mark.parametrize("name", ["metrics.jsonl", "summary.json", "weights.safetensors", ""])
def test_what_a_done_trial_has_lost_is_put_back_or_told(cli: Cli, stopped: MakeStopped, name: str) -> None:
    folder = stopped("grid")
    run = folder.run_directory(0)
    assert run is not None
    before = RunDirectory(run).read_metrics()
    if name:
        (run / name).unlink()
    else:
        shutil.rmtree(run)
    TrialHere.started.clear()
    code, out, err = resume(cli, folder)
    assert code == 0, err
    assert "3 of 3 trials done" in out
    assert [each[-4:] for each in TrialHere.started] == ["0001", "0002"]
    first = err.splitlines()[0]
    if name == "metrics.jsonl":
        assert first.startswith(f"{run / name}: damaged")
        assert "put back" in first
        assert RunDirectory(run).read_metrics() == before
    elif name:
        assert first == f"{run / name}: missing; it can be mended with: iclgd resume {run}"
        assert cli("resume", run)[0] == 0
        assert RunDirectory(run).problem_with(name) is None
    else:
        assert first.startswith(f"{folder.runs}: the run {run.name} of a trial that is done is missing")


def test_a_worker_gives_back_a_trial_in_its_own_name(make_sweep: MakeSweep) -> None:
    """Whose end a damaged journal has lost: it would wait for itself."""
    folder = make_sweep(METHODS["grid"])
    worker = Worker(folder, WorkerOptions("here"))
    claim = worker.trials.claim("here")
    assert claim is not None
    assert not worker._is_over()
    again = [worker.trials.claim("here") for _ in range(3)]
    assert sorted(each.point for each in again if each is not None) == [0, 1, 2]


def test_a_trial_that_a_dead_worker_took_without_signing_does_not_keep_a_resumed_sweep_waiting(
    cli: Cli, stopped: MakeStopped, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = stopped("grid")
    _, trials = open_sweep(folder)
    waiting = next(trial for trial in trials.latest() if trial.user_attrs["point"] == 2)
    assert trials.storage.set_trial_state_values(waiting._trial_id, TrialState.RUNNING)
    monkeypatch.setattr(working, "SECONDS_BETWEEN_SEARCHES", 1000.0)  # a worker that waits would not end
    code, out, err = resume(cli, folder)
    assert code == 0, err
    assert "3 of 3 trials done" in out


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_a_sweep_damaged_at_500_places(cli: Cli, stopped: MakeStopped) -> None:
    ends = try_damages(cli, stopped("grid"), 500)
    print(dict(ends))  # noqa: T201
    assert sum(ends.values()) == 500
    assert ends["same"] + ends["told"] > 400


@pytest.mark.parametrize(
    ("method", "damage"),
    [
        ("bayes", "flip"),
        ("bayes", "cut"),
        *(
            pytest.param(method, damage, marks=pytest.mark.slow)
            for method, damage in [
                ("grid", "flip"),
                ("grid", "empty"),
                ("grid", "gone"),
                ("grid", "cut"),
                ("bayes", "empty"),
                ("bayes", "gone"),
            ]
        ),
    ],
)
def test_a_sweep_goes_on_from_its_runs_without_its_journal(
    cli: Cli, stopped: MakeStopped, method: str, damage: str
) -> None:
    folder = stopped(method)
    before = state_of_points(folder)
    content = folder.journal.read_bytes()
    if damage == "gone":
        folder.journal.unlink()
    elif damage == "flip":
        at = content.index(b'"values":[0.')
        folder.journal.write_bytes(content[: at + 12] + bytes([content[at + 12] ^ 1]) + content[at + 13 :])
    else:
        lines = content.splitlines(keepends=True)
        plan = next(number for number, line in enumerate(lines) if b'"worker":' in line)
        folder.journal.write_bytes(b"" if damage == "empty" else b"".join(lines[: plan - 1]))
    code, out, err = cli("sweep", "status", folder.path)
    assert code == 0, err
    assert ("journal.log" in err) == (damage != "cut"), err
    assert damage == "cut" or re.search(r"done +│ +1", out), out
    TrialHere.started.clear()
    code, out, err = resume(cli, folder)
    assert code == 0, err
    assert "3 of 3 trials done" in out
    assert state_of_points(folder)[:1] == before[:1]
    begun = [name[-4:] for name in TrialHere.started]
    assert begun.count("0000") == (damage == "cut" and method == "grid"), "shown complete again, not run again"
    assert sorted({*begun} - {"0000"}) == ["0001", "0002"]


def state_of_points(folder: SweepFolder) -> list[object]:
    sweep, trials = open_sweep(folder)
    return [
        (trial.value, sweep.overrides({**trial.user_attrs.get("raws", {}), **trial.params}) if trial.value else None)
        for trial in trials.latest()
    ]


@pytest.mark.parametrize("name", [".DS_Store", "notes.txt"])
def test_foreign_files_among_the_workers_are_passed_over(cli: Cli, make_sweep: MakeSweep, name: str) -> None:
    folder = make_sweep(METHODS["grid"])
    (folder.workers / name).write_bytes(b"\0\0\0\1Bud1\xff\xfe")
    code, out, err = cli("sweep", "status", folder.path)
    assert (code, err) == (0, "")
    assert re.search(r"workers +│ +0", out)


@pytest.mark.parametrize("name", ["options.json", "sweep.yaml"])
@pytest.mark.parametrize("content", [None, b"", b"{}", b"\0\0", b"[1"])
def test_a_sweep_s_small_files_are_put_back(cli: Cli, make_sweep: MakeSweep, name: str, content: bytes | None) -> None:
    folder = make_sweep(METHODS["grid"])
    whole = (folder.path / name).read_bytes()
    if content is None:
        (folder.path / name).unlink()
    else:
        (folder.path / name).write_bytes(content)
    code, _, err = cli("sweep", "status", folder.path)
    assert code == 0
    (line,) = err.splitlines()
    assert line.startswith(f"{folder.path / name}: ")
    assert "put back from" in line
    assert (folder.path / name).read_bytes() == whole


def test_a_flipped_option_is_noticed(cli: Cli, make_sweep: MakeSweep) -> None:
    folder = make_sweep(METHODS["grid"])
    options = folder.path / "options.json"
    options.write_text(options.read_text().replace('"seed": 0', '"seed": 1'))
    assert SweepFolder(folder.path).options == folder.options
    assert '"seed": 0' in options.read_text()
