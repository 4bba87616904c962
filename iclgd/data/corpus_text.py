"""The text of a corpus, in pieces: of any size, it is never in memory as a whole."""

import codecs
import hashlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from iclgd.checks import InputError, did_you_mean
from iclgd.data.hub_rows import read_hub
from iclgd.data.json_lines import Row, RowsError, read_json_lines
from iclgd.data.text_task import surrogate_in
from iclgd.terminal import escaped

SPLITS = ("train", "validation")
FIELD = "text"
NUM_CHARACTERS = 2**16  # of a piece
NUM_BYTES = 2**18  # read at once
ENDINGS = ("txt", "jsonl")
# Read from the end: all byte-level tokenizers begin a word with a single space, not all with a line break.
LAST_SPACE, LAST_WHITE_SPACE = re.compile(r"\S (?=\S)"), re.compile(r"\s+(?=\S)")
HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")
MOST_SHOWN = 60  # characters of a value in a message


class CorpusError(InputError):
    """A corpus that cannot be used."""


class Piece(NamedTuple):
    """A part of a text."""

    text: str
    is_end: bool  # of a document


class CorpusText:
    """The text of one split of a corpus: a file, or rows of a data set on the hub.

    Args:
        data_dir: a folder with ``train.txt`` and ``validation.txt``, or with ``train.jsonl`` and ``validation.jsonl``,
            or the name of a data set on the hub. Rows have texts, in their field ``text``; a ``.txt`` is one text.
        hub_config: which configuration of a data set on the hub.
        split: ``train`` or ``validation``.
        has_documents: whether each row is a document.

    Raises:
        CorpusError: if there is no such file in the folder, and for a folder that is not there.
    """

    def __init__(self, data_dir: str, hub_config: str | None, split: str, has_documents: bool = True) -> None:
        self.data_dir, self.hub_config, self.split, self.has_documents = data_dir, hub_config, split, has_documents
        try:
            folder = Path(data_dir).expanduser()
            self.path = self._file(folder) if folder.is_dir() else None
            if self.path is None and (folder.exists() or not HUB_NAME.fullmatch(data_dir)):
                beside = [str(each) for each in folder.parent.glob("*/")]
                raise CorpusError(f"task.data_dir: {data_dir} is no folder{did_you_mean(folder, beside)}")
        except (OSError, RuntimeError) as error:  # RuntimeError: ~NAME of nobody
            reason = getattr(error, "strerror", None) or error
            raise CorpusError(f"task.data_dir: {data_dir} cannot be read ({reason})") from None

    def _file(self, folder: Path) -> Path:
        names = [f"{self.split}.{ending}" for ending in ENDINGS]
        for path in (folder / name for name in names):
            if path.is_file():
                return path
            if path.exists():
                raise CorpusError(f"{path}: expected a regular file")
        raise CorpusError(f"task.data_dir: {folder} has no {' or '.join(names)}")

    @property
    def name(self) -> str:
        """Return what to call it in messages."""
        return str(self.path) if self.path else f"{self.data_dir}, {self.split}"

    def pieces(self) -> Iterator[Piece]:
        """Yield the text, cut before white space, where tokenizers begin a new word.

        Raises:
            CorpusError: if it cannot be read, is not UTF-8, or a row has no text.
        """
        try:
            if self.path and self.path.suffix == ".txt":
                yield from (Piece(text, is_end=False) for text in cut(_decoded(self.path)))
                return
            rows = read_json_lines(self.path) if self.path else read_hub(self.data_dir, self.hub_config, self.split)
            for row in rows:
                yield from (Piece(text, is_end=False) for text in cut([_text(row)]))
                if self.has_documents:
                    yield Piece("", is_end=True)
        except RowsError as error:
            where = "" if self.path else f"task.data_dir: {self.data_dir} is no folder, and could not be fetched: "
            raise CorpusError(f"{where}{error}") from None

    def checksum(self) -> str:
        """Return what tells this text from others; whatever is wrong with it is found on the way.

        Raises:
            CorpusError: as :meth:`pieces`, and if there is no text at all.
        """
        checksum, is_empty = hashlib.sha256(), True
        for text, is_end in self.pieces():
            checksum.update(text.encode())
            if is_end:
                checksum.update(b"\xff")  # which is in no text
            is_empty = is_empty and not text.strip()
        if is_empty:
            raise CorpusError(f"{self.name}: is empty")
        return checksum.hexdigest()


def cut(chunks: Iterable[str], size: int = NUM_CHARACTERS) -> Iterator[str]:
    """Yield a text in pieces of at most ``size`` characters, each but the first from a space on where there is any.

    Example:
        >>> list(cut(["one two t", "hree\\nfour"], size=9))
        ['one two', ' three', '\\nfour']
    """
    rest = ""
    for chunk in chunks:
        rest, start = rest + chunk, 0
        while len(rest) - start > size:
            end = start + _last_break(rest[start : start + size])
            yield rest[start:end]
            start = end
        rest = rest[start:]
    if rest:
        yield rest


def _last_break(text: str) -> int:
    """Return where a text's last single space is, or else its last white space begins, or else its length."""
    backwards = text[::-1]
    found = LAST_SPACE.search(backwards) or LAST_WHITE_SPACE.search(backwards)
    return len(text) - found.end() if found else len(text)


def _decoded(path: Path) -> Iterator[str]:
    decoder, num_bytes = codecs.getincrementaldecoder("utf-8")(), 0
    try:
        with path.open("rb") as file:
            while True:
                content = file.read(NUM_BYTES)
                start = num_bytes - len(decoder.getstate()[0])
                text = decoder.decode(content, final=not content)
                yield text.removeprefix("\ufeff") if num_bytes == 0 else text
                if not content:
                    return
                num_bytes += len(content)
    except UnicodeDecodeError as error:
        raise CorpusError(f"{path}: not UTF-8 at byte {start + error.start + 1:,}") from None
    except OSError as error:
        raise CorpusError(f"{path}: cannot be read ({error.strerror or error})") from None


def _text(row: Row) -> str:
    text = row.values.get(FIELD)
    if not isinstance(text, str):
        there = escaped(", ".join(row.values), MOST_SHOWN)
        raise CorpusError(f"{row.position}: field {FIELD!r} must be a text; it has: {there}")
    if (problem := surrogate_in(text)) is not None:
        raise CorpusError(f"{row.position}: field {FIELD!r} {problem}")
    return text
