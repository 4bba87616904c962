"""Token files: the tokens of a text, on the disk, in safetensors' format, read where they are needed.

A file has one tensor, ``tokens``, of 2 or 4 bytes a token. Its header holds the checksum of the tokens and of the
tokenizer that made them; ``safetensors.numpy.load_file`` reads it as well as :class:`TokenFile`.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from iclgd.checks import InputError
from iclgd.files import write_atomically
from iclgd.messages import first_line

NAME = "tokens"
HEADER_BYTES = 1024  # room for a header that is written once everything in it is known
KINDS: dict[str, np.dtype[Any]] = {"U16": np.dtype("<u2"), "U32": np.dtype("<u4")}


class TokenFileError(InputError):
    """A token file that cannot be used; the message names it and says why."""


class TokenFile:
    """Tokens on the disk; of them, only those that are asked for come into memory.

    Args:
        path: as :func:`write_tokens` has written it.
        tokenizer: the checksum of the tokenizer that has to have made it.
        vocabulary_size: above all its tokens.

    Raises:
        TokenFileError: if it is missing, damaged, or of another tokenizer.
    """

    def __init__(self, path: Path, tokenizer: str, vocabulary_size: int) -> None:
        self.path = path
        try:
            with safe_open(path, "np") as file:
                metadata = file.metadata() or {}
                tensor = file.get_slice(NAME)
                (self.num_tokens,), kind = tensor.get_shape(), KINDS[tensor.get_dtype()]
            with path.open("rb") as content:
                start = 8 + int.from_bytes(content.read(8), "little")
                content.seek(start)
                checksum = hashlib.file_digest(content, "sha256").hexdigest()
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            raise self._error(f"is damaged ({first_line(error)})") from None
        if checksum != metadata.get("sha256"):
            raise self._error(f"is damaged (the checksum of its {self.num_tokens:,} tokens is another)")
        if metadata.get("tokenizer") != tokenizer:
            raise self._error("was made by another tokenizer")
        if int(metadata.get("largest", -1)) >= vocabulary_size:
            raise self._error(f"has token {metadata['largest']}, and the vocabulary has {vocabulary_size:,} tokens")
        # An empty file cannot be mapped.
        self._tokens: NDArray[Any] = (
            np.memmap(path, kind, "r", start, (self.num_tokens,)) if self.num_tokens else np.empty(0, kind)
        )

    def windows(self, starts: Sequence[int] | NDArray[np.int64], length: int) -> NDArray[np.int64]:
        """Return ``length`` tokens from each of B places on, shape (B, length)."""
        rows = np.empty((len(starts), length), np.int64)
        for row, start in zip(rows, starts, strict=True):
            row[:] = self._tokens[start : start + length]
        return rows

    def _error(self, problem: str) -> TokenFileError:
        return TokenFileError(f"{self.path}: {problem}; remove the folder {self.path.parent}, and it is made again")


def write_tokens(path: Path, parts: Iterable[Sequence[int]], tokenizer: str, vocabulary_size: int) -> int:
    """Write a token file, as the tokens come; it is there once it is complete.

    Args:
        path: the file.
        parts: tokens in their order.
        tokenizer: its checksum.
        vocabulary_size: above all tokens; decides how many bytes a token takes.

    Returns:
        the number of tokens.

    Raises:
        OSError: if it cannot be written.
    """
    kind = "U16" if vocabulary_size <= 2**16 else "U32"
    checksum, count, largest = hashlib.sha256(), 0, -1
    with write_atomically(path) as file:
        file.write(bytes(HEADER_BYTES))
        for part in parts:
            tokens = np.asarray(part, KINDS[kind])
            if not len(tokens):
                continue
            file.write(tokens.data)
            checksum.update(tokens.data)
            count, largest = count + len(tokens), max(largest, int(tokens.max()))
        metadata = {"tokenizer": tokenizer, "sha256": checksum.hexdigest(), "largest": str(largest)}
        _write_header(file, kind, count, metadata)
    return count


def _write_header(file: IO[bytes], kind: str, count: int, metadata: dict[str, str]) -> None:
    tensor = {"dtype": kind, "shape": [count], "data_offsets": [0, count * KINDS[kind].itemsize]}
    header = json.dumps({"__metadata__": metadata, NAME: tensor}).encode()
    size = HEADER_BYTES - 8
    assert len(header) <= size
    file.seek(0)
    file.write(size.to_bytes(8, "little") + header.ljust(size))  # spaces at the end are allowed
