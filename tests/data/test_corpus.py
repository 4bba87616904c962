"""Corpora as token files: what is in them, made once, and what is refused."""

import json
import os
import shutil
import signal
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer as Backend
from transformers import AutoTokenizer, ByT5Tokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from iclgd.checks import InputError
from iclgd.data import corpus as corpora
from iclgd.data.corpus import Corpus, CorpusConfig, open_corpus
from iclgd.data.corpus_text import CorpusText
from iclgd.data.corpus_tokenizer import END, LEAST_VOCABULARY_SIZE, checksum_of, train_tokenizer
from iclgd.data.token_file import TokenFile, write_tokens
from tests.corpora import text, write_corpus
from tests.tokenizers import gpt2

TRAIN, VALIDATION = text(25_000), text(400, seed=1)  # the first has more than one piece


def load(name: str) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(name)


def never(name: str) -> PreTrainedTokenizerBase:
    raise AssertionError(name)


def tokens_of(file: TokenFile) -> list[int]:
    return file.windows([0], file.num_tokens)[0].tolist()


def joined(parts: Iterable[list[int]]) -> list[int]:
    return list(chain.from_iterable(parts))


def plain(tokenizer: PreTrainedTokenizerBase, whole: str) -> list[int]:
    """Return the tokens of a text by the tokenizers library alone, all at once."""
    backend = Backend.from_str(tokenizer.backend_tokenizer.to_str())
    backend.encode_special_tokens = True
    return backend.encode(whole, add_special_tokens=False).ids


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus"), TRAIN, VALIDATION)


@pytest.fixture
def config(folder: Path) -> CorpusConfig:
    return CorpusConfig(data_dir=str(folder), vocabulary_size=290, num_tokens=16)


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a tokenizer, which puts nothing before a text and has an end token."""
    path = tmp_path_factory.mktemp("tokenizer")
    gpt2().save_pretrained(path)
    return path


def open_(config: CorpusConfig, cache: Path) -> Corpus:
    return open_corpus(config, cache, load)


def message_of(config: CorpusConfig, cache: Path) -> str:
    """Return with which line a corpus is refused."""
    with pytest.raises(InputError) as error:
        open_corpus(config, cache, load)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_token_file_has_the_tokens_of_the_whole_text(config: CorpusConfig, tmp_path: Path) -> None:
    corpus = open_corpus(config, tmp_path, never)
    assert len(list(CorpusText(config.data_dir, None, "train").pieces())) > 1
    assert len(corpus.tokenizer) == corpus.vocabulary_size == 290
    for file, whole in ((corpus.train, TRAIN), (corpus.validation, VALIDATION)):
        assert tokens_of(file) == plain(corpus.tokenizer, whole)
        assert corpus.tokenizer.decode(tokens_of(file)) == whole
    end = corpus.tokenizer.eos_token_id
    assert END in TRAIN
    assert end not in tokens_of(corpus.train), "a control token's name in a text is text"


def test_the_tokenizer_is_trained_on_the_training_text(config: CorpusConfig, tmp_path: Path) -> None:
    tokenizer = open_(config, tmp_path).tokenizer
    again = train_tokenizer([piece.text for piece in CorpusText(config.data_dir, None, "train").pieces()], 290)
    assert checksum_of(tokenizer) == checksum_of(again)
    assert {tokenizer.bos_token, tokenizer.eos_token} == {END}


def test_an_end_token_follows_each_document(tmp_path: Path, given: Path) -> None:
    documents = [VALIDATION, "rain\n", "", "the sun"]
    rows = "".join(json.dumps({"text": each}) + "\n" for each in documents)
    folder = write_corpus(tmp_path / "texts", rows, rows, "jsonl")
    config = CorpusConfig(data_dir=str(folder), tokenizer=str(given), num_tokens=4)
    corpus = open_(config, tmp_path / "cache")
    end = corpus.tokenizer.eos_token_id
    with_ends = [[*plain(corpus.tokenizer, each), end] for each in documents]
    assert tokens_of(corpus.train) == tokens_of(corpus.validation) == joined(with_ends)
    lines = open_(replace(config, documents=False), tmp_path / "cache")
    assert tokens_of(lines.train) == joined(tokens[:-1] for tokens in with_ends)


def test_a_given_tokenizer_makes_the_tokens(config: CorpusConfig, given: Path, tmp_path: Path) -> None:
    tokenizer = load(str(given))
    corpus = open_(replace(config, tokenizer=str(given), vocabulary_size=None), tmp_path)
    assert tokens_of(corpus.train) == plain(tokenizer, TRAIN)
    assert corpus.vocabulary_size == len(tokenizer)
    larger = open_(replace(config, tokenizer=str(given), vocabulary_size=512), tmp_path)
    assert (larger.vocabulary_size, larger.train.path) == (512, corpus.train.path), "the same tokens"


def test_what_is_made_is_read_again(config: CorpusConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = open_(config, tmp_path)
    assert capsys.readouterr().err == f"tokenizing {config.data_dir} into {first.train.path.parent}, once\n"
    stamp = first.train.path.stat().st_mtime_ns
    again = open_(replace(config, num_tokens=8), tmp_path)
    assert capsys.readouterr().err == ""
    assert (again.train.path, again.train.path.stat().st_mtime_ns) == (first.train.path, stamp)


def test_another_text_or_tokenizer_has_files_of_its_own(config: CorpusConfig, tmp_path: Path) -> None:
    copy = write_corpus(tmp_path / "copy", TRAIN, VALIDATION)
    first = open_(config, tmp_path / "cache").train.path
    assert open_(replace(config, data_dir=str(copy)), tmp_path / "cache").train.path == first, "the same text"
    assert open_(replace(config, vocabulary_size=291), tmp_path / "cache").train.path != first
    write_corpus(copy, TRAIN + "!", VALIDATION)
    changed = open_(replace(config, data_dir=str(copy)), tmp_path / "cache")
    assert changed.train.path != first
    assert changed.tokenizer.decode(tokens_of(changed.train)[-1:]).endswith("!")


def test_of_those_who_need_it_at_once_one_makes_it(
    config: CorpusConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    begun, may_go_on, made, make = threading.Event(), threading.Event(), [], corpora._make

    def slowly(*arguments: Any) -> None:
        made.append(threading.current_thread())
        begun.set()
        assert may_go_on.wait(30)
        make(*arguments)

    def say(line: str) -> None:  # the second one waits for the first
        if "waiting" in line:
            may_go_on.set()

    monkeypatch.setattr(corpora, "_make", slowly)
    monkeypatch.setattr(corpora, "say", say)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(open_, config, tmp_path)
        assert begun.wait(30)
        second = pool.submit(open_, config, tmp_path)
        opened = [first.result(60), second.result(60)]
    assert len(made) == 1
    assert opened[0].train.path == opened[1].train.path
    assert tokens_of(opened[0].train) == tokens_of(opened[1].train) == plain(opened[0].tokenizer, TRAIN)


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")  # of Python 3.12; the library copes with it
def test_of_one_that_is_killed_in_the_middle_nothing_is_taken(
    config: CorpusConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die_at_the_second(path: Path, *arguments: Any) -> None:
        if path.name.startswith("validation"):
            os.kill(os.getpid(), signal.SIGKILL)
        write_tokens(path, *arguments)

    if (child := os.fork()) == 0:  # a process that is started would cost seconds
        signal.alarm(60)
        try:
            monkeypatch.setattr(corpora, "write_tokens", die_at_the_second)
            open_(config, tmp_path)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert list(tmp_path.glob(".*/train.safetensors")), "it came so far"
    corpus = open_(config, tmp_path)
    assert tokens_of(corpus.validation) == plain(corpus.tokenizer, VALIDATION)
    assert not list(tmp_path.glob(".*")), "what was left is gone"


def test_one_that_is_interrupted_leaves_nothing(
    config: CorpusConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(corpora, "write_tokens", interrupt)
        with pytest.raises(KeyboardInterrupt):
            open_(config, tmp_path)
    assert [path.suffix for path in tmp_path.iterdir()] == [".lock"]
    assert tokens_of(open_(config, tmp_path).validation)


def test_a_damaged_cache_is_refused_and_made_again_once_it_is_removed(config: CorpusConfig, tmp_path: Path) -> None:
    corpus = open_(config, tmp_path)
    path, folder = corpus.train.path, corpus.train.path.parent
    before = path.read_bytes()
    advice = f"; remove the folder {folder}, and it is made again"
    path.write_bytes(before[:-1])
    message = message_of(config, tmp_path)
    assert message.startswith(f"{path}: is damaged (")
    assert message.endswith(advice)
    write_tokens(path, [(1, 2)], "another", 290)
    assert message_of(config, tmp_path) == f"{path}: was made by another tokenizer{advice}"
    write_tokens(path, [(290,)], checksum_of(corpus.tokenizer), 291)
    assert message_of(config, tmp_path) == f"{path}: has token 290, and the vocabulary has 290 tokens{advice}"
    (folder / "tokenizer" / "tokenizer.json").write_text("{")
    message = message_of(config, tmp_path)
    assert message.startswith(f"{folder}/tokenizer: is damaged (")
    assert message.endswith(advice)
    shutil.rmtree(folder)
    assert open_(config, tmp_path).train.path.read_bytes() == before


@pytest.mark.parametrize("split", ["train", "validation"])
def test_a_text_shorter_than_a_sequence_is_refused(tmp_path: Path, split: str) -> None:
    texts = {"train": "ab" * 40, "validation": "ab" * 40} | {split: "abcd"}
    folder = write_corpus(tmp_path / "texts", **texts)
    config = CorpusConfig(data_dir=str(folder), vocabulary_size=LEAST_VOCABULARY_SIZE, num_tokens=4)
    assert message_of(config, tmp_path / "cache") == (
        f"{folder}/{split}.txt: has 4 tokens; a sequence of task.num_tokens=4 needs one more than that"
    )
    assert open_(replace(config, num_tokens=3), tmp_path / "cache")


def test_a_vocabulary_smaller_than_the_tokenizers_is_refused_before_anything_is_made(
    config: CorpusConfig, given: Path, tmp_path: Path
) -> None:
    smaller = replace(config, tokenizer=str(given), vocabulary_size=100)
    assert message_of(smaller, tmp_path) == (
        f"task.vocabulary_size must be at least the {len(load(str(given)))} tokens of task.tokenizer={given}, got 100"
    )
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


def test_tokenizers_that_cannot_do_it_are_refused(tmp_path: Path) -> None:
    endless = tmp_path / "endless"
    PreTrainedTokenizerFast(tokenizer_object=gpt2().backend_tokenizer).save_pretrained(endless)
    rows = json.dumps({"text": VALIDATION})
    folder = write_corpus(tmp_path / "texts", rows, rows, "jsonl")
    config = CorpusConfig(data_dir=str(folder), tokenizer=str(endless), num_tokens=4)
    assert message_of(config, tmp_path / "cache") == (
        f"{folder}/train.jsonl: has documents, and task.tokenizer has no token to end them with"
    )
    assert tokens_of(open_(replace(config, documents=False), tmp_path / "cache").train)
    ByT5Tokenizer().save_pretrained(tmp_path / "python")
    assert message_of(replace(config, tokenizer=str(tmp_path / "python")), tmp_path / "cache") == (
        f"task.tokenizer: {tmp_path}/python is written in Python; a fast one, with a tokenizer.json, is needed"
    )


def test_text_that_cannot_be_used_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    folder = write_corpus(tmp_path / "texts", "rain", b"\xff")
    config = CorpusConfig(data_dir=str(folder))
    assert message_of(config, tmp_path / "cache") == f"{folder}/validation.txt: not UTF-8 at byte 1"
    assert not (tmp_path / "cache").exists()
