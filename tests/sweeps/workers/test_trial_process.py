import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from iclgd.sweeps.workers.guard import Guard
from iclgd.sweeps.workers.trial_process import TrialProcess

FAMILY = "sleep 60 & echo $! > child; echo started; wait"
WORKER = """
import os, sys, time
from pathlib import Path
from iclgd.sweeps.workers.guard import Guard
from iclgd.sweeps.workers.trial_process import TrialProcess
with Guard() as guard:
    here = Path(sys.argv[1])
    TrialProcess(["sh", "-c", sys.argv[2]], os.environ, here / "log", here, guard)
    time.sleep(60)
"""


def is_running(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + 5
    while is_running(pid):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def wait_until_ignored(pid: int, number: signal.Signals) -> None:
    deadline = time.monotonic() + 5
    while True:
        (ignored,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if "SigIgn" in line]
        if int(ignored.split()[1], 16) >> (number - 1) & 1:
            return
        assert time.monotonic() < deadline
        time.sleep(0.02)


def wait_for_child(folder: Path) -> int:
    deadline = time.monotonic() + 5
    while not (text := (folder / "child").read_text() if (folder / "child").exists() else ""):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return int(text)


def trial(folder: Path, guard: Guard, script: str) -> TrialProcess:
    return TrialProcess(["sh", "-c", script], {**os.environ, "COLOUR": "blue"}, folder / "log", folder, guard)


def test_output_environment_and_exit_code(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("an earlier attempt\n")
    with Guard() as guard:
        process = trial(tmp_path, guard, "pwd; echo $COLOUR >&2; read line || echo nothing to read; exit 3")
        assert process.ended_within(5)
    assert process.exit_code == 3
    lines = (tmp_path / "log").read_text().splitlines()
    assert lines == ["an earlier attempt", str(tmp_path), "blue", "nothing to read"]
    assert process.last_words() == "nothing to read"


def test_last_words_are_not_those_of_an_earlier_attempt(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("an earlier attempt\n")
    with Guard() as guard:
        process = trial(tmp_path, guard, "true")
        assert process.ended_within(5)
    assert process.last_words() == ""


def test_the_end_is_seen_at_once(tmp_path: Path) -> None:
    with Guard() as guard:
        process = trial(tmp_path, guard, "sleep 0.5")
        start = time.monotonic()
        assert process.ended_within(5)
        assert time.monotonic() - start < 1


def test_stop_and_kill_reach_the_whole_group(tmp_path: Path) -> None:
    with Guard() as guard:
        process = trial(tmp_path, guard, FAMILY)
        child = wait_for_child(tmp_path)
        process.kill()
        assert process.ended_within(5)
        assert process.exit_code == -signal.SIGKILL
        wait_until_gone(child)
        stopped = trial(
            tmp_path, guard, "trap 'echo stopping; exit 130' USR1; echo ready; while :; do sleep 0.05; done"
        )
        while "ready" not in (tmp_path / "log").read_text():
            time.sleep(0.02)
        stopped.ask_to_stop()
        assert stopped.ended_within(5)
        assert stopped.exit_code == 130
        assert stopped.last_words() == "stopping"


def test_what_a_dead_trial_leaves_is_killed(tmp_path: Path) -> None:
    with Guard() as guard:
        process = trial(tmp_path, guard, "sleep 60 & echo $! > child; kill -KILL $$")
        assert process.ended_within(5)
        wait_until_gone(wait_for_child(tmp_path))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_trial_dies_with_its_worker(tmp_path: Path, number: signal.Signals) -> None:
    worker = subprocess.Popen([sys.executable, "-c", WORKER, str(tmp_path), FAMILY])
    child = wait_for_child(tmp_path)
    worker.send_signal(number)
    worker.wait(5)
    wait_until_gone(child)


def test_the_guard_outlives_signals_and_is_replaced_when_killed(tmp_path: Path) -> None:
    with Guard() as guard:
        first = guard._process
        wait_until_ignored(first.pid, signal.SIGUSR1)  # the last that it begins to ignore
        for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT, signal.SIGHUP):
            first.send_signal(number)
        assert trial(tmp_path, guard, "true").ended_within(5)
        assert first.poll() is None
        first.kill()
        first.wait()
        assert trial(tmp_path, guard, "true").ended_within(5)
        assert guard._process.poll() is None


KILLS_GUARD = WORKER.replace(
    "    time.sleep(60)",
    """
    guard._process.kill()
    guard._process.wait()
    assert not process.ended_within(0)
    (here / "ready").touch()
    time.sleep(60)
""",
).replace("    TrialProcess(", "    process = TrialProcess(")


def test_a_guard_that_is_killed_during_a_trial_is_replaced(tmp_path: Path) -> None:
    worker = subprocess.Popen([sys.executable, "-c", KILLS_GUARD, str(tmp_path), FAMILY])
    child = wait_for_child(tmp_path)
    deadline = time.monotonic() + 5
    while not (tmp_path / "ready").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    worker.kill()
    worker.wait(5)
    wait_until_gone(child)


def test_the_guard_spares_a_trial_that_has_ended(tmp_path: Path) -> None:
    with Guard() as guard:
        process = trial(tmp_path, guard, "true")
        assert process.ended_within(5)
        bystander = subprocess.Popen(["sleep", "60"], start_new_session=True)
    assert bystander.poll() is None
    bystander.kill()
    bystander.wait()
