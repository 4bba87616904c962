"""Small corpora of text: sentences drawn from a few words."""

from pathlib import Path

import torch

WORDS = [
    *("the", "a", "cold", "warm", "rain", "wind", "sun", "falls", "blows", "shines", "all", "day", "and", "night"),
    *(",", ".", "café", "好", "<|endoftext|>", "1999"),
]
WHITE_SPACE = ["\n", "\n\n", " ", "\t"]


def text(num_words: int, seed: int = 0) -> str:
    """Return random words, in which white space of all kinds and a control token's name stand, too."""
    words = [*WORDS, *WHITE_SPACE]
    draws = torch.randint(len(words), (num_words,), generator=torch.Generator().manual_seed(seed))
    return " ".join(words[index] for index in draws.tolist())


def write_corpus(folder: Path, train: str | bytes, validation: str | bytes, ending: str = "txt") -> Path:
    """Write a corpus' two files; return their folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, content in (("train", train), ("validation", validation)):
        data = content.encode() if isinstance(content, str) else content
        (folder / f"{split}.{ending}").write_bytes(data)
    return folder
