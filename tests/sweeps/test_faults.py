"""Whatever dies, every point is run exactly once to its end. Trials take parts of a second (see quick_trials)."""

import contextlib
import json
import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from iclgd.sweeps.workers.liveness import Observer
from tests.conftest import ROOT
from tests.sweeps.conftest import MakeSweep, start_sweep

SWEEP = """\
method: grid
metric: {name: loss/transformer}
command: [iclgd, run, configs/regression/debug.yaml, "${args_no_hyphens}"]
parameters:
  training.learning_rate: {values: [RATES]}
  seed: {values: [SEEDS]}
"""
Start = Begin = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(quick_environment: dict[str, str], record: Path) -> Iterator[Start]:
    """Start ``iclgd sweep`` in a session of its own; nothing of it may outlive the test."""

    def run(*arguments: object, **further: str) -> subprocess.Popen[str]:
        return start_sweep(arguments, ROOT, {**quick_environment, **further})

    yield run
    assert not survivors(record), "processes are left"


def survivors(record: Path, patience: float = 10.0) -> list[str]:
    """Return the command lines of processes of this test that do not end by themselves."""
    mark = f"QUICK_RECORD={record}".encode()
    deadline = time.monotonic() + patience
    while True:
        left = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if mark in (process / "environ").read_bytes().split(b"\0") and int(process.name) != os.getpid():
                    left.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:
                continue
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.2)


def grid(num_rates: int = 2, num_seeds: int = 2, further: str = "") -> str:
    rates = ", ".join(str((index + 1) / 100) for index in range(num_rates))
    return SWEEP.replace("RATES", rates).replace("SEEDS", ", ".join(map(str, range(num_seeds)))) + further


@pytest.fixture
def begin(tmp_path: Path, make_sweep: MakeSweep, start: Start) -> Begin:
    """Make a sweep's folder here, which takes no time, and start on it; the sweep file is ``quick.yaml``."""

    def run(text: str, *arguments: object, at: Path | None = None, **further: str) -> subprocess.Popen[str]:
        folder = make_sweep(text, path=at).path
        return start(tmp_path / "quick.yaml", "--resume", "--dir", folder, *arguments, **further)

    return run


def wait_for(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def events(record: Path, event: str) -> Counter[str]:
    lines = [line.split() for line in record.read_text().splitlines()] if record.exists() else []
    return Counter(name for name, what in lines if what == event)


def worker_pids(folder: Path) -> list[int]:
    """Return the living workers as their heartbeats tell."""
    pids = []
    for name in Observer(folder / "workers").living() if (folder / "workers").exists() else []:
        with contextlib.suppress(OSError, IndexError, ValueError):  # it is just being written or removed
            pids.append(json.loads((folder / "workers" / name).read_text().split(" ", 1)[1])["pid"])
    return pids


def check_complete(folder: Path, record: Path, num_points: int) -> None:
    """Every point has one complete run of its own config, was run to the end once, and all files can be read."""
    assert events(record, "ends") == Counter({path.name: 1 for path in (folder / "runs" / "quick").iterdir()})
    configs = [json.loads(path.read_text()) for path in folder.glob("runs/quick/*/config.yaml")]
    assert len({(config["training.learning_rate"], config["seed"]) for config in configs}) == num_points
    for summary in folder.glob("runs/quick/*/summary.json"):
        assert "loss/transformer" in json.loads(summary.read_text())
    for line in (folder / "journal.log").read_text().splitlines():
        json.loads(line)
    assert not worker_pids(folder)


def finish(process: subprocess.Popen[str], seconds: float = 120.0) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=seconds)
    return process.returncode, out, err


def test_workers_that_are_killed_at_random_lose_nothing(tmp_path: Path, start: Start, record: Path) -> None:
    folder, generator = tmp_path / "folder", random.Random(0)
    (tmp_path / "quick.yaml").write_text(grid(6, 3))
    process = start(
        *(tmp_path / "quick.yaml", "--engine", "local", "--workers", 4, "--dir", folder), QUICK_SECONDS="0.4"
    )
    num_killed = in_a_row = num_done = 0
    while process.poll() is None:
        time.sleep(generator.uniform(0.2, 1.2))
        before, num_done = num_done, sum(events(record, "ends").values())
        in_a_row = 0 if num_done > before else in_a_row
        # A slow machine's last worker may never live long enough, which a sweep ends by saying so.
        if in_a_row < 10 and (pids := worker_pids(folder)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(generator.choice(pids), signal.SIGKILL)
                num_killed, in_a_row = num_killed + 1, in_a_row + 1
    code, out, err = finish(process)
    assert code == 0, err
    assert num_killed >= 5
    assert out.splitlines()[-1] == str(folder)
    check_complete(folder, record, 18)
    assert sum(events(record, "begins").values()) > 18  # some were really cut off


def test_a_sweep_that_is_killed_as_a_whole_goes_on(tmp_path: Path, begin: Begin, start: Start, record: Path) -> None:
    folder = tmp_path / "folder"
    process = begin(grid(4, 3), "--workers", 3, QUICK_SECONDS="0.5")
    wait_for(lambda: sum(events(record, "ends").values()) >= 3)
    for pid in [process.pid, *worker_pids(folder)]:  # as when the machine goes down: nobody can tidy up
        os.kill(pid, signal.SIGKILL)
    process.communicate()
    num_done = sum(events(record, "ends").values())
    code, _, err = finish(start(tmp_path / "quick.yaml", "--workers", 3, "--resume", "--dir", folder))
    assert code == 0, err
    assert 3 <= num_done < 12
    check_complete(folder, record, 12)


def test_workers_end_when_the_one_who_started_them_is_killed(
    tmp_path: Path, begin: Begin, start: Start, record: Path
) -> None:
    process = begin(grid(), "--workers", 2, "--grace", 1, QUICK_SECONDS="30")
    wait_for(lambda: sum(events(record, "begins").values()) == 2)
    process.kill()
    process.communicate()
    assert not survivors(record)
    folder = tmp_path / "folder"
    code, _, err = finish(start(tmp_path / "quick.yaml", "--resume", "--dir", folder, "--workers", 2))
    assert code == 0, err
    check_complete(folder, record, 4)


def test_a_trial_that_raises_fails_alone(tmp_path: Path, begin: Begin, start: Start, record: Path) -> None:
    code, out, err = finish(begin(grid(further="  tracking.project: {values: [ok, raise]}\n"), "--workers", 2))
    assert code == 1
    assert sum(events(record, "ends").values()) == 4
    assert "4 of 8 trials failed; go on with: iclgd sweep" in err
    assert "tracking.project=raise: it broke" in err
    assert out.count("none of 2") == 2  # settings, in the table
    assert "4 of 8 trials done, 0 running, 4 failed" in out
    again = (tmp_path / "quick.yaml", "--resume", "--dir", tmp_path / "folder", "--workers", 2)
    code, _, err = finish(start(*again))  # they get another chance, once
    assert code == 1
    assert "4 failed trials run again" in err
    assert sorted(events(record, "begins").values()) == [1] * 4 + [2] * 4
    assert set(events(record, "ends").values()) == {1}


def test_a_trial_that_hangs_is_ended(begin: Begin, record: Path) -> None:
    text = grid(1, 2, further="  tracking.project: {values: [hang, ok]}\n")
    code, _, err = finish(begin(text, "--workers", 2, "--time-limit", 0.02, "--grace", 1))
    assert code == 1
    assert err.count("time limit of 0.02 minutes") == 2
    assert sum(events(record, "ends").values()) == 2


def test_a_trial_that_is_killed_is_tried_again_a_stated_number_of_times(begin: Begin, record: Path) -> None:
    text = grid(1, 1, further="  tracking.project: {values: [killed, ok]}\n")
    code, _, err = finish(begin(text, "--workers", 2, "--retries", 2))
    assert code == 1
    assert "killed by SIGKILL, 3 times" in err
    assert sorted(events(record, "begins").values()) == [1, 3]


def test_a_worker_whose_first_trials_all_fail_gives_up(begin: Begin, record: Path) -> None:
    code, _, err = finish(begin(grid(5, 2, further="  tracking.project: {value: raise}\n")))
    assert code == 1
    assert "the first 5 trials of this worker all failed; the last one: it broke" in err
    assert sum(events(record, "begins").values()) == 5


@pytest.mark.slow
def test_of_two_who_start_in_one_folder_the_second_is_told_and_may_help(
    tmp_path: Path, start: Start, record: Path
) -> None:
    folder, sweep = tmp_path / "folder", tmp_path / "quick.yaml"
    sweep.write_text(grid(4, 3))
    arguments = (sweep, "--engine", "local", "--workers", 2, "--dir", folder)
    pair = [start(*arguments, QUICK_SECONDS="1.0") for _ in range(2)]
    wait_for(lambda: any(process.poll() is not None for process in pair))
    (refused,) = [process for process in pair if process.poll() is not None]
    code, out, err = finish(refused)
    assert (code, out) == (2, "")
    assert err.splitlines()[-1].endswith("there already; go on with it by --resume, or choose another folder")
    pair.remove(refused)
    helper = start(sweep, "--workers", 2, "--dir", folder, "--resume", QUICK_SECONDS="1.0")
    assert [finish(process)[0] for process in (*pair, helper)] == [0, 0]
    check_complete(folder, record, 12)


@pytest.mark.parametrize("now", [False, True])
def test_a_sweep_stops_cleanly_and_goes_on(tmp_path: Path, begin: Begin, start: Start, record: Path, now: bool) -> None:
    folder = tmp_path / "folder"
    process = begin(grid(), "--workers", 2, "--grace", 1, QUICK_SECONDS="3")
    wait_for(lambda: sum(events(record, "begins").values()) == 2)
    code, _, _ = finish(start("stop", folder, *(["--now"] if now else [])))
    assert code == 0
    code, _, err = finish(process)
    assert code == 130
    assert "stopped as asked; go on with: iclgd sweep" in err
    assert sum(events(record, "ends").values()) == (0 if now else 2)
    code, _, err = finish(start(tmp_path / "quick.yaml", "--resume", "--dir", folder, "--workers", 2))
    assert code == 0, err
    check_complete(folder, record, 4)


def test_ctrl_c_gives_trials_back(tmp_path: Path, begin: Begin, start: Start, record: Path) -> None:
    folder = tmp_path / "folder"
    process = begin(grid(), "--workers", 2, "--grace", 1, QUICK_SECONDS="30")
    wait_for(lambda: sum(events(record, "begins").values()) == 2)
    process.send_signal(signal.SIGINT)
    code, _, err = finish(process)
    assert code == 130, err
    assert f"interrupted; go on with: iclgd sweep {tmp_path / 'quick.yaml'} --resume --dir {folder}" in err
    code, _, err = finish(start(tmp_path / "quick.yaml", "--resume", "--dir", folder, "--workers", 2))
    assert code == 0, err
    check_complete(folder, record, 4)


def test_workers_that_are_ended_one_by_one_leave_an_unfinished_sweep(
    tmp_path: Path, begin: Begin, record: Path
) -> None:
    process = begin(grid(), "--workers", 2, "--grace", 1, QUICK_SECONDS="30")
    wait_for(lambda: sum(events(record, "begins").values()) == 2)
    for pid in worker_pids(tmp_path / "folder"):
        os.kill(pid, signal.SIGTERM)  # as an administrator does
    code, out, err = finish(process)
    assert code == 1
    assert "0 of 4 trials done, 0 running" in out
    assert "iclgd: its workers were ended before it was over; go on with: iclgd sweep" in err


def test_a_sweep_that_is_over_is_so_whatever_became_of_a_worker(
    tmp_path: Path, begin: Begin, start: Start, record: Path
) -> None:
    process = begin(grid(), "--workers", 2, QUICK_SECONDS="2")
    wait_for(lambda: sum(events(record, "begins").values()) == 4)
    assert finish(start("stop", tmp_path / "folder"))[0] == 0  # too late: there is nothing to stop
    code, _, err = finish(process)
    assert code == 0, err
    assert "go on with" not in err
    check_complete(tmp_path / "folder", record, 4)


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small disk")
def test_a_full_disk_stops_the_sweep_which_goes_on_when_there_is_space(
    tmp_path: Path, begin: Begin, start: Start, record: Path
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], check=True)
    try:
        make_on_disk = folder / "sweep"
        process = begin(grid(4, 3), "--workers", 2, at=make_on_disk, QUICK_SECONDS="0.5")
        wait_for(lambda: sum(events(record, "ends").values()) >= 3)
        with pytest.raises(OSError, match="No space"):
            fill(folder / "filler")
        code, _, err = finish(process)
        assert code == 1
        assert "No space left on device" in err or "the disk is full" in err
        assert "--resume" in err
        (folder / "filler").unlink()
        code, _, err = finish(start(tmp_path / "quick.yaml", "--resume", "--dir", make_on_disk, "--workers", 2))
        assert code == 0, err
        check_complete(make_on_disk, record, 12)
    finally:
        subprocess.run(["umount", "-l", folder], check=True)
