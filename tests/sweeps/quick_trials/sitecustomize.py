"""On PYTHONPATH this makes ``python -m iclgd.cli run ...`` a trial of milliseconds instead of six seconds of imports.

So it does with ``iclgd run ...`` of W&B's agents, which also ask the server more often than every five seconds.

Everything else of ``iclgd`` stays itself: the sweep, its workers and their processes are the real ones. What the
trial does is chosen by ``tracking.project``; every attempt is recorded in a file that only grows.
"""

import fcntl
import json
import os
import signal
import sys
import time
from pathlib import Path

STEPS = 10


def trial(arguments: list[str]) -> int:
    runs = Path(os.environ["ICLGD_RUNS"])
    given = dict(item.split("=", 1) for item in arguments[1:]) if arguments[0] != "resume" else {}
    if "resume" in arguments:
        directory = Path(arguments[arguments.index("resume") + 1])
        given = json.loads((directory / "config.yaml").read_text())
    else:
        directory = runs / "quick" / os.environ["WANDB_RUN_ID"]
        unfinished = directory.with_name(f".{directory.name}")
        unfinished.mkdir(parents=True, exist_ok=True)
        (unfinished / "config.yaml").write_text(json.dumps(given))
        unfinished.rename(directory)
    lock = (directory / ".lock").open("w")  # as every run does
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.stderr.write(f"iclgd: {directory}: another process is working on this run\n")
        return 2
    what = given.get("tracking.project", "ok")
    record(directory.name, "begins")
    if what == "raise":
        sys.stderr.write("iclgd: it broke\n")
        return 1
    if what == "killed":
        os.kill(os.getpid(), 9)
    if what == "hang":
        time.sleep(1000)
    if not (directory / "summary.json").exists():
        for step in range(STEPS):
            time.sleep(float(os.environ.get("QUICK_SECONDS", "0.1")) / STEPS)
            with (directory / "metrics.jsonl").open("a") as file:
                file.write(json.dumps({"step": step, "loss/gd": 1.0 + step * float(given["seed"])}) + "\n")
        rate = float(given.get("training.learning_rate", 1.0))
        loss = float("nan") if what == "nan" else (rate - 0.01) ** 2 + int(given["seed"])
        unfinished = directory / ".summary"
        unfinished.write_text(json.dumps({"loss/transformer": loss}))
        unfinished.rename(directory / "summary.json")
        record(directory.name, "ends")
    if what == "half":
        sys.stderr.write("analysis iterated failed: it broke\n")
    sys.stdout.write(f"{directory}\n")
    return 1 if what == "half" else 0


def stop(*_: object) -> None:
    sys.stderr.write("iclgd: interrupted; continue with: iclgd resume\n")
    sys.stderr.flush()
    os._exit(130)


def record(name: str, event: str) -> None:
    with open(os.environ["QUICK_RECORD"], "a") as file:  # noqa: PTH123
        file.write(f"{name} {event}\n")


is_module, is_script = sys.orig_argv[1:3] == ["-m", "iclgd.cli"], sys.orig_argv[1:2] == [f"{sys.prefix}/bin/iclgd"]
command = sys.orig_argv[3:] if is_module else sys.orig_argv[2:] if is_script else []
if sys.orig_argv[1:4] == ["-m", "wandb", "agent"]:
    from wandb.wandb_agent import Agent

    Agent.POLL_INTERVAL = 0.5
elif command[:1] in (["run"], ["resume"]) and "QUICK_RECORD" in os.environ:
    signal.signal(signal.SIGUSR1, stop)
    code = trial(command[1:] if command[0] == "run" else command)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
