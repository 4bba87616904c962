"""Many workers on one journal, as a simulation of discrete events: what would a thousand of them wait for?

It follows iclgd/sweeps/trials/claims.py and journal.py step by step. Every change of a trial is an entry that a worker
appends under the one lock of the journal: two to take a trial, one to end it. The processes of a machine queue for the
lock; the first of each machine polls the link between machines, ever less often. A worker that looks at the trials
replays what others have appended, on a core of its machine, and takes the waiting trial of its own position, for which
another may be just a little earlier. Heartbeats are files of their own, not entries.
"""

import heapq
import itertools
import random
from collections import deque
from collections.abc import Generator, Iterable
from dataclasses import dataclass

from iclgd.sweeps.trials.journal import LONGEST_PAUSE

WAITING, RUNNING, COMPLETE = range(3)
SPREAD = 0.2  # trials take up to this share less or more than they should on average

Process = Generator[float | None, None, None]


@dataclass(frozen=True)
class Costs:
    """Seconds, and bytes."""

    append: float = 0.0  # that an entry keeps the lock
    read: float = 0.0  # to look whether there is something new
    replay: float = 0.0  # an entry that is new
    scan: float = 0.0  # a trial, by who looks for waiting ones
    planned_bytes: float = 0.0  # of a trial's entry in the plan
    entry_bytes: float = 0.0  # of a later entry


@dataclass(frozen=True)
class Setting:
    """What is simulated."""

    num_trials: int
    num_workers: int
    trial_seconds: float
    workers_per_machine: int
    cores_per_machine: int
    seed: int = 0


@dataclass(frozen=True)
class Outcome:
    """What came of it."""

    seconds: float  # until the last trial ended
    waiting: float  # share of the workers' time, from their start to their end, that was not spent on trials
    lock_in_use: float  # share of all seconds
    num_lost_claims: int  # entries for a trial that another worker took first
    longest_unsigned: float  # seconds between taking a trial and signing for it
    journal_bytes: float


class Clock:
    """Runs processes: generators that yield how many seconds they sleep, or None until they are woken."""

    def __init__(self) -> None:
        self.now = 0.0
        self.current: Process | None = None
        self._events: list[tuple[float, int, Process]] = []
        self._numbers = itertools.count()

    def wake(self, process: Process, after: float = 0.0) -> None:
        """Let a process go on after so many seconds."""
        heapq.heappush(self._events, (self.now + after, next(self._numbers), process))

    def run(self) -> None:
        """Go on until all processes have ended."""
        while self._events:
            self.now, _, self.current = heapq.heappop(self._events)
            seconds = next(self.current, -1.0)
            if seconds is not None and seconds >= 0:
                self.wake(self.current, seconds)


class Queue:
    """Lets in so many processes at once; first come, first served."""

    def __init__(self, clock: Clock, capacity: int) -> None:
        self._clock = clock
        self._free = capacity
        self._waiting: deque[Process] = deque()

    def enter(self) -> Process:
        """Wait for a place."""
        if self._free:
            self._free -= 1
            return
        assert self._clock.current is not None
        self._waiting.append(self._clock.current)
        yield None

    def leave(self) -> None:
        """Give the place to the next."""
        if self._waiting:
            self._clock.wake(self._waiting.popleft())
        else:
            self._free += 1


class Simulation:
    """A sweep of trials that all take about as long.

    Args:
        setting: its size.
        costs: of what workers do beside trials.
    """

    def __init__(self, setting: Setting, costs: Costs) -> None:
        self.setting = setting
        self.costs = costs
        self.clock = Clock()
        self._random = random.Random(setting.seed)
        low, high = (setting.trial_seconds * (1 + sign * SPREAD) for sign in (-1, 1))
        self._durations = [self._random.uniform(low, high) for _ in range(setting.num_trials)]
        self._states = [WAITING] * setting.num_trials
        self._waiting = list(range(setting.num_trials))
        self._num_appended = 0
        self._num_known = [-setting.num_trials] * setting.num_workers  # at its start a worker replays the plan, too
        num_machines = -(-setting.num_workers // setting.workers_per_machine)
        self._cores = [Queue(self.clock, setting.cores_per_machine) for _ in range(num_machines)]
        self._kernel_locks = [Queue(self.clock, 1) for _ in range(num_machines)]
        self._link_is_taken = False
        self._busy = self._worker_seconds = self._longest_unsigned = self._last_end = 0.0
        self._num_lost_claims = 0

    def run(self) -> Outcome:
        """Return what happens."""
        for worker in range(self.setting.num_workers):
            self.clock.wake(self._work(worker))
        self.clock.run()
        in_use = self._num_appended * self.costs.append / self._last_end
        plan_bytes = self.setting.num_trials * self.costs.planned_bytes
        return Outcome(
            seconds=self._last_end,
            waiting=1 - self._busy / self._worker_seconds,
            lock_in_use=in_use,
            num_lost_claims=self._num_lost_claims,
            longest_unsigned=self._longest_unsigned,
            journal_bytes=plan_bytes + self._num_appended * self.costs.entry_bytes,
        )

    def _work(self, worker: int) -> Process:
        start = self.clock.now
        while True:
            yield from self._look(worker)
            yield from self._compute(worker, self.costs.scan * self.setting.num_trials)
            if not self._waiting:
                break
            trial = self._waiting[worker % len(self._waiting)]
            yield from self._look(worker)  # as Optuna does before it takes a trial
            if self._states[trial] != WAITING:
                continue
            yield from self._append(worker)
            if self._states[trial] != WAITING:
                self._num_lost_claims += 1
                yield from self._look(worker)
                continue
            self._states[trial] = RUNNING
            self._waiting.remove(trial)
            taken = self.clock.now
            yield from self._look(worker)
            yield from self._append(worker)  # signs for it
            self._longest_unsigned = max(self._longest_unsigned, self.clock.now - taken)
            yield from self._look(worker)
            yield self._durations[trial]
            self._busy += self._durations[trial]
            yield from self._append(worker)
            self._states[trial] = COMPLETE
            self._last_end = self.clock.now
            yield from self._look(worker)
        self._worker_seconds += self.clock.now - start

    def _look(self, worker: int) -> Process:
        """Read and replay what is new."""
        yield self.costs.read
        num_new = self._num_appended - self._num_known[worker]
        self._num_known[worker] = self._num_appended
        yield from self._compute(worker, num_new * self.costs.replay)

    def _append(self, worker: int) -> Process:
        kernel_lock = self._kernel_locks[worker // self.setting.workers_per_machine]
        yield from kernel_lock.enter()
        pause = 0.001
        while self._link_is_taken:
            yield pause * self._random.uniform(0.5, 1)
            pause = min(2 * pause, LONGEST_PAUSE)
        self._link_is_taken = True
        yield self.costs.append
        self._num_appended += 1
        self._link_is_taken = False
        kernel_lock.leave()

    def _compute(self, worker: int, seconds: float) -> Process:
        if seconds > 0:
            cores = self._cores[worker // self.setting.workers_per_machine]
            yield from cores.enter()
            yield seconds
            cores.leave()


def table(settings: Iterable[tuple[Setting, Outcome, Outcome]]) -> list[str]:
    """Return a Markdown table of settings, their outcome, and that of a journal that costs nothing."""
    columns = ["workers", "trial", "total", "times the ideal", "workers wait", "lock in use", "lost claims"]
    columns += ["longest unsigned", "journal", "limited by"]
    lines = ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    for setting, outcome, ideal in settings:
        cells = [
            f"{setting.num_workers}",
            f"{setting.trial_seconds:g} s",
            f"{outcome.seconds:,.0f} s",
            f"{outcome.seconds / ideal.seconds:.2f}",
            f"{100 * outcome.waiting:.1f} %",
            f"{100 * outcome.lock_in_use:.1f} %",
            f"{outcome.num_lost_claims}",
            f"{outcome.longest_unsigned:.1f} s",
            f"{outcome.journal_bytes / 1e6:.1f} MB",
            "the lock" if outcome.seconds > 1.1 * ideal.seconds else "the trials",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return lines
