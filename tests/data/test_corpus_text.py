import json
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from iclgd.data.corpus_text import CorpusError, CorpusText, cut
from tests.corpora import text, write_corpus
from tests.tokenizers import KINDS

TEXT = text(2000)


def pieces_of(folder: Path, split: str = "train", has_documents: bool = True) -> list[tuple[str, bool]]:
    return [tuple(piece) for piece in CorpusText(str(folder), None, split, has_documents).pieces()]


def message_of(folder: Path | str) -> str:
    """Return what is said of a corpus, which is found out by reading it once."""
    with pytest.raises(CorpusError) as error:
        [CorpusText(str(folder), None, split).checksum() for split in ("train", "validation")]
    message = str(error.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("size", [1, 7, 100, 10**6])
def test_pieces_joined_are_the_text(size: int) -> None:
    chunks = [TEXT[start : start + 33] for start in range(0, len(TEXT), 33)]
    pieces = list(cut(chunks, size))
    assert "".join(pieces) == TEXT
    assert max(map(len, pieces)) <= size
    assert all(pieces)


@pytest.mark.parametrize("kind", ["gpt2", "llama3", "unigram", "word_pieces"])
def test_the_tokens_of_pieces_are_those_of_the_text(kind: str) -> None:
    backend: Tokenizer = KINDS[kind]().backend_tokenizer
    backend.encode_special_tokens = True
    pieces = list(cut([TEXT], 150))
    assert len(pieces) > 50
    tokens = [backend.encode(piece, add_special_tokens=False).ids for piece in pieces]
    assert list(chain.from_iterable(tokens)) == backend.encode(TEXT, add_special_tokens=False).ids


def test_a_file_of_any_size_is_one_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("iclgd.data.corpus_text.NUM_BYTES", 5)  # characters of several bytes lie across borders
    write_corpus(tmp_path, "\ufeff" + TEXT, "é" * 100 + "\r\nrain")
    assert pieces_of(tmp_path) == [(TEXT, False)]
    assert pieces_of(tmp_path, "validation") == [("é" * 100 + "\r\nrain", False)]


def test_rows_are_documents_or_parts_of_one_text(tmp_path: Path) -> None:
    rows = "".join(json.dumps({"text": each, "id": 3}) + "\n" for each in ("rain\n", "", " sun"))
    write_corpus(tmp_path, rows, rows, "jsonl")
    ends = [("", True)]
    assert pieces_of(tmp_path) == [("rain\n", False), *ends, *ends, (" sun", False), *ends]
    assert pieces_of(tmp_path, has_documents=False) == [("rain\n", False), (" sun", False)]


def test_checksums_tell_texts_and_documents_apart(tmp_path: Path) -> None:
    def checksum(*rows: str, has_documents: bool = True) -> str:
        lines = "".join(json.dumps({"text": each}) + "\n" for each in rows)
        write_corpus(tmp_path, lines, lines, "jsonl")
        return CorpusText(str(tmp_path), None, "train", has_documents).checksum()

    different = [checksum("ab", "c"), checksum("a", "bc"), checksum("abc"), checksum("ab", "c", has_documents=False)]
    assert len(set(different)) == 4
    assert checksum("ab", "c") == different[0]
    assert checksum("a", "bc", has_documents=False) == different[3], "the same text"


def test_a_data_set_on_the_hub_is_read_by_its_splits(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    asked, texts = [], [f"day {number}" for number in range(2500)]

    def load_dataset(*arguments: Any, **keys: Any) -> datasets.Dataset:
        asked.append((arguments, keys))
        return datasets.Dataset.from_dict({"id": range(2500), "text": texts})

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    corpus = CorpusText("somebody/texts", "raw", "train", has_documents=False)
    assert [piece.text for piece in corpus.pieces()] == texts
    assert asked == [(("somebody/texts", "raw"), {"split": "train"})]
    assert corpus.name == "somebody/texts, train"
    texts[1500] = None
    with pytest.raises(CorpusError) as error:
        list(corpus.pieces())
    assert str(error.value) == ("somebody/texts, train row 1501: field 'text' must be a text; it has: id, text")


GOOD = "rain"
OPENING = '{"text": "'


@pytest.mark.parametrize(
    ("train", "validation", "ending", "message"),
    [
        (GOOD, "", "txt", "{folder}/validation.txt: is empty"),
        (GOOD, " \n\n", "txt", "{folder}/validation.txt: is empty"),
        (GOOD, '{"text": ""}\n', "jsonl", "{folder}/train.jsonl, line 1, column 1: not valid JSON (Expecting value)"),
        ('{"text": ""}\n', "", "jsonl", "{folder}/train.jsonl: is empty"),
        (b"rain \xff", GOOD, "txt", "{folder}/train.txt: not UTF-8 at byte 6"),
        (b"a" * 300_000 + b"\xc3", GOOD, "txt", "{folder}/train.txt: not UTF-8 at byte 300,001"),
        ("é" * 131_073 + "\0", b"\xef\xbb\xbfab\x80", "txt", "{folder}/validation.txt: not UTF-8 at byte 6"),
        (
            b'{"text": "a"}\n{"text": "\xff"}',
            GOOD,
            "jsonl",
            "{folder}/train.jsonl: cannot be read (line 2: not UTF-8 at byte 11)",
        ),
        ('{"body": 1}', GOOD, "jsonl", "{folder}/train.jsonl, line 1: field 'text' must be a text; it has: body"),
        ('{"text": 1}', GOOD, "jsonl", "{folder}/train.jsonl, line 1: field 'text' must be a text; it has: text"),
        (
            OPENING + '\\ud800"}',
            GOOD,
            "jsonl",
            "{folder}/train.jsonl, line 1: field 'text' "
            "has half of a character (a lone surrogate, \\ud800) at character 1",
        ),
    ],
)
def test_texts_that_cannot_be_used_are_refused(
    tmp_path: Path, train: str | bytes, validation: str | bytes, ending: str, message: str
) -> None:
    write_corpus(tmp_path, train, validation, ending)
    assert message_of(tmp_path) == message.format(folder=tmp_path)


def test_folders_that_cannot_be_used_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_corpus(tmp_path / "weather", GOOD, GOOD)
    assert message_of(tmp_path / "wether") == (
        f"task.data_dir: {tmp_path}/wether is no folder; did you mean {tmp_path}/weather?"
    )
    assert message_of(folder / "train.txt") == f"task.data_dir: {folder}/train.txt is no folder"
    assert message_of("~nobody-of-this-name").startswith("task.data_dir: ~nobody-of-this-name cannot be read (")
    assert message_of("x" * 300 + "/y") == f"task.data_dir: {'x' * 300}/y cannot be read (File name too long)"
    (folder / "train.txt").unlink()
    assert message_of(folder) == f"task.data_dir: {folder} has no train.txt or train.jsonl"
    (folder / "train.txt").mkdir()
    assert message_of(folder) == f"{folder}/train.txt: expected a regular file"
    monkeypatch.setattr(Path, "is_dir", lambda _: (_ for _ in ()).throw(PermissionError(13, "Permission denied")))
    assert message_of(folder) == f"task.data_dir: {folder} cannot be read (Permission denied)"


def test_files_that_cannot_be_read_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_corpus(tmp_path, GOOD, GOOD)

    def refuse(*_: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    assert message_of(tmp_path) == f"{tmp_path}/train.txt: cannot be read (Permission denied)"


def test_a_name_that_is_no_folder_and_is_not_on_the_hub_is_refused() -> None:
    message = message_of("somebody/texts")
    assert message.startswith("task.data_dir: somebody/texts is no folder, and could not be fetched: ")
