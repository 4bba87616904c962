"""Rows of a data set from a folder, in whichever format they are: the files' names say it."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from iclgd.data.json_lines import Row, RowsError, read_json_lines
from iclgd.data.separated_values import read_separated_values
from iclgd.messages import first_line

NUM_ROWS = 1000  # at once, which takes a sixteenth of the time of one by one
SAVED = "state.json"  # in each folder in which ``datasets`` has saved a data set


def read_parquet(path: Path) -> Iterator[Row]:
    """Yield the rows of a parquet file, of which some are in memory at a time.

    Raises:
        RowsError: for a file that cannot be read, or has two columns of one name.
    """
    import pyarrow
    from pyarrow import parquet

    number = 0
    try:
        with parquet.ParquetFile(path) as file:
            names = file.schema_arrow.names
            if twice := sorted(name for name in set(names) if names.count(name) > 1):
                raise RowsError(f"{path}: the column {twice[0]!r} occurs {names.count(twice[0])} times")
            for batch in file.iter_batches(NUM_ROWS):
                for values in batch.to_pylist():
                    number += 1
                    yield Row(f"{path}, row {number}", values)
    except (pyarrow.ArrowException, OSError, UnicodeError) as error:
        raise RowsError(f"{path}, row {number + 1} and on: cannot be read ({first_line(error)})") from None


def read_saved(path: Path) -> Iterator[Row]:
    """Yield the rows of a folder in which ``datasets`` has saved a data set; they stay on the disk.

    Raises:
        RowsError: if it cannot be read.
    """
    import datasets  # takes a second, and most runs have their data in files

    try:
        rows = datasets.load_from_disk(str(path))
    except Exception as error:  # of any kind, if the folder is damaged
        raise RowsError(f"{path}: cannot be read ({first_line(error)})") from None
    if not isinstance(rows, datasets.Dataset):
        raise RowsError(f"{path}: expected one data set, got those of {', '.join(rows)}")
    yield from rows_of(rows, f"{path}, row")


def rows_of(dataset: Any, position: str) -> Iterator[Row]:
    """Yield the rows of a data set of Hugging Face's.

    Args:
        dataset: a ``datasets.Dataset``.
        position: of a row, without its number.

    Raises:
        RowsError: if they cannot be read, as pictures without the library for them.
    """
    number = 0
    try:
        for batch in dataset.iter(NUM_ROWS):
            for row in zip(*batch.values(), strict=True):
                number += 1
                yield Row(f"{position} {number}", dict(zip(batch, row, strict=True)))
    except Exception as error:  # of any kind, from the libraries beneath
        raise RowsError(f"{position} {number + 1} and on: cannot be read ({first_line(error)})") from None


READERS: dict[str, Callable[[Path], Iterator[Row]]] = {  # by a file's ending
    "jsonl": read_json_lines,
    "csv": read_separated_values,
    "tsv": partial(read_separated_values, delimiter="\t"),
    "parquet": read_parquet,
}
DATA = f"train and validation data (.{', .'.join(READERS)}, or folders saved by datasets)"  # what a folder has to have


def find_rows(folder: Path, split: str, saved_split: str | None = None) -> Callable[[], Iterator[Row]] | None:
    """Return what reads a split's rows from a folder, ``None`` if it has none.

    Args:
        folder: has files such as ``train.csv``, or folders such as ``train`` that ``datasets`` has saved, each for
            itself or together as a ``DatasetDict``.
        split: their name.
        saved_split: another name of such a folder, which is looked at if there is no other data.

    Raises:
        RowsError: if they are there in two formats, of which one may be old.
    """
    found = {path: reader for ending, reader in READERS.items() if (path := folder / f"{split}.{ending}").is_file()}
    for name in (split, saved_split or split):
        if (folder / name / SAVED).is_file() and (name == split or not found):
            found[folder / name] = read_saved
    if len(found) > 1:
        names = " and ".join(path.name for path in found)
        raise RowsError(f"{folder}: has the {split} data more than once, as {names}; leave one of them")
    return next((partial(reader, path) for path, reader in found.items()), None)
