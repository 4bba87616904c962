"""Who writes a sweep's journal may be killed at any of its entries: others go on, no point is lost or run twice.

Each act below is done by a process of its own again and again, killed at its first entry, at its second, and so on
until it ends alive; half of them die in the middle of the entry. Each time others then bring the sweep to its end.
"""

import contextlib
import functools
import json
import os
import random
import signal
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
from optuna.trial import TrialState

from iclgd.sweeps.trials import claims
from iclgd.sweeps.trials.folder import SweepFolder
from iclgd.sweeps.trials.journal import SafeJournalBackend
from iclgd.sweeps.trials.storage import open_sweep
from iclgd.sweeps.workers import liveness
from iclgd.sweeps.workers import worker as worker_module
from iclgd.sweeps.workers.liveness import Observer
from iclgd.sweeps.workers.options import WorkerOptions
from iclgd.sweeps.workers.worker import Worker
from tests.sweeps.conftest import MakeSweep

HEAD = """\
metric: {name: loss/transformer}
command: [iclgd, run, configs/regression/debug.yaml, "${args_no_hyphens}"]
"""
GRID = f"method: grid\n{HEAD}parameters: {{seed: {{values: [0, 1]}}}}\n"
BAYES = f"method: bayes\n{HEAD}parameters: {{training.learning_rate: {{min: 0.0, max: 0.1}}, seed: {{value: 0}}}}\n"
HALVING = f"{GRID}early_terminate: {{type: hyperband, min_iter: 1, eta: 2}}\n"
NUM_POINTS = 2
SECONDS = 60  # for an act, before it is taken to hang
ALIVE, KILLED = 0, -signal.SIGKILL
Act = Callable[[SweepFolder], object]


@pytest.fixture(autouse=True)
def _quick(quick_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PYTHONPATH", "QUICK_RECORD"):
        monkeypatch.setenv(name, quick_environment[name])
    monkeypatch.setenv("QUICK_SECONDS", "0")
    monkeypatch.setattr(claims, "SECONDS_WITHOUT_OWNER", 0.1)
    monkeypatch.setattr(worker_module, "SECONDS_BETWEEN_SEARCHES", 0.02)


def start(act: Callable[[], object], dies_at: int | None = None, torn: bool = False) -> int:
    """Do something in a process of its own, which is killed when it writes an entry; return its id.

    Args:
        act: what to do.
        dies_at: number of the entry, from 1.
        torn: die in the middle of the entry, or else when it is on the disk; either way, with the journal's lock.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads: those of a library that idle
        child = os.fork()
    if child == 0:
        try:
            signal.alarm(SECONDS)
            if dies_at is not None:
                _die_at(dies_at, torn)
            act()
        except BaseException:
            sys.excepthook(*sys.exc_info())
            os._exit(1)
        os._exit(ALIVE)
    return child


def do(act: Callable[[], object], dies_at: int | None = None, torn: bool = False) -> int:
    """Do as :func:`start` and wait for the end; return the exit code."""
    return ended(start(act, dies_at, torn))


def _die_at(last: int, torn: bool) -> None:
    append, num_written = SafeJournalBackend._append, 0

    def append_or_die(backend: SafeJournalBackend, lines: bytes) -> None:
        nonlocal num_written
        num_written += 1
        is_last = num_written == last
        if is_last and torn:
            with backend.path.open("ab", buffering=0) as file:
                file.write(lines[: len(lines) // 2])
        else:
            append(backend, lines)
        if is_last:
            os.kill(os.getpid(), signal.SIGKILL)

    SafeJournalBackend._append = append_or_die  # type: ignore[method-assign, assignment]


def work(folder: SweepFolder) -> None:
    Worker(folder, WorkerOptions(name=f"worker-{os.getpid()}")).work()


def give_back(folder: SweepFolder) -> None:
    _, trials = open_sweep(folder)
    claim = trials.claim("interrupted")
    assert claim
    trials.give_back(claim, "interrupted")


def report_and_prune(folder: SweepFolder) -> None:
    _, trials = open_sweep(folder)
    claim = trials.claim("reports")
    assert claim
    trials.should_prune(claim, 1, 1.0)
    trials.prune(claim)


def fail_all(folder: SweepFolder) -> None:
    _, trials = open_sweep(folder)
    while (claim := trials.claim("unlucky")) is not None:
        trials.fail(claim, "it broke")


def revive(folder: SweepFolder) -> None:
    open_sweep(folder)[1].revive()


def check(folder: SweepFolder, record: Path, num_pruned: int = 0) -> None:
    """Every point has ended once, nobody seems to be alive, and every entry can be read."""
    _, trials = open_sweep(folder)
    assert trials.is_finished()
    states, num_done = [trial.state for trial in trials.latest()], trials.num_points - num_pruned
    assert sorted(states) == [TrialState.COMPLETE] * num_done + [TrialState.PRUNED] * num_pruned
    ends = [line for line in record.read_text().splitlines() if line.endswith(" ends")]
    assert len(ends) == len(set(ends)) == num_done
    assert Observer(folder.workers).living() == []
    *whole, _ = folder.journal.read_text().split("\n")  # who was killed last may have left the beginning of an entry
    for line in whole:
        json.loads(line)


@pytest.mark.parametrize("torn", [False, True])
@pytest.mark.parametrize(
    ("text", "before", "act", "num_entries"),
    [
        pytest.param(GRID, None, work, 6, id="work"),  # each trial: taken, signed for, ended
        pytest.param(BAYES, None, work, 10, id="suggest"),  # and two parameters
        pytest.param(GRID, lambda folder: open_sweep(folder)[1].claim("dead"), work, 9, id="recover"),
        pytest.param(GRID, None, give_back, 5, id="give-back"),
        pytest.param(HALVING, None, report_and_prune, 5, id="prune"),
        pytest.param(GRID, fail_all, revive, 2, id="revive"),
    ],
)
def test_others_go_on(
    make_sweep: MakeSweep,
    tmp_path: Path,
    record: Path,
    text: str,
    before: Act | None,
    act: Act,
    num_entries: int,
    torn: bool,
) -> None:
    for entry in range(1, num_entries + 2):
        record.unlink(missing_ok=True)
        folder = make_sweep(text, count=NUM_POINTS, path=tmp_path / f"killed at {entry}")
        if before is not None:
            before(folder)
        assert do(lambda: act(folder), entry, torn) == (KILLED if entry <= num_entries else ALIVE)  # noqa: B023
        if act is revive:  # the next who resumes the sweep does it again
            assert do(lambda: revive(folder)) == ALIVE  # noqa: B023
        assert do(lambda: work(folder)) == ALIVE  # noqa: B023
        pruned = [each for each in open_sweep(folder)[1].latest() if each.state == TrialState.PRUNED]
        check(folder, record, len(pruned))
        assert not pruned or (act is report_and_prune and entry >= num_entries)


@pytest.mark.parametrize("seed", range(4))
def test_those_who_recover_may_die_too(make_sweep: MakeSweep, record: Path, seed: int) -> None:
    """Three workers at a time; the first ten are killed, and each is replaced."""
    folder, generator = make_sweep(GRID.replace("[0, 1]", str([*range(8)]))), random.Random(seed)
    entries = [generator.randint(1, 5) for _ in range(10)]

    def start_another() -> int:
        return start(lambda: work(folder), entries.pop() if entries else None, generator.random() < 0.5)

    workers, num_killed = {start_another() for _ in range(3)}, 0
    while workers:
        ended, status = os.wait()
        workers.remove(ended)
        if (code := os.waitstatus_to_exitcode(status)) != ALIVE:
            assert code == KILLED
            num_killed += 1
            workers.add(start_another())
    assert num_killed >= 3
    check(folder, record)


@pytest.mark.parametrize("with_trial", [False, True])
def test_a_worker_that_was_only_taken_for_dead_does_no_harm(
    make_sweep: MakeSweep, tmp_path: Path, record: Path, monkeypatch: pytest.MonkeyPatch, with_trial: bool
) -> None:
    """A worker stands still, alone or with its trial, until one on another machine has taken the trial over."""
    monkeypatch.setenv("QUICK_SECONDS", "2")
    beats = functools.partial(liveness.heartbeat, seconds_between=0.1)
    monkeypatch.setattr(worker_module, "heartbeat", beats)
    text = GRID.replace("[0, 1]", "[0]")
    folder = make_sweep(text)

    def work_here() -> None:
        Worker(folder, WorkerOptions(name="hung", seconds_until_dead=1.0)).work()

    def work_elsewhere() -> None:
        vars(liveness)["machine_id"] = lambda: "another machine"
        Worker(folder, WorkerOptions(name="other", seconds_until_dead=1.0)).work()

    hung = start(work_here)
    wait_until(lambda: record.exists())
    stopped = [hung, *(children(hung) if with_trial else [])]
    for process in stopped:
        os.kill(process, signal.SIGSTOP)
    _, trials = open_sweep(folder)
    other = start(work_elsewhere)
    wait_until(lambda: len(trials._trials()) == 2 and trials._trials()[1].state == TrialState.RUNNING)
    if not with_trial:  # which has ended well; the other worker finds it so
        assert ended(other) == ALIVE
    for process in stopped:
        with contextlib.suppress(ProcessLookupError):  # the worker was quick to end its trial
            os.kill(process, signal.SIGCONT)
    if with_trial:
        assert ended(other) == ALIVE
    assert ended(hung) == ALIVE
    check(folder, record)
    attempts = folder.trial_log(0).read_text().splitlines()
    assert attempts == [str(folder.run_directory(0))] * (1 if with_trial else 2)  # nobody found the run taken


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def children(process: int) -> list[int]:
    """Return the processes that this one has started, but its guard."""
    listed = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return [int(child) for child in listed if b"iclgd.cli" in Path(f"/proc/{child}/cmdline").read_bytes()]


def ended(process: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


@pytest.mark.parametrize("entry", [1, 2, NUM_POINTS + 1, NUM_POINTS + 2])
def test_a_sweep_that_is_killed_while_it_is_made_leaves_its_place_free(
    make_sweep: MakeSweep, tmp_path: Path, record: Path, entry: int
) -> None:
    """Entries: the study, its direction among them, each point, and their number."""
    code = do(lambda: make_sweep(GRID), entry)
    assert code == (KILLED if entry <= NUM_POINTS + 2 else ALIVE)
    assert not (tmp_path / "folder").exists()
    folder = make_sweep(GRID)
    assert do(lambda: work(folder)) == ALIVE
    check(folder, record)
