import fcntl
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from iclgd.sweeps.workers import liveness
from iclgd.sweeps.workers.liveness import Observer, heartbeat

BEAT = """
import sys, time
from pathlib import Path
from iclgd.sweeps.workers.liveness import heartbeat
with heartbeat(Path(sys.argv[1])):
    print("alive", flush=True)
    time.sleep(60)
"""


def test_a_killed_worker_of_this_machine_is_dead_at_once(tmp_path: Path) -> None:
    path = tmp_path / "worker"
    process = subprocess.Popen([sys.executable, "-c", BEAT, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "alive\n"
    observer = Observer(tmp_path)
    assert observer.is_alive("worker")
    assert observer.living() == ["worker"]
    process.kill()
    process.communicate()
    assert path.exists()  # nobody could tidy up
    assert not observer.is_alive("worker")
    assert not path.exists()


def test_a_worker_that_ends_is_gone(tmp_path: Path) -> None:
    with heartbeat(tmp_path / "worker"):
        assert Observer(tmp_path).is_alive("worker")
        assert json.loads((tmp_path / "worker").read_text().split(" ", 1)[1])["pid"]
    assert not (tmp_path / "worker").exists()
    assert not Observer(tmp_path).is_alive("worker")


def test_another_machines_worker_lives_while_its_count_rises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with heartbeat(tmp_path / "worker", seconds_between=0.05):
        monkeypatch.setattr(liveness, "machine_id", lambda: "elsewhere")  # the observer is
        observer = Observer(tmp_path, seconds_until_dead=0.5)
        end = time.monotonic() + 1.5
        while time.monotonic() < end:
            assert observer.is_alive("worker")
            time.sleep(0.1)


def test_another_machines_worker_whose_count_stands_still_is_dead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "worker").write_text('000000000007 {"machine": "over there", "host": "b", "pid": 1}\n')
    observer = Observer(tmp_path, seconds_until_dead=0.3)
    assert observer.is_alive("worker")  # first seen: only a difference says anything
    assert observer.is_alive("worker")
    time.sleep(0.35)
    assert not observer.is_alive("worker")
    assert (tmp_path / "worker").exists()  # it may only be slow: its file is its own


def test_a_worker_that_has_not_locked_its_file_yet_is_not_swept_away(tmp_path: Path) -> None:
    (tmp_path / "worker").touch()
    assert Observer(tmp_path).is_alive("worker")
    assert (tmp_path / "worker").exists()
    with heartbeat(tmp_path / "worker"), (tmp_path / "worker").open() as file, pytest.raises(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
