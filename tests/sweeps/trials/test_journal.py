import contextlib
import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
from optuna.study import StudyDirection
from optuna.trial import TrialState, create_trial

from iclgd.sweeps.trials import journal
from iclgd.sweeps.trials.entries import line_of
from iclgd.sweeps.trials.journal import MachineLock, SafeJournalBackend, flush, machine_id, open_journal

NUM_PROCESSES = 32
NUM_TRIALS = 96
# Children of one process that has Optuna: importing it is what takes time.
PROCESSES = f"""\
import os, sys
from pathlib import Path
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import TrialState, create_trial
from iclgd.sweeps.trials.journal import open_journal

def claim(storage, trial):
    try:
        return storage.set_trial_state_values(trial._trial_id, TrialState.RUNNING)
    except UpdateFinishedTrialError:
        return False

def work(path, index):
    storage = open_journal(path)
    for trial in storage.get_all_trials(0, deepcopy=False)[:{NUM_TRIALS}]:
        if claim(storage, trial):
            storage.set_trial_user_attr(trial._trial_id, "worker", index)
            storage.set_trial_state_values(trial._trial_id, TrialState.COMPLETE, [float(index)])
            storage.create_new_trial(0, create_trial(state=TrialState.WAITING, user_attrs={{"by": index}}))
    storage.set_study_user_attr(0, f"worker {{index}}", index)

path = Path(sys.argv[1])
children = []
for index in range({NUM_PROCESSES}):
    if (child := os.fork()) == 0:
        try:
            work(path, index)
        except BaseException:
            sys.excepthook(*sys.exc_info())
            os._exit(1)
        os._exit(0)
    children.append(child)
sys.exit(sum(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children))
"""
HANGS = """\
import os, sys, time
from pathlib import Path
from iclgd.sweeps.trials.journal import MachineLock

MachineLock(Path(sys.argv[1])).acquire()
print("inside", flush=True)
time.sleep(60)
"""
FORKS = """\
import os, signal, sys, time
from pathlib import Path
from iclgd.sweeps.trials.journal import MachineLock

lock = MachineLock(Path(sys.argv[1]))
lock.acquire()
if (child := os.fork()) == 0:
    time.sleep(60)
lock.release()
signal.alarm(5)
try:
    MachineLock(Path(sys.argv[1])).acquire()
finally:
    os.kill(child, signal.SIGKILL)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "journal.log"
    storage = open_journal(path, private=True)
    storage.create_new_study([StudyDirection.MINIMIZE], "study")
    for _ in range(3):
        storage.create_new_trial(0, create_trial(state=TrialState.WAITING))
    return path


def entries(path: Path) -> list[dict[str, Any]]:
    text = path.read_text()
    assert text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


def attributes(path: Path) -> dict[str, Any]:
    return open_journal(path).get_study_user_attrs(0)


def link_of(path: Path) -> Path:
    return path.with_name("journal.log.lock")


def seconds_of(action: Callable[[], object]) -> float:
    start = time.monotonic()
    action()
    return time.monotonic() - start


def run_python(script: str, *arguments: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True)


def test_many_processes_lose_nothing_and_claim_each_trial_once(tmp_path: Path) -> None:
    path = tmp_path / "journal.log"
    storage = open_journal(path, private=True)
    storage.create_new_study([StudyDirection.MINIMIZE], "study")
    for _ in range(NUM_TRIALS):
        storage.create_new_trial(0, create_trial(state=TrialState.WAITING))
    with run_python(PROCESSES, path) as processes:
        assert processes.wait(120) == 0
    assert attributes(path) == {f"worker {index}": index for index in range(NUM_PROCESSES)}
    trials = open_journal(path).get_all_trials(0)
    done = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    assert [trial.number for trial in done] == list(range(NUM_TRIALS))
    assert len({trial.user_attrs["worker"] for trial in done}) > 2  # they did compete
    assert all(trial.values == [trial.user_attrs["worker"]] for trial in done)
    added = sorted(trial.user_attrs["by"] for trial in trials[NUM_TRIALS:])
    assert added == sorted(trial.user_attrs["worker"] for trial in done)
    ended = [
        entry["trial_id"]
        for entry in entries(path)
        if entry.get("state") == TrialState.COMPLETE and "trial_id" in entry
    ]
    assert sorted(ended) == list(range(NUM_TRIALS))
    assert not link_of(path).is_symlink()


def test_a_process_killed_inside_the_lock_keeps_nobody_waiting(path: Path) -> None:
    with run_python(HANGS, path) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "inside\n"
        os.kill(process.pid, signal.SIGKILL)
    assert link_of(path).is_symlink()
    assert seconds_of(lambda: open_journal(path).set_study_user_attr(0, "key", 1)) < 2
    assert attributes(path) == {"key": 1}
    assert not link_of(path).is_symlink()


def test_a_living_process_inside_the_lock_is_waited_for(path: Path) -> None:
    with run_python(HANGS, path) as process:
        assert process.stdout is not None
        process.stdout.readline()
        storage = open_journal(path)
        threading.Timer(0.5, process.kill).start()
        assert 0.4 < seconds_of(lambda: storage.set_study_user_attr(0, "key", 1)) < 2.5


def test_an_unfinished_last_entry_is_overlooked_and_cut_off(path: Path) -> None:
    whole = path.read_bytes()
    reader = open_journal(path)
    open_journal(path).set_study_user_attr(0, "lost", "a" * 100)
    added = path.read_bytes()[len(whole) :]
    for length in range(len(added)):  # all but its newline at the most
        path.write_bytes(whole + added[:length])
        writer = open_journal(path)
        assert writer.get_study_user_attrs(0) == {}
        assert len(reader.get_all_trials(0)) == 3
        writer.set_study_user_attr(0, "kept", length)
        assert len(entries(path)) == whole.count(b"\n") + 1
        assert attributes(path) == {"kept": length}
    assert reader.get_study_user_attrs(0) == {"kept": len(added) - 1}  # saw tails and cuts and misses nothing


@pytest.mark.parametrize("kept", [{"name": "b" * 100}, {"other": {"name": "b" * 100}}])
def test_a_reader_may_see_an_entry_that_is_cut_off_meanwhile(path: Path, kept: dict[str, Any]) -> None:
    """It has read the beginning of one that is unfinished, and reads on where the next entry has taken its place."""
    whole = path.read_bytes()
    torn = line_of({"name": "a" * 100})
    for length in range(1, len(torn)):
        path.write_bytes(whole + torn[:length])
        backend = SafeJournalBackend(path)
        reading = backend.read_logs(0)
        seen = [next(reading)]  # all that is there has been read
        SafeJournalBackend(path).append_logs([kept, kept])
        seen += [*reading]
        assert seen == entries(path)[: len(seen)]
        assert len(seen) >= whole.count(b"\n")
        assert [*seen, *backend.read_logs(len(seen))] == entries(path)


@pytest.mark.parametrize("length", [3, 5000, 200_000])
def test_a_line_that_lost_its_middle_is_cut_off(length: int, path: Path) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"op' + b"\0" * length + b"}\n")
    open_journal(path).set_study_user_attr(0, "key", "a" * length)
    assert path.read_bytes().startswith(whole + b'{"op_code":')
    assert attributes(path) == {"key": "a" * length}
    open_journal(path).set_study_user_attr(0, "key", 2)  # after an entry longer than what is looked at first
    assert attributes(path) == {"key": 2}


def test_a_full_disk_leaves_no_part_of_an_entry(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = path.read_bytes()
    storage = open_journal(path)
    write = os.write
    left = [20]

    def write_until_full(descriptor: int, data: bytes) -> int:
        if not left[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = write(descriptor, data[: left[0]])
        left[0] -= written
        return written

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", write_until_full)
        with pytest.raises(OSError, match="No space left on device"):
            storage.set_study_user_attr(0, "lost", 1)
    assert left == [0]
    assert path.read_bytes() == whole
    assert not link_of(path).is_symlink()
    storage.set_study_user_attr(0, "kept", 1)
    assert attributes(path) == {"kept": 1} == storage.get_study_user_attrs(0)


def test_a_disk_that_is_really_full(tmp_path: Path) -> None:
    mounted = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(tmp_path)]
    if os.geteuid() != 0 or subprocess.run(mounted, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a file system")
    try:
        path = tmp_path / "journal.log"
        storage = open_journal(path, private=True)
        storage.create_new_study([StudyDirection.MINIMIZE], "study")
        storage = open_journal(path)
        storage.set_study_user_attr(0, "key", -1)
        with contextlib.suppress(OSError), (tmp_path / "ballast").open("wb", buffering=0) as ballast:
            while ballast.write(b"a" * 1024):
                pass
        with pytest.raises(OSError, match="No space left on device"):  # noqa: PT012
            for index in range(1000):
                storage.set_study_user_attr(0, "key", index)
        value = entries(path)[-1]["user_attr"]["key"]
        assert value > 0
        (tmp_path / "ballast").unlink()
        assert attributes(path) == {"key": value}
        storage.set_study_user_attr(0, "key", "last")
        assert attributes(path) == {"key": "last"} == storage.get_study_user_attrs(0)
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_an_entry_that_others_may_have_read_stays(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage, reader = open_journal(path), open_journal(path)

    def refuse(descriptor: int) -> None:
        reader.get_study_user_attrs(0)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", refuse)
        with pytest.raises(OSError, match="Input/output error"):
            storage.set_study_user_attr(0, "read", 1)
    storage.set_study_user_attr(0, "next", 2)
    assert reader.get_study_user_attrs(0) == storage.get_study_user_attrs(0) == {"read": 1, "next": 2}


def test_another_machines_lock_is_respected(path: Path) -> None:
    link_of(path).symlink_to(".journal.log.another-machine")
    storage = open_journal(path)
    threading.Timer(0.5, link_of(path).unlink).start()
    assert 0.4 < seconds_of(lambda: storage.set_study_user_attr(0, "key", 1)) < 2


def test_another_machines_lock_is_broken_after_the_grace_period(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "SETTLE_SECONDS", 0.2)
    link_of(path).symlink_to(".journal.log.another-machine")  # and names no file, as in a folder that was copied
    backend = SafeJournalBackend(path, grace_seconds=1)
    entry = {"op_code": 2, "worker_id": "", "study_id": 0, "user_attr": {"key": 1}}
    processor = time.process_time()
    assert 1 < seconds_of(lambda: backend.append_logs([entry])) < 3
    assert time.process_time() - processor < 0.5
    assert attributes(path) == {"key": 1}
    assert not link_of(path).is_symlink()


def test_a_busy_lock_is_not_broken(path: Path) -> None:
    lock = MachineLock(path, grace_seconds=0.3)
    is_over = threading.Event()
    owners = set()

    def be_busy() -> None:  # taken again and again, and never free when others look
        while not is_over.is_set():
            (new := path.with_name("new")).symlink_to(".journal.log.another-machine")
            new.replace(link_of(path))
            time.sleep(0.05)
            owners.add(str(link_of(path).readlink()))
        link_of(path).unlink()

    thread = threading.Thread(target=be_busy)
    thread.start()
    while not link_of(path).is_symlink():
        time.sleep(0.01)
    threading.Timer(1.5, is_over.set).start()
    lock.acquire()
    lock.release()
    thread.join()
    assert owners == {".journal.log.another-machine"}


def test_of_two_machines_that_break_a_lock_one_has_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link_of(path).symlink_to(".journal.log.dead-machine")
    monkeypatch.setattr(journal, "SETTLE_SECONDS", 0.3)
    both_have_decided = threading.Barrier(2)
    inside: list[str] = []
    most = []

    class SimultaneousLock(MachineLock):
        has_decided = False

        def _replace_link(self) -> None:
            if not self.has_decided:
                self.has_decided = True
                both_have_decided.wait()
            super()._replace_link()

    def use(lock: MachineLock) -> None:
        lock.acquire()
        inside.append("")
        most.append(len(inside))
        time.sleep(0.2)
        inside.pop()
        lock.release()

    threads = []
    for name in ("first-machine", "second-machine"):
        monkeypatch.setattr(journal, "machine_id", lambda name=name: name)
        threads.append(threading.Thread(target=use, args=(SimultaneousLock(path, grace_seconds=1),)))
        threads[-1].start()
    for thread in threads:
        thread.join()
    assert most == [1, 1]


def test_who_was_taken_for_dead_leaves_the_lock_to_the_next(path: Path) -> None:
    lock = MachineLock(path)
    lock.acquire()
    link_of(path).unlink()
    link_of(path).symlink_to(".journal.log.another-machine")
    lock.release()
    assert link_of(path).readlink() == Path(".journal.log.another-machine")


def test_plain_optuna_and_we_respect_each_other(path: Path) -> None:
    plain = JournalFileSymlinkLock(str(path))
    ours = MachineLock(path)
    for first, second in ((plain, ours), (ours, plain)):
        first.acquire()
        threading.Timer(0.3, first.release).start()
        assert 0.2 < seconds_of(second.acquire) < 2
        second.release()
    storage = optuna.storages.JournalStorage(JournalFileBackend(str(path)))
    storage.set_study_user_attr(0, "key", 1)
    assert attributes(path) == {"key": 1}


def test_plain_optuna_sees_that_our_lock_is_in_use(path: Path) -> None:
    times = set()
    for _ in range(3):
        lock = MachineLock(path)
        lock.acquire()
        times.add(link_of(path).stat().st_mtime_ns)  # of the file that it names
        lock.release()
        time.sleep(0.02)
    assert len(times) == 3


def test_without_locks_of_the_kernel_it_is_optunas(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    lock, other = MachineLock(path), MachineLock(path)
    lock.acquire()
    assert link_of(path).readlink() == path
    threading.Timer(0.3, lock.release).start()
    assert 0.2 < seconds_of(other.acquire) < 2
    other.release()
    assert not link_of(path).is_symlink()


def test_other_errors_of_the_kernels_lock_are_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    storage = open_journal(path)
    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", refuse)
        with pytest.raises(OSError, match="Input/output error"):
            storage.set_study_user_attr(0, "key", 1)
    storage.set_study_user_attr(0, "key", 2)
    assert attributes(path) == {"key": 2}


def test_storages_of_one_process_exclude_each_other(path: Path) -> None:
    storages = [open_journal(path) for _ in range(4)]

    def write(index: int) -> None:
        for number in range(10):
            storages[index % 4].set_study_user_attr(0, f"{index} {number}", number)

    threads = [threading.Thread(target=write, args=(index,)) for index in range(8)]  # two for each
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(attributes(path)) == 80
    assert all(len(storage.get_study_user_attrs(0)) == 80 for storage in storages)


def test_a_forked_process_does_not_keep_the_lock(path: Path) -> None:
    with run_python(FORKS, path) as process:
        assert process.wait(20) == 0


@contextlib.contextmanager
def interrupted(seconds: float) -> Iterator[None]:
    handler = signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        with pytest.raises(KeyboardInterrupt):
            yield
    finally:
        signal.signal(signal.SIGALRM, handler)


def test_an_interrupted_wait_for_another_machine_leaves_no_lock(path: Path) -> None:
    lock = MachineLock(path)
    link_of(path).symlink_to(".journal.log.another-machine")
    storage = open_journal(path)
    with interrupted(0.2):
        storage.set_study_user_attr(0, "key", 1)
    assert link_of(path).readlink() == Path(".journal.log.another-machine")
    link_of(path).unlink()
    assert seconds_of(lock.acquire) < 1
    lock.release()


def test_an_interrupted_wait_for_another_process_leaves_it_the_lock(path: Path) -> None:
    lock = MachineLock(path)
    lock.acquire()
    storage = open_journal(path)
    with interrupted(0.2):
        storage.set_study_user_attr(0, "key", 1)
    assert link_of(path).is_symlink()
    lock.release()
    storage.set_study_user_attr(0, "key", 2)
    assert attributes(path) == {"key": 2}


def test_a_private_journal_needs_no_locks(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [each.name for each in path.parent.glob("*journal*")] == ["journal.log"]
    synced = []
    monkeypatch.setattr(os, "fsync", synced.append)
    open_journal(path, private=True).set_study_user_attr(0, "key", 1)
    assert synced == []
    flush(path)
    assert len(synced) == 1


def test_a_journal_is_not_made_by_mistake(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"No such file or directory: .*journal\.log"):
        open_journal(tmp_path / "journal.log")
    assert list(tmp_path.iterdir()) == []


def test_a_journal_that_was_removed_is_not_made_again(path: Path) -> None:
    storage = open_journal(path)
    path.unlink()
    with pytest.raises(FileNotFoundError):
        storage.set_study_user_attr(0, "key", 1)
    assert not path.exists()
    assert not link_of(path).is_symlink()


def test_a_machine_has_one_name(monkeypatch: pytest.MonkeyPatch) -> None:
    script = "from iclgd.sweeps.trials.journal import machine_id; print(machine_id())"
    assert subprocess.check_output([sys.executable, "-c", script], text=True).strip() == machine_id()
    assert "/" not in machine_id()
    machine_id.cache_clear()
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: (_ for _ in ()).throw(PermissionError()))
    monkeypatch.setattr("socket.gethostname", lambda: "host")
    assert machine_id() == "host"
    machine_id.cache_clear()
