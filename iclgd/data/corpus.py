"""Corpora of text to train language models on: tokenized once, into files that all processes read."""

import contextlib
import fcntl
import hashlib
import itertools
import json
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from omegaconf import MISSING
from transformers import AutoTokenizer
from transformers import PreTrainedTokenizerBase as Tokenizer

from iclgd import checks
from iclgd.data.corpus_text import SPLITS, CorpusError, CorpusText
from iclgd.data.corpus_tokenizer import LEAST_VOCABULARY_SIZE, checksum_of, train_tokenizer
from iclgd.data.language import LanguageConfig
from iclgd.data.prompt_tokens import Tokens, encode
from iclgd.data.token_file import TokenFile, write_tokens
from iclgd.files import made_whole
from iclgd.messages import first_line
from iclgd.terminal import say

BPE = "bpe"  # a tokenizer of this name is trained on the corpus itself
BPE_VOCABULARY_SIZE = 4096
TOKENIZER_FOLDER, ENDING = "tokenizer", ".safetensors"
NUM_PIECES = 64  # tokenized at once
SECONDS_BETWEEN_LINES = 10.0
FORMAT = 1  # of the cache; another one is made anew
LoadTokenizer = Callable[[str], Tokenizer]


@dataclass(frozen=True)
class CorpusConfig(LanguageConfig):
    """A corpus of text: files of a folder, or a data set on the hub.

    Raises:
        ValueError: if a value is out of its range.
    """

    name: str = "corpus"
    data_dir: str = MISSING
    """A folder with train.txt and validation.txt (or .jsonl, a text in each row), or a name on the hub."""
    hub_config: str | None = None
    """Which configuration of a data set on the hub."""
    documents: bool = True
    """Whether each row is a document, which an end token follows; else all are parts of one text."""
    tokenizer: str = BPE
    """A tokenizer's folder, or its name on the hub; bpe is trained on the training text."""
    vocabulary_size: int | None = None
    """Tokens of the model, at least the tokenizer's; as many as those if null, for bpe 4096."""
    num_tokens: int = 256
    """Tokens of a training sequence, and as many to predict."""

    def __post_init__(self) -> None:
        checks.at_least(1, "task", self, "num_tokens")
        for key in ("data_dir", "tokenizer", "hub_config"):
            if getattr(self, key) == "":
                raise ValueError(f"task.{key} must not be empty")
        if self.vocabulary_size is not None:
            least = LEAST_VOCABULARY_SIZE if self.tokenizer == BPE else 1
            checks.at_least(least, "task", self, "vocabulary_size")

    @property
    def least_vocabulary_size(self) -> int:
        """Return how many tokens a model knows at the least."""
        return self.vocabulary_size or 1


class Corpus(NamedTuple):
    """A corpus that is ready to be read."""

    tokenizer: Tokenizer
    vocabulary_size: int  # of a model
    train: TokenFile
    validation: TokenFile


def open_corpus(config: CorpusConfig, cache: Path, load_tokenizer: LoadTokenizer) -> Corpus:
    """Return a corpus, tokenized the first time that it is asked for.

    Args:
        config: which corpus.
        cache: a folder for token files, each in a subfolder named after the text and the tokenizer. Of processes that
            need the same one, the first makes it and the others wait.
        load_tokenizer: loads one from a folder or the hub.

    Raises:
        InputError: if the text or the tokenizer cannot be used, a token file is damaged, or the text is shorter than a
            sequence.
        OSError: if the cache cannot be written.
    """
    texts = {split: CorpusText(config.data_dir, config.hub_config, split, config.documents) for split in SPLITS}
    given = None if config.tokenizer == BPE else load_tokenizer(config.tokenizer)
    if given is not None and not given.is_fast:
        raise CorpusError(
            f"task.tokenizer: {config.tokenizer} is written in Python; a fast one, with a tokenizer.json, is needed"
        )
    kind = f"{BPE} {config.vocabulary_size or BPE_VOCABULARY_SIZE}" if given is None else checksum_of(given)
    made_from = [FORMAT, kind, *(text.checksum() for text in texts.values())]
    folder = cache / hashlib.sha256(json.dumps(made_from).encode()).hexdigest()[:16]
    if not folder.is_dir():
        with _alone(folder):
            if not folder.is_dir():
                _make(folder, config, texts, given)
    tokenizer = given or _read_tokenizer(folder)
    vocabulary_size = _vocabulary_size(config, tokenizer)
    files = [TokenFile(folder / f"{split}{ENDING}", checksum_of(tokenizer), vocabulary_size) for split in SPLITS]
    for split, file in zip(SPLITS, files, strict=True):
        if file.num_tokens <= config.num_tokens:
            raise CorpusError(
                f"{texts[split].name}: has {file.num_tokens:,} tokens; a sequence of "
                f"task.num_tokens={config.num_tokens} needs one more than that"
            )
    return Corpus(tokenizer, vocabulary_size, *files)


def _make(folder: Path, config: CorpusConfig, texts: dict[str, CorpusText], given: Tokenizer | None) -> None:
    """Write a corpus' token files, and its tokenizer if it is the corpus' own."""
    say(f"tokenizing {config.data_dir} into {folder}, once")
    with made_whole(folder) as unfinished:
        if given is None:
            pieces = (text for text, _ in texts["train"].pieces())
            trained = train_tokenizer(pieces, config.vocabulary_size or BPE_VOCABULARY_SIZE)
            trained.save_pretrained(unfinished / TOKENIZER_FOLDER)
        tokenizer = given or _read_tokenizer(unfinished)
        _vocabulary_size(config, tokenizer)
        for split, text in texts.items():
            path = unfinished / f"{split}{ENDING}"
            write_tokens(path, _tokens(text, tokenizer), checksum_of(tokenizer), len(tokenizer))


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep other processes from making the same folder, and clear up after one that was killed while it did."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f"{folder.name}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another process that makes {folder}")
            fcntl.flock(file, fcntl.LOCK_EX)
        for left in folder.parent.glob(f".{folder.name}.*"):
            shutil.rmtree(left, ignore_errors=True)
        yield


def _read_tokenizer(folder: Path) -> Tokenizer:
    path = folder / TOKENIZER_FOLDER
    try:
        return AutoTokenizer.from_pretrained(path, local_files_only=True)
    except Exception as error:  # damaged files can fail in any way
        raise CorpusError(
            f"{path}: is damaged ({first_line(error)}); remove the folder {folder}, and it is made again"
        ) from None


def _vocabulary_size(config: CorpusConfig, tokenizer: Tokenizer) -> int:
    """Return how many tokens a model needs to know."""
    if config.vocabulary_size is not None and config.vocabulary_size < len(tokenizer):
        raise CorpusError(
            f"task.vocabulary_size must be at least the {len(tokenizer):,} tokens of "
            f"task.tokenizer={config.tokenizer}, got {config.vocabulary_size:,}"
        )
    return config.vocabulary_size or len(tokenizer)


def _tokens(text: CorpusText, tokenizer: Tokenizer) -> Iterator[Tokens]:
    """Yield the tokens of a text; the end token follows each document.

    Raises:
        CorpusError: if there are documents, and the tokenizer has no end token.
    """
    pieces, count, last_line = text.pieces(), 0, time.monotonic()
    while some := list(itertools.islice(pieces, NUM_PIECES)):
        for piece, tokens in zip(some, encode(tokenizer, [piece.text for piece in some]), strict=True):
            yield tokens
            count += len(tokens)
            if piece.is_end:
                if tokenizer.eos_token_id is None:
                    raise CorpusError(f"{text.name}: has documents, and task.tokenizer has no token to end them with")
                yield (tokenizer.eos_token_id,)
        if time.monotonic() - last_line > SECONDS_BETWEEN_LINES:
            last_line = time.monotonic()
            say(f"{text.name}: {count:,} tokens so far")
