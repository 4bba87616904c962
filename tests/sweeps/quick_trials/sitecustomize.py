"""On PYTHONPATH this makes ``python -m iclgd.cli run ...`` a trial of milliseconds instead of six seconds of imports.

Everything else of ``iclgd`` stays itself: the sweep, its workers and their processes are the real ones. What the
trial does is chosen by ``tracking.project``; every attempt is recorded in a file that only grows.
"""

import json
import os
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
    sys.stdout.write(f"{directory}\n")
    return 0


def record(name: str, event: str) -> None:
    with open(os.environ["QUICK_RECORD"], "a") as file:  # noqa: PTH123
        file.write(f"{name} {event}\n")


if sys.orig_argv[1:3] == ["-m", "iclgd.cli"] and sys.orig_argv[3:4] in (["run"], ["resume"]):
    code = trial(sys.orig_argv[4:] if sys.orig_argv[3] == "run" else sys.orig_argv[3:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
