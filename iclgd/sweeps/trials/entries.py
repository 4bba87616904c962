"""The journal's lines: entries of Optuna's, each with a checksum as its last value, which Optuna overlooks."""

import json
import zlib
from collections.abc import Mapping
from typing import Any

from iclgd.sweeps.file.errors import SweepError

BEFORE, AFTER = b',"crc":"', b'"}\n'
TAIL_BYTES = len(BEFORE) + 8 + len(AFTER)


def line_of(entry: Mapping[str, Any]) -> bytes:
    """Return an entry as a line.

    Example:
        >>> line_of({"op_code": 1})
        b'{"op_code":1,"crc":"14ce8ae6"}\\n'
    """
    body = json.dumps(entry, separators=(",", ":")).encode()
    return b"%s%s%08x%s" % (body[:-1], BEFORE, zlib.crc32(body), AFTER)


def entry_of(line: bytes) -> dict[str, Any]:
    """Return the entry that a line, with its end, holds; plain Optuna's lines have no checksum.

    Raises:
        SweepError: if it is a whole line that was changed.
        ValueError: if it is no JSON, as the last line of a writer that was cut off.
    """
    entry, tail = json.loads(line), line[-TAIL_BYTES:]
    if not isinstance(entry, dict):
        raise SweepError("it is no entry")
    if tail.startswith(BEFORE) and b"%08x" % zlib.crc32(line[:-TAIL_BYTES] + b"}") != tail[len(BEFORE) : -len(AFTER)]:
        raise SweepError("its checksum is another")
    return entry
