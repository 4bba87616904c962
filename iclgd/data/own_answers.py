"""The tokens of answers that each row brings itself, as in multiple choice."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from iclgd.data.prompt_tokens import PromptError, Tokens, continuations, encode
from iclgd.data.text_task import TextExample, TextTask

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase as Tokenizer


def own_answers(
    tokenizer: "Tokenizer",
    task: TextTask,
    prompts: Sequence[str],
    tokens: Sequence[Tokens],
    queries: Sequence[TextExample],
) -> tuple[tuple[tuple[Tokens, ...], ...], tuple[str, ...]]:
    """Return the tokens of each query's own answers, each after its prompt, and notes; nothing if there are none.

    They are those of the whole text, or, where a token would reach over the border, those after a letter.

    Args:
        tokenizer: of the model.
        task: of the queries.
        prompts: Q, the queries' texts.
        tokens: Q, theirs.
        queries: Q.

    Raises:
        PromptError: for an answer that the tokenizer does not know, or a right one that has the tokens of another.
    """
    if task.choices is None:
        return (), ()
    found, num_joined = _following(tokenizer, task, prompts, tokens, [query.choices for query in queries])
    for prompt, query, answers in zip(prompts, queries, found, strict=True):
        same = [text for text, other in zip(query.choices, answers, strict=True) if other == answers[query.label]]
        if len(same) > 1:
            raise PromptError(
                f"{task.name}: the answers {same[0]!r} and {same[1]!r} to {prompt[:60]!r} have the same tokens"
            )
    num_answers = sum(map(len, found))
    joined = (
        f"in a whole text the tokenizer joins {num_joined} of {num_answers} answers with what stands before them; here "
        "they are tokenized apart"
    )
    return found, (joined,) if num_joined else ()


def right_answers(
    tokenizer: "Tokenizer",
    task: TextTask,
    prompts: Sequence[str],
    tokens: Sequence[Tokens],
    examples: Sequence[TextExample],
) -> list[Tokens]:
    """Return the tokens of the right one of each example's own answers; arguments and errors as :func:`own_answers`."""
    found, _ = _following(tokenizer, task, prompts, tokens, [(example.choices[example.label],) for example in examples])
    return [right for (right,) in found]


def _following(
    tokenizer: "Tokenizer",
    task: TextTask,
    prompts: Sequence[str],
    tokens: Sequence[Tokens],
    answers: Sequence[Sequence[str]],
) -> tuple[tuple[tuple[Tokens, ...], ...], int]:
    """Return the tokens of answers after their prompts, and how many of them a whole text would join."""
    places = [(place, answer) for place, own in enumerate(answers) for answer in own]
    wholes = encode(tokenizer, [f"{prompts[place]}{task.delimiter}{answer}" for place, answer in places])
    found: list[list[Tokens]] = [[] for _ in prompts]
    num_joined = 0
    for (place, answer), whole in zip(places, wholes, strict=True):
        before = tokens[place]
        following = whole[len(before) :]
        if whole[: len(before)] != before:
            following, num_joined = (
                continuations(tokenizer, (), [f"{task.delimiter}{answer}"])[0].tokens,
                num_joined + 1,
            )
        if all(token == tokenizer.unk_token_id for token in following):  # or there is none
            raise PromptError(
                f"{task.name}: the tokenizer does not know the answer {answer!r} to {prompts[place][:60]!r}"
            )
        found[place].append(following)
    return tuple(map(tuple, found)), num_joined
