"""Queries without content, by which answers' scores are calibrated; Zhao et al. 2021."""

from collections.abc import Callable, Sequence

from iclgd.data.prompt_tokens import PromptError, Tokens
from iclgd.data.text_task import TextExample, TextTask

CONTENT_FREE = ("N/A", "[MASK]", "")  # as published, section 5


def content_free_prompts(
    tokenized: Callable[[list[str]], Sequence[Tokens]], task: TextTask, room: int
) -> tuple[tuple[Tokens, ...], tuple[str, ...]]:
    """Return the tokens of the task's template with each content-free text in all its fields, and notes.

    A template with an empty text in its last place ends there: like all prompts, without white space. What then has no
    token, or does not fit, is left out, and a note says so.

    Args:
        tokenized: returns the tokens of queries.
        task: whose template.
        room: how many tokens fit.

    Raises:
        PromptError: if none is left, or each query has its own answers.
    """
    if task.choices is not None:
        raise PromptError("evaluation.calibrate needs answers that all queries share; here each has its own")
    texts = [task.prompt(TextExample(dict.fromkeys(task.fields, text), 0)).rstrip() for text in CONTENT_FREE]
    found, notes = [], []
    for content, tokens in zip(CONTENT_FREE, tokenized(texts), strict=True):
        if 0 < len(tokens) <= room:
            found.append(tokens)
        else:
            why = "has no token" if not tokens else f"has {len(tokens)} tokens, of which {max(room, 0)} fit"
            notes.append(f"evaluation.calibrate: the content-free query of {content!r} {why}, and is left out")
    if not found:
        raise PromptError(f"evaluation.calibrate: {task.name} has no content-free query: {'; '.join(notes)}")
    return tuple(found), tuple(notes)
