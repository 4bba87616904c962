"""Rows of a data set on the hub of data sets, or in its local cache."""

import contextlib
from collections.abc import Iterator

from iclgd.data.json_lines import Row, RowsError
from iclgd.data.row_files import rows_of
from iclgd.hub import connection_problem
from iclgd.messages import first_line
from iclgd.vendors.datasets import offline


def read_hub(path: str, config: str | None, split: str) -> Iterator[Row]:
    """Yield the rows of a data set on the hub, or of its copy in the local cache.

    No code of the data set is run. Without a connection this fails, or takes the copy, within seconds.

    Args:
        path: the data set's name on the hub.
        config: which of its configurations, if it has several.
        split: in the hub's words.

    Raises:
        RowsError: if neither the hub nor the cache has it; the message is the reason alone.
    """
    import datasets  # takes a second, and most runs have their data in files

    reason = connection_problem()
    try:
        with contextlib.nullcontext() if reason is None else offline():
            rows = datasets.load_dataset(path, config, split=split)
    except Exception as error:  # whatever a client of the network raises
        raise RowsError(reason or first_line(error)) from None
    yield from rows_of(rows, f"{path}, {split} row")
