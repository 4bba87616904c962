"""Files of the user's cache folder: what took long to find out, and can always be found out again.

A damaged file, one of another format, or a folder that cannot be written are as good as none. Each file is replaced
whole, so processes that write at the same time cost no more than each other's additions.
"""

import contextlib
import hashlib
import json
import os
from pathlib import Path
from typing import Any

from iclgd import __version__
from iclgd.files import FileError, read_text, write_atomically
from iclgd.tracking.run_directory import MOST_BYTES

FORMAT = 1  # of what is kept; another one is not read


def cache_folder() -> Path | None:
    """Return ``$XDG_CACHE_HOME/iclgd`` or ``~/.cache/iclgd``, which need not be there; ``None`` without a home."""
    chosen = os.environ.get("XDG_CACHE_HOME")
    if chosen and Path(chosen).is_absolute():  # as the standard has it
        return Path(chosen) / "iclgd"
    with contextlib.suppress(RuntimeError):
        return Path.home() / ".cache" / "iclgd"
    return None


def read_cache(name: str) -> Any:
    """Return what was kept under a name, ``None`` if there is nothing that can be believed."""
    if (folder := cache_folder()) is None:
        return None
    try:
        head, _, body = read_text(folder / name, MOST_BYTES).partition("\n")
        return json.loads(body) if head == _head(body) else None
    except (OSError, FileError, ValueError, RecursionError):
        return None


def write_cache(name: str, content: Any) -> None:
    """Keep something that JSON can hold, where that is possible."""
    if (folder := cache_folder()) is None:
        return
    body = json.dumps(content, separators=(",", ":"))
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        with write_atomically(folder / name) as file:
            file.write(f"{_head(body)}\n{body}".encode())


def _head(body: str) -> str:
    """Return the first line: the format and the checksum, by which all that follows can be believed."""
    return f"iclgd {__version__} {FORMAT} {hashlib.sha256(body.encode()).hexdigest()}"
