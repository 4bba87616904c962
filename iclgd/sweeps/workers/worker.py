"""A worker takes trials, one at a time, and runs each as ``iclgd run CONFIG key=value ...`` until none is left."""

import contextlib
import fcntl
import os
import shutil
import signal
import sys
import time
from pathlib import Path

from iclgd import own_entries
from iclgd.sweeps.trials.claims import Claim
from iclgd.sweeps.trials.folder import SweepFolder
from iclgd.sweeps.trials.outcome import NoMetricError, final_value, values_so_far
from iclgd.sweeps.trials.storage import open_sweep
from iclgd.sweeps.workers import slurm_commands
from iclgd.sweeps.workers.guard import Guard
from iclgd.sweeps.workers.liveness import Observer, heartbeat
from iclgd.sweeps.workers.options import WorkerOptions
from iclgd.sweeps.workers.trial_process import TrialProcess
from iclgd.terminal import say
from iclgd.tracking.run_directory import RunDirectory

SECONDS_BETWEEN_LOOKS = 0.2
SECONDS_BETWEEN_EVALUATION_LOOKS = 1.0
SECONDS_BETWEEN_SEARCHES = 1.0  # of a worker without a trial
SECONDS_OF_PATIENCE = 300.0  # of a worker without a trial that keeps nodes of a cluster from others
BYTES_TO_GO_ON = 2**20  # with less on the disk, a failure is the disk's
WORKER_STOPS, SWEEP_STOPS = "worker was asked to stop", "sweep was asked to stop"  # others go on with the trial
NUM_FIRST_FAILURES = 5  # a worker whose first trials all fail does not try the others


class WorkerError(OSError):
    """A worker that cannot go on."""


class Worker:
    """A worker of the local engine.

    Args:
        folder: of the sweep.
        options: of the worker.

    Raises:
        SweepError: if the sweep cannot be read.
    """

    def __init__(self, folder: SweepFolder, options: WorkerOptions) -> None:
        self.folder = folder
        self.options = options
        self.sweep, self.trials = open_sweep(folder)
        self._observer = Observer(folder.workers, options.seconds_until_dead)
        self._signal: int | None = None
        self._successes = self._failures = 0

    def work(self) -> None:
        """Run trials until every point is done, or somebody asks to stop.

        Raises:
            OSError: if the journal, a log or a run directory cannot be written.
        """
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
            signal.signal(number, self._on_signal)
        with heartbeat(self.folder.workers / self.options.name), Guard() as guard:
            last_busy = time.monotonic()
            while not self._must_stop() and self.folder.stop_mode() is None:
                claim = self.trials.claim(self.options.name, self.options.position)
                if claim is not None:
                    self._run(claim, guard)
                    last_busy = time.monotonic()
                elif self._is_over() or (
                    self.options.is_on_slurm and time.monotonic() - last_busy > SECONDS_OF_PATIENCE
                ):
                    return
                else:  # others may yet die
                    time.sleep(SECONDS_BETWEEN_SEARCHES)
        if self._signal == signal.SIGUSR1 and self.options.is_on_slurm:
            slurm_commands.requeue_self()

    def _is_over(self) -> bool:
        # This worker has no trial now: one in its name is that of an earlier one, whose end the journal has lost.
        self.trials.recover(lambda name: name != self.options.name and self._observer.is_alive(name))
        return self.trials.is_finished()

    def _on_signal(self, number: int, _: object) -> None:
        self._signal = number

    def _must_stop(self) -> bool:
        return self._signal is not None or self.options.is_orphan()

    def _run(self, claim: Claim, guard: Guard) -> None:
        """Run a trial to its end, whichever that is, and tell the others."""
        if not self._wait_for_predecessor(claim):
            self.trials.give_back(claim, WORKER_STOPS)
            return
        log = self.folder.trial_log(claim.point)
        process = TrialProcess(
            self.command(claim), self.environment(claim), log, Path(self.folder.options.working_directory), guard
        )
        asked_because = self._watch(process, claim)
        if process.exit_code != 0 and self.options.is_on_slurm:
            slurm_commands.end_steps()  # of an srun that was killed, the tasks go on
        run_directory = self.folder.run_directory(claim.point)
        if run_directory is not None and _has_result(process.exit_code, run_directory):
            if process.exit_code:
                say(f"trial {claim.point}: it has its numbers, but not all analyses or figures; see {log}")
            self._complete(claim, run_directory)
        elif asked_because == "lost":  # to others, who have told what became of it
            return
        elif asked_because == "pruned":
            self.trials.prune(claim)
        elif asked_because == "time limit":
            self._fail(claim, f"time limit of {self.options.time_limit:g} minutes")
        elif asked_because is not None:
            self.trials.give_back(claim, asked_because)
        else:
            self._explain(claim, process)

    def _wait_for_predecessor(self, claim: Claim) -> bool:
        """Wait while an earlier attempt still works on the run; return whether this worker may begin.

        The worker of that attempt is dead, but what it started on other nodes is not; or it was only taken for dead.
        """
        begun = self.folder.run_directory(claim.point)
        while begun is not None and _is_worked_on(begun):
            if self._must_stop() or self.folder.stop_mode() is not None:
                return False
            time.sleep(SECONDS_BETWEEN_SEARCHES)
        return True

    def _watch(self, process: TrialProcess, claim: Claim) -> str | None:
        """Wait for a trial's end; return why it was asked to stop, if it was."""
        started = looked = time.monotonic()
        asked_because, asked_at, num_reported = None, 0.0, 0
        last_look = time.time()  # which goes on while a machine sleeps
        while not process.ended_within(SECONDS_BETWEEN_LOOKS):
            now, pause = time.monotonic(), time.time() - last_look
            last_look += pause
            if pause > self.options.seconds_until_dead / 2 and not self.trials.holds(claim):
                asked_because = "lost"
                process.kill()
            elif asked_because is None:
                if self._must_stop():
                    asked_because = WORKER_STOPS
                elif self.folder.stop_mode() == "now":
                    asked_because = SWEEP_STOPS
                elif self.options.time_limit is not None and now - started > 60 * self.options.time_limit:
                    asked_because = "time limit"
                elif self.sweep.early_termination and now - looked > SECONDS_BETWEEN_EVALUATION_LOOKS:
                    looked = now
                    num_reported, must_end = self._report(claim, num_reported)
                    asked_because = "pruned" if must_end else None
                if asked_because is not None:
                    asked_at = now
                    process.ask_to_stop()
                    if asked_because in (WORKER_STOPS, SWEEP_STOPS):
                        self.trials.announce_return(claim, asked_because)
            elif now - asked_at > self.options.grace:
                process.kill()
        return asked_because

    def _report(self, claim: Claim, num_reported: int) -> tuple[int, bool]:
        """Report new values of the metric; return how many there are in all and whether the trial must end."""
        run_directory = self.folder.run_directory(claim.point)
        if run_directory is None or self.sweep.metric is None:
            return num_reported, False
        values = values_so_far(run_directory, self.sweep.metric)
        verdicts = [
            self.trials.should_prune(claim, step, value)
            for step, value in enumerate(values[num_reported:], start=num_reported + 1)
        ]
        return len(values), any(verdicts)

    def _complete(self, claim: Claim, run_directory: Path) -> None:
        try:
            value = final_value(run_directory, self.sweep.metric) if self.sweep.metric else None
        except NoMetricError as error:
            self._fail(claim, str(error))
        else:
            self.trials.complete(claim, value)
            self._successes += 1

    def _explain(self, claim: Claim, process: TrialProcess) -> None:
        """Decide whether a trial that ended by itself without a result is to blame."""
        code = process.exit_code
        if shutil.disk_usage(self.folder.path).free < BYTES_TO_GO_ON:
            self.trials.give_back(claim, "disk full")
            raise WorkerError(f"{self.folder.path}: the disk is full")
        if code == 130:
            self.trials.give_back(claim, "interrupted")
        elif code < 0 or code == 128 + signal.SIGKILL:
            kills = claim.kills + 1
            name = signal.Signals(-code if code < 0 else code - 128).name
            if kills <= self.options.retries:
                self.trials.give_back(claim, f"killed by {name}", kills=kills)
            else:
                self._fail(claim, f"killed by {name}, {kills} times")
        else:
            self._fail(claim, process.last_words().removeprefix("iclgd: ") or f"exit code {code}")

    def _fail(self, claim: Claim, reason: str) -> None:
        self.trials.fail(claim, reason)
        self._failures += 1
        say(f"trial {claim.point}: {reason}")
        if self._failures >= NUM_FIRST_FAILURES and self._successes == 0:
            raise WorkerError(f"the first {self._failures} trials of this worker all failed; the last one: {reason}")

    def command(self, claim: Claim) -> list[str]:
        """Return the command of a trial: a new run, or the continuation of what an earlier attempt has left."""
        iclgd = [*self.options.trial_prefix(), sys.executable, "-m", "iclgd.cli"]
        imports = own_entries.arguments(self.options.imports)
        if (begun := self.folder.run_directory(claim.point)) is not None:
            return [*iclgd, "resume", str(begun), *imports]
        point = self.sweep.overrides(claim.raws)
        overrides = [*self.folder.options.overrides, *self.options.trial_overrides()]
        return [*iclgd, "run", str(self.sweep.config), *self.sweep.fixed, *point, *overrides, *imports]

    def environment(self, claim: Claim) -> dict[str, str]:
        """Return the environment of a trial: where its run goes, and how W&B files it."""
        options = self.folder.options
        return {
            **os.environ,
            "ICLGD_RUNS": str(self.folder.runs),
            "WANDB_RUN_ID": self.folder.run_id(claim.point),
            "WANDB_RUN_GROUP": options.group,
            "WANDB_JOB_TYPE": "trial",
            "WANDB_TAGS": f"sweep,{options.name}",
        }


def _is_worked_on(run_directory: Path) -> bool:
    """Say whether a process works on a run; what is no run directory is left for ``iclgd resume`` to complain of."""
    with contextlib.suppress(FileNotFoundError), (run_directory / ".lock").open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _has_result(exit_code: int, run_directory: Path) -> bool:
    """Say whether a trial's numbers stand; they do before its analyses and figures, which may fail."""
    return exit_code == 0 or (exit_code == 1 and RunDirectory(run_directory).read_summary() is not None)
