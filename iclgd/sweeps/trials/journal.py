"""Optuna's journal file made safe against killed and cut-off writers.

Optuna guards its journal by a symbolic link, which works on every shared file system, but everybody waits half a minute
for the link of a process that was killed, and many processes of one machine poll it. Here the processes of a machine
queue for a lock of its kernel first, which is free as soon as its holder is dead; only the first of them goes on to
the link. So at most one process of each machine polls it, and a link of the own machine is one of a dead process.
"""

import contextlib
import errno
import fcntl
import os
import random
import secrets
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend, JournalFileSymlinkLock

from iclgd.sweeps.file.errors import SweepError
from iclgd.sweeps.trials.entries import entry_of, line_of
from iclgd.sweeps.trials.machine import machine_id
from iclgd.vendors.optuna import lock_of

GRACE_SECONDS = 30  # as Optuna's
SETTLE_SECONDS = 1.0
LONGEST_PAUSE = 0.25  # seconds between two looks at the link
NO_KERNEL_LOCK = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}


def open_journal(path: Path, private: bool = False) -> JournalStorage:
    """Open a journal and replay it.

    Args:
        path: of the journal file.
        private: nobody else knows the journal yet: it is made if need be, and written without locks and without
            waiting for the disk. See :func:`flush`.

    Raises:
        FileNotFoundError: if there is no journal.
        OSError: if it cannot be read or written.
    """
    if not private and not path.is_file():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    return JournalStorage(SafeJournalBackend(path, private))


def flush(path: Path) -> None:
    """Return when all that was written to a private journal is on the disk.

    Raises:
        OSError: if it cannot be brought there.
    """
    with path.open("rb") as file:
        os.fsync(file.fileno())


class MachineLock:
    """Optuna's link between machines, and a lock of the kernel between the processes of a machine.

    Plain Optuna and this class respect each other. The link names a file of the machine beside the journal, whose
    modification time tells plain Optuna that the lock is in use. Without locks of the kernel, as on some network file
    systems, this is plain Optuna's lock. An object serves one thread at a time.

    Args:
        journal: path of the file to guard.
        grace_seconds: how long another machine may keep the lock before it is taken for dead.
    """

    def __init__(self, journal: Path, grace_seconds: float = GRACE_SECONDS) -> None:
        self._link = lock_of(journal)
        self._machine_file = journal.with_name(f".{journal.name}.{machine_id()}")
        self._grace_seconds = grace_seconds
        self._plain = JournalFileSymlinkLock(str(journal))
        self._descriptor: int | None = None
        # Of the processes of this machine; and whether the lock is plain Optuna's.
        self._is_first = self._is_plain = False

    def acquire(self) -> None:
        """Wait for the lock.

        Raises:
            OSError: if its files cannot be made.
        """
        # A new descriptor each time: processes share those that they had before a fork, and the locks with them.
        self._descriptor = os.open(self._machine_file, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in NO_KERNEL_LOCK:
                raise
            self._is_plain = self._plain.acquire()
        else:
            self._is_first = True
            os.utime(self._descriptor)
            self._acquire_link()

    def release(self) -> None:
        """Let go of whatever is held; nothing happens if an interrupted :meth:`acquire` got nothing."""
        if self._descriptor is None:
            return
        try:
            if self._is_plain:
                self._plain.release()
            elif self._is_first and self._owner() == self._machine_file.name:  # unless another machine took us for dead
                self._link.unlink(missing_ok=True)
        finally:
            # A process forked meanwhile has the descriptor too: closing ours would not unlock it.
            with contextlib.suppress(OSError):
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)
            os.close(self._descriptor)
            self._descriptor = None
            self._is_first = self._is_plain = False

    def _acquire_link(self) -> None:
        pause, since, seen = 0.001, time.monotonic(), None
        while True:
            try:
                self._link.symlink_to(self._machine_file.name)
                return
            except FileExistsError:
                pass
            if self._owner() == self._machine_file.name:
                # Of a dead process of this machine, or of us in the branch below. Others see a new link.
                self._replace_link()
                return
            # Every acquisition makes a new link. Its own numbers are fresh on a network file system, as the server was
            # just asked; those of the file it names may be a minute old.
            if (current := self._link_numbers()) != seen:
                since, seen = time.monotonic(), current
            elif time.monotonic() - since > self._grace_seconds:
                # Others may find this at the same moment. The last to replace the link has it; all wait until it is
                # clear who that is.
                self._replace_link()
                time.sleep(SETTLE_SECONDS)
                continue
            time.sleep(pause * random.uniform(0.5, 1))
            pause = min(2 * pause, LONGEST_PAUSE)

    def _replace_link(self) -> None:
        new = self._link.with_name(f".{self._link.name}.{secrets.token_hex(8)}")
        new.symlink_to(self._machine_file.name)
        new.replace(self._link)

    def _owner(self) -> str | None:
        try:
            return str(self._link.readlink())
        except OSError:  # just released, or no link: Optuna has a lock of another kind, too
            return None

    def _link_numbers(self) -> tuple[int, int] | None:
        try:
            status = self._link.lstat()
        except FileNotFoundError:
            return None
        return status.st_ino, status.st_mtime_ns


class SafeJournalBackend(BaseJournalBackend):
    """Optuna's journal file, of which every line is a whole entry.

    Optuna's readers overlook an unfinished last line, as a full disk or a crash of the machine leave it; but its
    writers glue the next entry to it, which makes the journal unreadable. Here the next writer cuts it off.

    Args:
        path: of the journal; it is made if need be.
        private: as of :func:`open_journal`.
        grace_seconds: as of :class:`MachineLock`.
    """

    def __init__(self, path: Path, private: bool = False, grace_seconds: float = GRACE_SECONDS) -> None:
        self.path = path.absolute()
        if not self.path.exists():
            self.path.touch()
        self._machine_lock = MachineLock(self.path, grace_seconds)
        self._private = private
        self._offsets = {0: 0}  # in the file, of entries by their number

    def read_logs(self, log_number_from: int) -> Generator[dict[str, Any], None, None]:
        """Give the entries from a number on; a last line that is unfinished is overlooked.

        Raises:
            SweepError: for a line that is damaged.
        """
        number = log_number_from if log_number_from in self._offsets else 0
        offset, bad, problem = self._offsets[number], b"", ""
        with self.path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(offset)
            for number, line in enumerate(file, start=number):  # noqa: B020
                if problem:  # and it was not the last line
                    break
                if not line.endswith(b"\n") or offset + len(line) > size:  # or it was: see below
                    return
                try:
                    entry = entry_of(line)
                except SweepError as error:
                    bad, problem = line, f"line {number + 1}: {error}"
                    break
                except ValueError as error:
                    bad, problem = line, f"line {number + 1}: {error}"
                    continue
                offset += len(line)
                self._offsets[number + 1] = offset
                if number >= log_number_from:
                    yield entry
            else:
                return
            # The beginning may be of an unfinished line that a writer has cut off since, the rest of the next entry.
            # All entries that this process has written come before: whatever is left out is read the next time.
            if os.pread(file.fileno(), len(bad), offset) == bad:
                raise SweepError(f"{self.path}: damaged; {problem}")

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Add entries; when it returns, they are on the disk, unless the journal is private.

        Raises:
            OSError: if they could not be written. None of them is left in part then; but one that was written and
                perhaps read by others, of which only the disk refused to say that it has it, stays.
        """
        lines = b"".join(map(line_of, logs))
        if self._private:
            self._append(lines)
            return
        try:
            self._machine_lock.acquire()
            self._append(lines)
        finally:
            self._machine_lock.release()

    def _append(self, lines: bytes) -> None:
        descriptor = os.open(self.path, os.O_RDWR | os.O_APPEND)
        try:
            _cut_unfinished(descriptor)
            try:
                written = 0
                while written < len(lines):  # a disk that fills up takes a part first
                    written += os.write(descriptor, lines[written:])
                if not self._private:
                    os.fsync(descriptor)
            except BaseException:
                with contextlib.suppress(OSError):  # the next writer will do it
                    _cut_unfinished(descriptor)
                raise
        finally:
            os.close(descriptor)


def _cut_unfinished(journal: int) -> None:
    size = os.fstat(journal).st_size
    length = 4096
    while True:
        tail = os.pread(journal, length, max(0, size - length))
        start = tail.rfind(b"\n", 0, -1) + 1
        if start or length >= size:
            break
        length *= 16
    if not _is_entry(last := tail[start:]):
        os.ftruncate(journal, size - len(last))


def _is_entry(line: bytes) -> bool:
    if not line.endswith(b"\n"):
        return not line
    try:
        entry_of(line)
    except SweepError:  # readers will say so
        return True
    except ValueError:  # a disk that lost a page of the line, but not the last one
        return False
    return True
