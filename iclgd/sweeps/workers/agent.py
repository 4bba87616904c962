"""A worker of W&B's engine: one of W&B's own agents, beside our heartbeat and beneath our guard.

First it goes on with trials that an earlier agent has left unfinished, as W&B's server gives each trial out only once.
"""

import contextlib
import fcntl
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from iclgd import own_entries
from iclgd.sweeps.file import schema
from iclgd.sweeps.trials.folder import SweepFolder
from iclgd.sweeps.trials.online_trials import OnlineTrials
from iclgd.sweeps.workers import session, slurm_commands
from iclgd.sweeps.workers.liveness import heartbeat
from iclgd.sweeps.workers.options import WorkerOptions
from iclgd.sweeps.workers.session import SessionGuard
from iclgd.sweeps.workers.trial_process import TrialProcess
from iclgd.sweeps.workers.worker import SECONDS_BETWEEN_LOOKS, WorkerError
from iclgd.tracking.run_directory import RunDirectory, RunDirectoryError
from iclgd.vendors.wandb import WITHOUT_FLAPPING

SECONDS_WITHOUT_TRIAL = 2.0  # after which an agent that gets no more trials is ended


class AgentWorker:
    """A worker of W&B's engine.

    Args:
        folder: of the sweep.
        options: of the worker.
    """

    def __init__(self, folder: SweepFolder, options: WorkerOptions) -> None:
        assert folder.options.wandb is not None
        self.folder = folder
        self.options = options
        self.sweep = folder.options.wandb
        self.trials = OnlineTrials(folder, schema.read(folder.sweep_file))
        self._is_signalled = False
        self._started = time.time()

    def work(self, count: int | None, retry_failed: bool) -> None:
        """Run trials until W&B has no more, or somebody asks to stop.

        Args:
            count: the most trials that the agent takes.
            retry_failed: whether to begin with those that have failed.

        Raises:
            WorkerError: if the agent fails.
        """
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
            signal.signal(number, self._on_signal)
        with heartbeat(self.folder.workers / self.options.name), SessionGuard() as guard:
            self._go_on(guard, retry_failed)
            if not self._must_end() and self.folder.stop_mode() is None:
                self._run_agent(guard, count)

    def _on_signal(self, _: int, __: object) -> None:
        self._is_signalled = True

    def _must_end(self) -> bool:
        return self._is_signalled or self.options.is_orphan() or self.folder.stop_mode() == "now"

    def _go_on(self, guard: SessionGuard, retry_failed: bool) -> None:
        """Run trials on that nobody runs now, each from its checkpoint."""
        self.trials.look()
        left = dict(self.trials.unfinished)
        for run in self.trials.failed if retry_failed else ():
            if (directory := self.trials.run_directory(run)) is not None:
                left[run] = directory
        entity, project, sweep = self.sweep.split("/")
        environment = {**os.environ, "WANDB_ENTITY": entity, "WANDB_PROJECT": project, "WANDB_SWEEP_ID": sweep}
        for run, directory in left.items():
            if self._must_end() or self.folder.stop_mode() is not None:
                return
            log = self.trials.trial_log(run)
            with self._claimed(log, directory) as is_ours:
                if is_ours:
                    command = [sys.executable, "-m", "iclgd.cli", "resume", str(directory)]
                    command += own_entries.arguments(self.options.imports)
                    prefix = self.options.trial_prefix()
                    process = TrialProcess([*prefix, *command], environment, log, self._working_directory, guard)
                    self._watch(process, is_agent=False)

    @contextlib.contextmanager
    def _claimed(self, log: Path, directory: Path) -> Iterator[bool]:
        """Say whether a trial is left to this worker: nobody runs it, or has tried to since this worker began."""
        with log.open("ab") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                with RunDirectory(directory).lock():
                    was_tried = log.stat().st_size > 0 and log.stat().st_mtime > self._started
                    is_ours = not was_tried and RunDirectory(directory).read_summary() is None
            except (BlockingIOError, RunDirectoryError):
                is_ours = False
            yield is_ours

    def _run_agent(self, guard: SessionGuard, count: int | None) -> None:
        log = self.folder.logs / f"agent-{self.options.name}.log"
        environment = {
            **os.environ,
            "ICLGD_RUNS": str(self.folder.runs),
            **WITHOUT_FLAPPING,
            "WANDB_DIR": str(self.folder.logs),  # where agents write the values of each trial
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
        }
        command = agent_command(self.sweep, count)
        agent = TrialProcess(command, environment, log, self._working_directory, guard)
        was_asked = self._watch(agent, is_agent=True)
        if agent.exit_code != 0 and not was_asked:
            raise WorkerError(f"wandb agent ended with exit code {agent.exit_code}: {agent.last_words()} (see {log})")

    def _watch(self, process: TrialProcess, is_agent: bool) -> bool:
        """Wait for the end of an agent or a trial, and of all that it has started; say whether it was asked to end.

        An agent hands signals on to its trial, and then asks for the next one. So its trial is ended first.
        """
        deadline, idle_since, is_told = None, None, False
        while not process.ended_within(SECONDS_BETWEEN_LOOKS):
            must_end = self._must_end()
            if not must_end and (not is_agent or self.folder.stop_mode() is None):
                continue
            now = time.monotonic()
            is_idle = is_agent and not session.has_others(process.pid)
            idle_since = (idle_since or now) if is_idle else None
            if must_end and deadline is None:
                deadline = now + self.options.grace
                if not is_idle:
                    process.ask_to_stop()
            if idle_since is not None and not is_told and (must_end or now - idle_since > SECONDS_WITHOUT_TRIAL):
                process.ask_to_stop(signal.SIGTERM)
                is_told = True
            if deadline is not None and now > deadline:
                session.kill(process.pid)
        session.kill(process.pid)
        was_asked = is_told or deadline is not None
        if self.options.is_on_slurm and (was_asked or process.exit_code != 0):
            slurm_commands.end_steps()  # of an srun that was killed, the tasks go on
        return was_asked

    @property
    def _working_directory(self) -> Path:
        return Path(self.folder.options.working_directory)


def agent_command(sweep: str, count: int | None) -> list[str]:
    """Return the command of an agent, which hands signals on to its trial.

    Args:
        sweep: ``"entity/project/id"``.
        count: the most trials that it runs; ``None`` for no limit.
    """
    limit = [] if count is None else [f"--count={count}"]
    return [sys.executable, "-m", "wandb", "agent", "--forward-signals", *limit, sweep]
