"""The tokens of a task's answers: known ones, that can be told apart."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from iclgd.data import prompt_tokens
from iclgd.data.prompt_tokens import Continuation, PromptError, Tokens
from iclgd.data.text_task import TextTask

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase as Tokenizer


def answer_tokens(
    tokenizer: "Tokenizer", task: TextTask, prompts: list[str]
) -> tuple[tuple[Tokens, ...], tuple[str, ...]]:
    """Return each answer's tokens after the prompts, and notes.

    Raises:
        PromptError: as :func:`checked_answers`.
    """
    continued = prompt_tokens.continuations(
        tokenizer, prompts, [f"{task.delimiter}{answer}" for answer in task.answers]
    )
    return checked_answers(tokenizer, task, continued, len(prompts))


def checked_answers(
    tokenizer: "Tokenizer", task: TextTask, continued: Sequence[Continuation], num_prompts: int
) -> tuple[tuple[Tokens, ...], tuple[str, ...]]:
    """Return the tokens of answers that can be told apart, and notes.

    Args:
        tokenizer: of the model.
        task: whose answers they are.
        continued: their tokens.
        num_prompts: after how many prompts.

    Raises:
        PromptError: for answers that the tokenizer does not know or cannot tell apart.
    """
    found: dict[Tokens, str] = {}
    notes = []
    for answer, (tokens, num_joined) in zip(task.answers, continued, strict=True):
        if all(token == tokenizer.unk_token_id for token in tokens):
            raise PromptError(f"{task.name}: the tokenizer does not know the answer {answer!r}")
        if tokens in found:
            raise PromptError(f"{task.name}: the answers {found[tokens]!r} and {answer!r} have the same tokens")
        found[tokens] = answer
        if num_joined:
            notes.append(
                f"in a whole text the tokenizer joins the answer {answer!r} with what stands before it in {num_joined} "
                f"of {num_prompts} prompts; here they are tokenized apart"
            )
    return tuple(found), tuple(notes)


def notes_on_answers(task: TextTask, answers: tuple[Tokens, ...]) -> tuple[str, ...]:
    """Return notes on answers that begin alike."""
    groups: dict[int, list[str]] = {}
    for answer, tokens in zip(task.answers, answers, strict=True):
        groups.setdefault(tokens[0], []).append(repr(answer))
    return tuple(
        f"answers {', '.join(names[:-1])} and {names[-1]} share their first token: "
        "each is scored by the mean log-probability of all its tokens"
        for names in groups.values()
        if len(names) > 1
    )
