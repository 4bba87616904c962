"""Where the trials of the local engine are kept: a journal in the sweep's folder, or a database."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import optuna
from optuna.storages import BaseStorage

from iclgd.sweeps.file import schema
from iclgd.sweeps.file.errors import SweepError
from iclgd.sweeps.file.schema import SweepFile
from iclgd.sweeps.trials.claims import OfflineSweep
from iclgd.sweeps.trials.folder import SweepFolder
from iclgd.sweeps.trials.journal import flush, open_journal


def open_sweep(folder: SweepFolder) -> tuple[SweepFile, OfflineSweep]:
    """Return what a folder's sweep searches, and its trials.

    Raises:
        SweepError: if they cannot be read.
    """
    sweep, url = schema.read(folder.sweep_file), folder.options.storage
    try:
        storage = open_database(url) if url else _open_journal(folder.journal)
        return sweep, OfflineSweep(storage, sweep, folder.options)
    except (KeyError, FileNotFoundError):
        raise SweepError(f"{folder.path}: its trials are not in {url or folder.journal}") from None


def _open_journal(path: Path) -> BaseStorage:
    try:
        return open_journal(path)
    except OSError:
        raise
    except Exception as error:  # whatever replaying what is no entry of Optuna's may raise
        raise SweepError(f"{path}: damaged; not even its whole lines are all entries ({error!r})") from None


@contextlib.contextmanager
def new_storage(url: str | None, journal: Path) -> Iterator[BaseStorage]:
    """Give a place for new trials: the database of a URL, or a journal in a folder that nobody knows yet.

    Raises:
        SweepError: if the database cannot be used.
        OSError: if the journal cannot be written.
    """
    if url:
        yield open_database(url)
    else:
        yield open_journal(journal, private=True)
        flush(journal)


def open_database(url: str) -> BaseStorage:
    """Connect to a database.

    Raises:
        SweepError: if it cannot be used.
    """
    try:
        return optuna.storages.RDBStorage(url)
    except Exception as error:  # of SQLAlchemy or of any database's driver
        raise SweepError(f"--storage {url}: cannot be used ({str(error).splitlines()[0]})") from None
