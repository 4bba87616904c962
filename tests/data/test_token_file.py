import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from iclgd.data.token_file import HEADER_BYTES, TokenFile, TokenFileError, write_tokens

PARTS = [(5, 0, 299), (), (7,), tuple(range(100))]
TOKENS = [token for part in PARTS for token in part]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "corpus" / "train.safetensors"
    path.parent.mkdir()
    assert write_tokens(path, PARTS, "abc", 300) == len(TOKENS)
    return path


@pytest.mark.parametrize(("vocabulary_size", "kind"), [(300, np.uint16), (2**16, np.uint16), (2**16 + 1, np.uint32)])
def test_what_is_written_is_read_by_us_and_by_safetensors(tmp_path: Path, vocabulary_size: int, kind: type) -> None:
    path = tmp_path / "tokens.safetensors"
    largest = vocabulary_size - 1
    write_tokens(path, [*PARTS, (largest,)], "abc", vocabulary_size)
    tokens = load_file(path)["tokens"]
    assert tokens.dtype == kind
    assert tokens.tolist() == [*TOKENS, largest]
    file = TokenFile(path, "abc", vocabulary_size)
    assert file.num_tokens == len(TOKENS) + 1
    assert file.windows([0], len(TOKENS) + 1).tolist() == [[*TOKENS, largest]]
    assert [each.name for each in tmp_path.iterdir()] == ["tokens.safetensors"]


def test_windows_begin_where_they_are_asked_for(path: Path) -> None:
    windows = TokenFile(path, "abc", 300).windows([3, 0, 50], 4)
    assert windows.dtype == np.int64
    assert windows.tolist() == [TOKENS[3:7], TOKENS[:4], TOKENS[50:54]]
    with pytest.raises(ValueError, match="broadcast"):
        TokenFile(path, "abc", 300).windows([len(TOKENS) - 3], 4)


def test_no_tokens_are_a_file_too(tmp_path: Path) -> None:
    write_tokens(tmp_path / "tokens", [], "abc", 300)
    assert TokenFile(tmp_path / "tokens", "abc", 300).num_tokens == 0


def cut_header(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: HEADER_BYTES // 2])


def cut_tokens(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-2])


def lengthen(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0\0")


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def other_kind(path: Path) -> None:
    save_file({"tokens": np.zeros(4, np.float32)}, path)


def other_name(path: Path) -> None:
    save_file({"weights": np.zeros(4, np.uint16)}, path)


def without_checksum(path: Path) -> None:
    save_file({"tokens": np.zeros(4, np.uint16)}, path)


def two_dimensional(path: Path) -> None:
    save_file({"tokens": np.zeros((4, 4), np.uint16)}, path)


@pytest.mark.parametrize(
    "damage",
    [
        *(cut_header, cut_tokens, lengthen, flip, empty, Path.unlink),
        *(other_kind, other_name, without_checksum, two_dimensional),
    ],
    ids=lambda damage: damage.__name__,
)
def test_a_damaged_file_is_refused_in_one_line_that_says_what_to_do(path: Path, damage: object) -> None:
    TokenFile(path, "abc", 300)
    damage(path)  # type: ignore[operator]
    with pytest.raises(TokenFileError) as error:
        TokenFile(path, "abc", 300)
    message = str(error.value)
    assert message.startswith(f"{path}: is damaged (")
    assert message.endswith(f"); remove the folder {path.parent}, and it is made again")
    assert "\n" not in message


def test_another_tokenizers_file_and_a_smaller_vocabulary_are_refused(path: Path) -> None:
    with pytest.raises(TokenFileError, match="was made by another tokenizer; remove the folder"):
        TokenFile(path, "abd", 300)
    with pytest.raises(TokenFileError, match="has token 299, and the vocabulary has 299 tokens; remove the folder"):
        TokenFile(path, "abc", 299)


def test_a_file_that_is_not_finished_is_not_there(tmp_path: Path) -> None:
    def parts() -> object:
        yield (1, 2)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_tokens(tmp_path / "tokens", parts(), "abc", 300)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_the_header_says_what_is_in_the_file(path: Path) -> None:
    content = path.read_bytes()
    header = json.loads(content[8:HEADER_BYTES])
    assert int.from_bytes(content[:8], "little") == HEADER_BYTES - 8
    assert header["__metadata__"]["tokenizer"] == "abc"
    assert header["__metadata__"]["largest"] == "299"
