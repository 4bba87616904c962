"""Which tokens a text gets: those of the whole text in which it stands, and never a control token."""

import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from iclgd.checks import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase as Tokenizer

START_TOKENS = {
    "auto": "what the tokenizer itself puts before a text, which may be nothing",
    "always": "the beginning-of-sequence token that the tokenizer names, as published; else what it puts there",
    "never": "nothing",
}
ANCHORS = ("a", "1", ".")  # what a text may follow to get the tokens that it has within others
NO_CHARACTER = 0xFDD0  # of Unicode: in no text

Tokens = tuple[int, ...]


class PromptError(InputError):
    """Prompts that cannot be built."""


def encode(tokenizer: "Tokenizer", texts: Sequence[str]) -> tuple[Tokens, ...]:
    """Return each text's tokens; one call for all, which fast tokenizers divide among threads.

    Text stays text: ``</s>`` in a row is the characters that it is written with, not the end of a sequence.

    Raises:
        PromptError: if a tokenizer written in Python makes a control token of a text.
    """
    # verbose=False: a warning about long texts would come before our own error, or be wrong.
    encoded = tokenizer(
        list(texts),
        add_special_tokens=False,
        split_special_tokens=True,
        return_attention_mask=False,
        verbose=False,
    )["input_ids"]
    control = _control_tokens(tokenizer)
    # Models that look whole words or pieces up may know a control token's name as one.
    wrong = [index for index, tokens in enumerate(encoded) if _has_control(tokens, texts[index], control, tokenizer)]
    if wrong:
        if not tokenizer.is_fast:
            raise PromptError(f"the tokenizer makes a control token of a part of {texts[wrong[0]][:60]!r}")
        plain = _without_control_tokens(tokenizer, control)
        again = plain.encode_batch([texts[index] for index in wrong], add_special_tokens=False)
        for index, encoding in zip(wrong, again, strict=True):
            encoded[index] = encoding.ids
    return tuple(tuple(tokens) for tokens in encoded)


def control_encoder(
    tokenizer: "Tokenizer",
) -> tuple[Callable[[Sequence[str]], tuple[Tokens, ...]], Callable[[str], str]]:
    """Return what tokenizes texts in which control tokens are written as no text can, and what writes them so.

    Args:
        tokenizer: a fast one.

    Returns:
        the first gives each text's tokens; the second a text in which the names of control tokens are such.
    """
    control = _control_tokens(tokenizer)
    plain = _without_control_tokens(tokenizer, control)
    written = {name: _written(index) for index, name in control.items()}
    names = re.compile("|".join(map(re.escape, sorted(written, key=len, reverse=True))) or "(?!)")

    def encode_written(texts: Sequence[str]) -> tuple[Tokens, ...]:
        return tuple(tuple(encoding.ids) for encoding in plain.encode_batch(list(texts), add_special_tokens=False))

    return encode_written, lambda text: names.sub(lambda found: written[found[0]], text)


def start_tokens(tokenizer: "Tokenizer", choice: str) -> Tokens:
    """Return what every prompt begins with.

    Args:
        tokenizer: of the model.
        choice: one of ``START_TOKENS``.
    """
    if choice == "never":
        return ()
    if choice == "always" and tokenizer.bos_token_id is not None:
        return (tokenizer.bos_token_id,)
    wholes = tokenizer(list(ANCHORS), return_attention_mask=False, verbose=False)["input_ids"]
    for own, whole in zip(encode(tokenizer, ANCHORS), wholes, strict=True):
        for place in range(len(whole) - len(own) + 1):
            if own and tuple(whole[place : place + len(own)]) == own:
                return tuple(whole[:place])
    return ()


class Continuation(NamedTuple):
    """A text's tokens after others.

    Args:
        tokens: after most of them.
        num_joined: after how many of them it has others.
    """

    tokens: Tokens
    num_joined: int


def continuations(tokenizer: "Tokenizer", before: Sequence[str], texts: Sequence[str]) -> list[Continuation]:
    """Return the tokens that each of some texts has after others.

    They are those of the whole text, whenever the tokens of what comes before are the beginning of the whole's. Where
    a token would reach over the border, both are tokenized apart: the text has the tokens that it has after a letter.

    Args:
        tokenizer: of the model.
        before: what the texts may follow.
        texts: such as `` Positive``, with the space before it.
    """
    # The last word decides what follows it; templates that end alike then cost next to nothing.
    endings = Counter(text.split()[-1] if text.split() else text for text in before)
    places = [*endings, *ANCHORS, ""]
    encoded = iter(encode(tokenizer, [*places, *(place + text for text in texts for place in places)]))
    prefixes = [next(encoded) for _ in places]
    found = []
    for _ in texts:
        wholes = [next(encoded) for _ in places]
        rest = [
            whole[len(prefix) :] if whole[: len(prefix)] == prefix else None
            for prefix, whole in zip(prefixes, wholes, strict=True)
        ]
        votes: Counter[Tokens] = Counter()
        for tokens, number in zip(rest, endings.values(), strict=False):
            if tokens is not None:
                votes[tokens] += number
        chosen = (
            max(votes, key=votes.__getitem__)
            if votes
            else next(each for each in rest[len(endings) :] if each is not None)
        )
        found.append(Continuation(chosen, len(before) - votes[chosen]))
    return found


def completed(
    tokenizer: "Tokenizer", before: Sequence[Tokens], wholes: Sequence[str], otherwise: Sequence[Tokens]
) -> tuple[Tokens, ...]:
    """Return the tokens of whole texts.

    Args:
        tokenizer: of the model.
        before: the tokens that each of them has to begin with.
        wholes: the texts.
        otherwise: what follows if a token of the whole text would reach over the border.
    """
    return tuple(
        tokens if tokens[: len(start)] == start else start + rest
        for tokens, start, rest in zip(encode(tokenizer, wholes), before, otherwise, strict=True)
    )


def between(tokenizer: "Tokenizer", before: str, text: str, after: str) -> Tokens:
    """Return the tokens of a text between two others, each of which has the tokens of a text of its own.

    A line break before a word may have other tokens than one at the end. A tokenizer that marks a space before
    whatever it is given (SentencePiece) marks one before ``after`` too, which then stands there as after a space.
    """
    for joint in ("", " "):
        start, end, whole = encode(tokenizer, [before, after, f"{before}{text}{joint}{after}"])
        stop = len(whole) - len(end)
        if stop >= len(start) and whole[: len(start)] == start and whole[stop:] == end:
            return whole[len(start) : stop]
    return continuations(tokenizer, [before], [text])[0].tokens


def is_whole(tokenizer: "Tokenizer", parts: Sequence[str], separator: str, tokens: Tokens) -> bool:
    """Say whether tokens are those of a whole text; spaces before parts do not count, see :func:`between`."""
    wholes = [f"{separator}{joint}".join(parts) for joint in ("", " ")]
    return tokens in encode(tokenizer, wholes)


def _control_tokens(tokenizer: "Tokenizer") -> dict[int, str]:
    """Return the names of the tokens that no text may become; some name a mere character, which texts may hold."""
    added = {index: token.content for index, token in tokenizer.added_tokens_decoder.items() if token.special}
    named = dict(zip(tokenizer.all_special_ids, tokenizer.all_special_tokens, strict=True))
    return {index: name for index, name in (added | named).items() if len(name.strip()) > 1}


def _has_control(tokens: Sequence[int], text: str, control: dict[int, str], tokenizer: "Tokenizer") -> bool:
    found = control.keys() & set(tokens)
    # The unknown is what any text may be, unless it is written there.
    return any(index != tokenizer.unk_token_id or control[index] in text for index in found)


def _written(index: int) -> str:
    """Return the name of a control token that no text holds."""
    return f"{chr(NO_CHARACTER)}{index}{chr(NO_CHARACTER + 1)}"


def _without_control_tokens(tokenizer: "Tokenizer", control: dict[int, str]) -> Any:
    """Return a copy that knows control tokens by names which no text holds; all numbers stay."""
    from tokenizers import Tokenizer as Backend

    backend = tokenizer.backend_tokenizer
    names = {name: _written(index) for index, name in control.items()}
    state = json.loads(backend.to_str())
    state |= {"post_processor": None, "truncation": None, "padding": None}
    for token in state["added_tokens"]:
        token["content"] = names.get(token["content"], token["content"])
    model = state["model"]
    if isinstance(model["vocab"], dict):
        model["vocab"] = {names.get(piece, piece): index for piece, index in model["vocab"].items()}
    else:
        model["vocab"] = [[names.get(piece, piece), score] for piece, score in model["vocab"]]
    if "merges" in model:
        model["merges"] = [pair for pair in model["merges"] if not names.keys() & {*pair, "".join(pair)}]
    if isinstance(model.get("unk_token"), str):
        model["unk_token"] = names.get(model["unk_token"], model["unk_token"])
    return Backend.from_str(json.dumps(state))
