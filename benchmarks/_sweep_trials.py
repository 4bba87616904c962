"""Sweeps whose trials do nothing: how they are made, run by one worker or by many at once, and checked."""

import contextlib
import json
import multiprocessing
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

from optuna.trial import FrozenTrial, TrialState

from benchmarks._sweep_simulation import SPREAD
from iclgd.sweeps.file.schema import read
from iclgd.sweeps.trials.claims import Claim
from iclgd.sweeps.trials.folder import SweepFolder, SweepOptions
from iclgd.sweeps.trials.journal import open_journal
from iclgd.sweeps.trials.plan import plan
from iclgd.sweeps.trials.search import draw
from iclgd.sweeps.trials.storage import new_storage, open_sweep
from iclgd.sweeps.workers.options import WorkerOptions
from iclgd.sweeps.workers.worker import Worker

SWEEP = """\
method: random
command: [iclgd, run, debug, "${args_no_hyphens}"]
parameters:
  training.learning_rate: {distribution: log_uniform_values, min: 0.0001, max: 0.1}
  model.num_layers: {values: [1, 2, 3, 4]}
  seed: {values: [0, 1, 2, 3, 4, 5, 6, 7]}
"""
TRIAL_SECONDS = 0.05  # of trials that sleep, on average


class TimedWorker(Worker):
    """A worker of trials that do nothing but make their run directory; a plain process runs before each."""

    def __init__(self, folder: SweepFolder, options: WorkerOptions, beside_plain: bool) -> None:
        super().__init__(folder, options)
        self.beside_plain = beside_plain
        self.num_trials = 0
        self.plain: list[float] = []
        self.cycles: list[float] = []  # seconds from the command of a trial to that of the next
        self._since: float | None = None

    def command(self, claim: Claim) -> list[str]:
        """Return a command that fails the second time."""
        self.stop_clock()
        self.num_trials += 1
        run_directory = self.folder.runs / "noop" / self.folder.run_id(claim.point)
        if self.beside_plain:
            start = time.perf_counter()
            run_plainly(
                ["/bin/mkdir", f"{run_directory}-plain"], self.environment(claim), self.folder.logs / "plain.log"
            )
            self.plain.append(time.perf_counter() - start)
        self._since = time.perf_counter()
        return ["/bin/mkdir", str(run_directory)]

    def stop_clock(self) -> None:
        """End a cycle, if one has begun."""
        if self._since is not None:
            self.cycles.append(time.perf_counter() - self._since)


def run_plainly(command: list[str], environment: dict[str, str], log: Path) -> None:
    """Start a process and await its end."""
    with log.open("ab") as output:
        subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=True)


def make_sweep(path: Path, num_trials: int) -> SweepFolder:
    """Make a sweep's folder as ``iclgd sweep`` does."""
    source = path.with_name(f"{path.name}.yaml")
    source.write_text(SWEEP, encoding="utf-8")
    sweep = read(source)
    options = SweepOptions(name="noop", sweep_id="abc123", engine="local", working_directory=str(path.parent))

    def fill(folder: Path) -> None:
        with new_storage(None, folder / "journal.log") as storage:
            plan(storage, sweep, options, draw(sweep, num_trials, seed=0))
        (folder / "runs" / "noop").mkdir()

    return SweepFolder.create(path, SWEEP, options, fill)


@contextlib.contextmanager
def former_signal_handlers() -> Iterator[None]:
    """Put back what a worker does to signals."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def check_sweep(folder: SweepFolder, expected: dict[str, int], num_trials: int) -> None:
    """Make sure that every trial was run once, by who says so, and that no entry is lost.

    Args:
        folder: of the sweep.
        expected: how many trials each worker says that it has run.
        num_trials: that were planned.

    Raises:
        RuntimeError: otherwise.
    """
    trials = trials_of(folder)
    told = Counter(trial.user_attrs.get("worker") for trial in trials)
    ends: Counter[int] = Counter()
    for line in folder.journal.read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        ends[entry.get("trial_id", -1)] += entry.get("state") == TrialState.COMPLETE
    if (
        len(trials) != num_trials
        or any(trial.state != TrialState.COMPLETE for trial in trials)
        or told != Counter({worker: number for worker, number in expected.items() if number})
        or any(ends[trial._trial_id] != 1 for trial in trials)
    ):
        raise RuntimeError(f"{folder.path}: trials were lost or run twice: {told}, expected {expected}")


def trials_of(folder: SweepFolder) -> list[FrozenTrial]:
    """Return all trials."""
    return open_journal(folder.journal).get_all_trials(0, deepcopy=False)


def run_workers(
    folder: SweepFolder, num_workers: int, work: Callable[[SweepFolder, int], int]
) -> tuple[float, dict[str, int]]:
    """Let processes work at once; return seconds to the end of the last trial, and how many each has run."""
    context = multiprocessing.get_context("fork")
    ready = context.Barrier(num_workers + 1)
    results = context.SimpleQueue()

    def begin(position: int) -> None:
        ready.wait()
        results.put((f"worker-{position}", work(folder, position)))

    processes = [context.Process(target=begin, args=(position,)) for position in range(num_workers)]
    for process in processes:
        process.start()
    ready.wait()
    start = datetime.now()
    for process in processes:
        process.join()
    if any(process.exitcode for process in processes):
        raise RuntimeError(f"{folder.path}: a worker failed")
    counts = dict(results.get() for _ in processes)
    last = max(trial.datetime_complete or start for trial in trials_of(folder))
    return (last - start).total_seconds(), counts


def run_noop_trials(folder: SweepFolder, position: int) -> int:
    """Work as ``iclgd sweep work`` does; return the number of trials."""
    worker = TimedWorker(folder, WorkerOptions(f"worker-{position}", position), beside_plain=False)
    worker.work()
    return worker.num_trials


def run_sleeping_trials(folder: SweepFolder, position: int) -> int:
    """Take and end trials, during which this process sleeps; return their number."""
    _, trials = open_sweep(folder)
    generator = random.Random(position)
    number = 0
    while (claim := trials.claim(f"worker-{position}", position)) is not None:
        time.sleep(TRIAL_SECONDS * generator.uniform(1 - SPREAD, 1 + SPREAD))
        trials.complete(claim, None)
        number += 1
    return number
