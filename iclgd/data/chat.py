"""Demonstrations and queries as turns of a conversation, written by the chat template of a model's tokenizer."""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, NamedTuple

from iclgd.data.prompt_tokens import Continuation, PromptError, Tokens, control_encoder
from iclgd.messages import all_lines

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase as Tokenizer

MARK = "\ufdd2{}\ufdd3"  # stands for a turn's text while a template is read: no characters of any text
MARKED = re.compile("\ufdd2[0-9]+\ufdd3")
UNUSABLE = "demonstrations.chat: the tokenizer's chat template"


@dataclass(frozen=True)
class ChatTemplate:
    """What a chat template writes around the texts of turns: prompts are the user's, answers the assistant's.

    A conversation is ``begin``, then for each demonstration ``user``, its prompt, ``assistant``, ``gap``, its answer
    and ``end``, then ``user``, the query and ``assistant``, after which an answer follows.

    Args:
        begin: comes first, such as a system message.
        user: before a prompt.
        assistant: after a prompt.
        gap: spaces before an answer, or nothing.
        end: after an answer.
    """

    begin: str
    user: str
    assistant: str
    gap: str
    end: str

    def prompt(self, text: str) -> str:
        """Return a prompt as a turn, up to where an answer begins."""
        return f"{self.user}{text}{self.assistant}"

    def whole(self, text: str, answer: str) -> str:
        """Return a prompt and its answer, up to the end of the answer's text."""
        return f"{self.prompt(text)}{self.gap}{answer}"


def read_chat_template(tokenizer: "Tokenizer") -> ChatTemplate:
    """Return what the chat template of a tokenizer writes around turns.

    Raises:
        PromptError: if there is none, it fails, or it does not write all turns alike.
    """
    if tokenizer.chat_template is None:
        raise PromptError("demonstrations.chat: the tokenizer has no chat template; is it an instruct model's?")
    try:
        first, *between, last = _around_texts(tokenizer, 5)
        alone, asked = _around_texts(tokenizer, 1)
        *_, closing = _around_texts(tokenizer, 2)
    except Exception as error:  # templates are programs that can fail in any way
        raise PromptError(f"{UNUSABLE} fails ({all_lines(error)[:200]})") from None
    replies, questions = between[::2], between[1::2]
    end = next((each for each in (closing, closing.rstrip()) if questions[0].startswith(each)), "")
    user = questions[0][len(end) :]
    assistant = last.rstrip(" ")
    are_alike = len({first, alone}) == len({last, asked}) == len(set(replies)) == len(set(questions)) == 1
    if not (are_alike and first.endswith(user) and replies[0].rstrip(" ") == assistant):
        raise PromptError(f"{UNUSABLE} does not write every turn alike, and so no demonstrations")
    return ChatTemplate(first[: len(first) - len(user)], user, assistant, replies[0][len(assistant) :], end)


def _around_texts(tokenizer: "Tokenizer", num_turns: int) -> list[str]:
    """Return what stands before, between and after the texts of turns; a user's last one asks for an answer."""
    roles = ("user", "assistant")
    turns = [{"role": roles[index % 2], "content": MARK.format(index)} for index in range(num_turns)]
    written = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=num_turns % 2 == 1)
    parts = MARKED.split(str(written))
    if len(parts) != num_turns + 1:
        raise PromptError(f"writes {len(parts) - 1} texts of {num_turns} turns")
    return parts


class Turns(NamedTuple):
    """The tokens of a conversation's parts.

    Args:
        start: what every conversation begins with.
        queries: each a turn, up to where an answer begins.
        answers: after a query.
        demonstrations: each a turn and its answer.
        separator: follows each demonstration.
        are_whole: whether the parts have the tokens that they have in a whole conversation.
    """

    start: Tokens
    queries: tuple[Tokens, ...]
    answers: list[Continuation]
    demonstrations: tuple[Tokens, ...]
    separator: Tokens
    are_whole: bool


def tokenized_turns(
    tokenizer: "Tokenizer", queries: Sequence[str], answers: Sequence[str], demonstrations: Sequence[tuple[str, str]]
) -> Turns:
    """Return the tokens of a conversation's parts: those of the whole, where no token reaches over a border.

    The template's control tokens are such; texts are the characters that they are written with.

    Args:
        tokenizer: with a chat template.
        queries: prompts.
        answers: possible ones.
        demonstrations: prompts and answers.

    Raises:
        PromptError: if the template or the tokenizer does not serve.
    """
    template = read_chat_template(tokenizer)
    if not tokenizer.is_fast:
        raise PromptError("demonstrations.chat needs a fast tokenizer, which this one is not")
    encode, control = control_encoder(tokenizer)
    chat = ChatTemplate(**{part: control(text) for part, text in asdict(template).items()})
    (start,) = encode([chat.begin])

    def after(before: Tokens, wholes: Sequence[str], otherwise: Sequence[Tokens]) -> tuple[Tokens, ...]:
        """Return what follows some tokens in whole texts; something else where they do not begin these."""
        found = zip(encode(wholes), otherwise, strict=True)
        return tuple(whole[len(before) :] if whole[: len(before)] == before else other for whole, other in found)

    prompts = [*queries, *(prompt for prompt, _ in demonstrations)]
    turns = list(map(chat.prompt, prompts))
    asked = after(start, [chat.begin + turn for turn in turns], encode(turns))
    alone = encode([chat.gap + answer for answer in answers])
    answered = [chat.begin + chat.whole(queries[0], answer) for answer in answers]
    continued = after(start + asked[0], answered, alone)
    joined = [start + asked[0] + tokens != whole for tokens, whole in zip(continued, encode(answered), strict=True)]
    wholes = [chat.whole(*each) for each in demonstrations]
    own = zip(asked[len(queries) :], encode([chat.gap + answer for _, answer in demonstrations]), strict=True)
    apart = [prompt + answer for prompt, answer in own]
    shown = after(start, [chat.begin + whole for whole in wholes], apart)
    shown = tuple(
        whole if whole[: len(prompt)] == prompt else other
        for whole, prompt, other in zip(shown, asked[len(queries) :], apart, strict=True)
    )
    (separator,) = encode([chat.end])
    (rest,) = after(start + shown[0], [f"{chat.begin}{wholes[0]}{chat.end}{turns[0]}"], [()])
    if rest[len(rest) - len(asked[0]) :] == asked[0]:
        separator = rest[: len(rest) - len(asked[0])]
    (conversation,) = encode([chat.begin + "".join(f"{whole}{chat.end}" for whole in wholes) + turns[0]])
    parts = sum((tokens + separator for tokens in shown), start) + asked[0]
    number = len(queries)
    answers_found = [Continuation(tokens, number * wrong) for tokens, wrong in zip(continued, joined, strict=True)]
    return Turns(start, asked[:number], answers_found, shown, separator, parts == conversation)
