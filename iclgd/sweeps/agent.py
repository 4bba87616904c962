"""A worker of W&B's engine: one of W&B's own agents, beside our heartbeat and beneath our guard."""

import os
import signal
import sys
import time
from pathlib import Path

from iclgd.sweeps import online
from iclgd.sweeps.folder import SweepFolder
from iclgd.sweeps.guard import Guard
from iclgd.sweeps.liveness import heartbeat
from iclgd.sweeps.trial_process import TrialProcess
from iclgd.sweeps.worker import SECONDS_BETWEEN_LOOKS, WorkerError, WorkerOptions


def run_agent(folder: SweepFolder, options: WorkerOptions, count: int | None) -> None:
    """Run an agent until W&B has no more trials, or somebody asks to stop.

    Args:
        folder: of the sweep.
        options: of the worker.
        count: the most trials that the agent takes.

    Raises:
        WorkerError: if the agent fails.
    """
    signals: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
        signal.signal(number, lambda number, _: signals.append(number))
    assert folder.options.wandb is not None
    environment = {
        **os.environ,
        "ICLGD_RUNS": str(folder.runs),
        "WANDB_AGENT_DISABLE_FLAPPING": "true",  # else three quick failures end it; five first ones still do
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
    }
    log = folder.logs / f"agent-{options.name}.log"
    with heartbeat(folder.workers / options.name), Guard() as guard:
        command = online.agent_command(folder.options.wandb, count)
        agent = TrialProcess(command, environment, log, Path(folder.options.working_directory), guard)
        asked_at = None
        while not agent.ended_within(SECONDS_BETWEEN_LOOKS):
            is_orphan = options.parent is not None and os.getppid() != options.parent
            if asked_at is None and (signals or is_orphan or folder.stop_mode() == "now"):
                agent.ask_to_stop(signal.SIGTERM)
                asked_at = time.monotonic()
            elif asked_at is not None and time.monotonic() - asked_at > options.grace:
                agent.kill()
    if agent.exit_code != 0 and asked_at is None:
        raise WorkerError(f"wandb agent ended with exit code {agent.exit_code}: {agent.last_words()} (see {log})")
