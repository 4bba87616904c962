"""The token ids that a language model sees: one builder for zero-shot, in-context and finetuning, as in [Dai]."""

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from iclgd import checks
from iclgd.checks import InputError
from iclgd.data.seeding import named_generator
from iclgd.data.text_task import TextExample, TextTask

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase as Tokenizer

SELECTIONS = {
    "random": "any training rows, by the seed",
    "balanced": "random, but equally many of each class, as far as num divides: the first classes get one more",
    "first": "the first training rows in file order",
}
OVERFLOWS = {
    "refuse": "end with an error",
    "drop": "leave out the last demonstrations until the longest query fits, and say so",
}
END_OF_SEQUENCE = "eos"

Tokens = tuple[int, ...]


class PromptError(InputError):
    """Prompts that cannot be built."""


@dataclass(frozen=True)
class DemonstrationsConfig:
    """Which training rows are shown, and how they stand in the context.

    Raises:
        ValueError: for an unknown name, or if a value is out of its range.
    """

    num: int = 32
    seed: int = 0
    selection: str = "random"
    permutation: int = 0  # 0: in the order of the selection; p: its p-th shuffle
    separator: str = "\n"  # after each demonstration; "eos" is the tokenizer's end-of-sequence token, as in [Dai]
    overflow: str = "refuse"  # what if they are too long for the model

    def __post_init__(self) -> None:
        checks.at_least(1, "demonstrations", self, "num")  # without any there is nothing to compare
        checks.at_least(0, "demonstrations", self, "seed", "permutation", most=checks.LARGEST_SEED)
        for typed, meant in (("\\n", "\n"), ("\\t", "\t")):  # in a shell '\n' stays a backslash and n
            object.__setattr__(self, "separator", self.separator.replace(typed, meant))
        checks.one_of(SELECTIONS, "demonstrations", self, "selection")
        checks.one_of(OVERFLOWS, "demonstrations", self, "overflow")


@dataclass(frozen=True)
class Prompts:
    """Token ids of K demonstrations, Q queries and C answers.

    A query is asked with ``start + query`` (zero-shot, finetuned) or ``context + query`` (in-context), and answered
    with one of ``answers``.

    Args:
        start: the beginning-of-sequence token, if the tokenizer has one.
        answers: C, in label order.
        demonstrations: K, prompt and answer, without separator.
        demonstration_labels: K, indices of their own task's answers.
        separator: follows each demonstration in the context.
        queries: Q prompts.
        labels: Q, the queries' right answers.
        notes: lines that the user should see.
    """

    start: Tokens
    answers: tuple[Tokens, ...]
    demonstrations: tuple[Tokens, ...]
    demonstration_labels: Tokens
    separator: Tokens
    queries: tuple[Tokens, ...]
    labels: Tokens
    notes: tuple[str, ...] = ()

    @property
    def context(self) -> Tokens:
        """What comes before a query in context: start, then each demonstration and its separator."""
        return sum((demonstration + self.separator for demonstration in self.demonstrations), self.start)

    @property
    def demonstration_spans(self) -> tuple[tuple[int, int], ...]:
        """Start and stop of each demonstration's own tokens in ``context``; separators are between them."""
        spans, position = [], len(self.start)
        for demonstration in self.demonstrations:
            spans.append((position, position + len(demonstration)))
            position += len(demonstration) + len(self.separator)
        return tuple(spans)

    @property
    def finetuning_examples(self) -> tuple[Tokens, ...]:
        """The sequences to finetune on: start and one demonstration each."""
        return tuple(self.start + demonstration for demonstration in self.demonstrations)


def select_demonstrations(
    examples: Sequence[TextExample], config: DemonstrationsConfig, answers: Sequence[str]
) -> list[TextExample]:
    """Return ``config.num`` of the training rows, in the order in which they will stand in the context.

    With the same seed, fewer random demonstrations are the first ones of more.

    Args:
        examples: the training rows.
        config: how many and how.
        answers: of the task, for messages; one for each class.

    Raises:
        PromptError: if there are not enough rows, of all classes or (balanced) of one.
    """
    num = config.num
    if num > len(examples):
        raise PromptError(f"demonstrations.num must be at most {len(examples)}, the training rows there are; got {num}")
    if config.selection == "first":
        chosen = list(examples[:num])
    else:
        order = torch.randperm(len(examples), generator=named_generator(config.seed, "demonstrations"))
        shuffled = [examples[index] for index in order.tolist()]
        chosen = _balanced(shuffled, num, answers) if config.selection == "balanced" else shuffled[:num]
    if config.permutation:
        generator = named_generator(config.seed, f"demonstrations/permutation/{config.permutation}")
        chosen = [chosen[index] for index in torch.randperm(num, generator=generator).tolist()]
    return chosen


def _balanced(shuffled: Sequence[TextExample], num: int, answers: Sequence[str]) -> list[TextExample]:
    """Walk through shuffled rows and take each whose class is not yet full."""
    share, rest = divmod(num, len(answers))
    available = Counter(example.label for example in shuffled)
    missing = {label: share + (label < rest) for label in range(len(answers))}
    for label, needed in missing.items():
        if available[label] < needed:
            raise PromptError(
                f"demonstrations.selection=balanced needs {needed} training rows with the answer {answers[label]!r}, "
                f"but there are {available[label]}"
            )
    chosen = []
    for example in shuffled:
        if missing[example.label]:
            missing[example.label] -= 1
            chosen.append(example)
    return chosen


def shuffle_labels(demonstrations: Sequence[TextExample], generator: torch.Generator) -> list[TextExample]:
    """Return the same texts with the labels exchanged among them: the control "shuffled labels".

    At least one label differs from before, unless all are the same.

    Args:
        demonstrations: in order.
        generator: on the CPU.
    """
    labels = [example.label for example in demonstrations]
    shuffled = labels
    while shuffled == labels and len(set(labels)) > 1:
        shuffled = [labels[index] for index in torch.randperm(len(labels), generator=generator).tolist()]
    return [TextExample(example.fields, label) for example, label in zip(demonstrations, shuffled, strict=True)]


def build_prompts(
    task: TextTask,
    tokenizer: "Tokenizer",
    demonstrations: Sequence[TextExample],
    queries: Sequence[TextExample],
    config: DemonstrationsConfig,
    max_length: int,
    shown_task: TextTask | None = None,
) -> Prompts:
    """Return the token ids of demonstrations and queries.

    Prompt and answer are tokenized apart and then joined, as in [Dai]'s code: the prompt's tokens are the same
    whatever the answer, and the same in a demonstration and in a query.

    Args:
        task: template and answers.
        tokenizer: of the model.
        demonstrations: in order, as from :func:`select_demonstrations`.
        queries: what is asked.
        config: separator and overflow.
        max_length: of the model, in tokens: context, query and answer must fit.
        shown_task: of the demonstrations, if not ``task``: the control "other task".

    Raises:
        PromptError: for answers that the tokenizer does not know or cannot tell apart, a separator that it does not
            have, no queries or demonstrations, prompts that are too long.
    """
    if not queries or not demonstrations:
        raise PromptError(
            f"{task.name}: expected demonstrations and queries, got {len(demonstrations)} and {len(queries)}"
        )
    shown_task = task if shown_task is None else shown_task
    answers, shown_answers = _answer_tokens(tokenizer, task), _answer_tokens(tokenizer, shown_task)
    start = () if tokenizer.bos_token_id is None else (tokenizer.bos_token_id,)
    separator = _separator_tokens(tokenizer, shown_task, config.separator)
    asked = _encode(tokenizer, [task.prompt(example) for example in queries])
    shown = _encode(tokenizer, [shown_task.prompt(example) for example in demonstrations])
    shown = tuple(tokens + shown_answers[example.label] for tokens, example in zip(shown, demonstrations, strict=True))
    notes = _notes_on_answers(task, answers)

    longest = max(range(len(asked)), key=lambda index: len(asked[index]))
    room = max_length - len(start) - len(asked[longest]) - max(map(len, answers))  # for demonstrations and separators
    limit = f"the longest query has {len(asked[longest])} tokens, the model's limit is {max_length}"
    if room < 0:
        raise PromptError(
            f"{task.name}: too long even without demonstrations: {limit}, start and answer included; "
            f"leave out the query {task.prompt(queries[longest])[:60]!r} or take a model with a longer context"
        )
    ends = list(itertools.accumulate(len(tokens) + len(separator) for tokens in shown))
    num_kept = sum(end <= room for end in ends)
    if num_kept == 0:
        raise PromptError(
            f"{task.name}: too long even with one demonstration: it has {ends[0]} tokens, {limit}; "
            "take another demonstrations.seed or a model with a longer context"
        )
    if num_kept < len(shown):
        lengths = f"{len(shown)} demonstrations have {ends[-1]} tokens, {limit}"
        if config.overflow == "refuse":
            raise PromptError(
                f"{task.name}: too long: {lengths}; set demonstrations.num={num_kept} or less, or "
                "demonstrations.overflow=drop"
            )
        notes = (*notes, f"demonstrations.num={num_kept}, not {len(shown)}: the last ones are dropped: {lengths}")
    return Prompts(
        start=start,
        answers=answers,
        demonstrations=shown[:num_kept],
        demonstration_labels=tuple(example.label for example in demonstrations[:num_kept]),
        separator=separator,
        queries=asked,
        labels=tuple(example.label for example in queries),
        notes=notes,
    )


def _answer_tokens(tokenizer: "Tokenizer", task: TextTask) -> tuple[Tokens, ...]:
    found: dict[Tokens, str] = {}
    for answer in task.answers:
        tokens = _continuation(tokenizer, task.tail, f" {answer}")
        if all(token == tokenizer.unk_token_id for token in tokens):
            raise PromptError(f"{task.name}: the tokenizer does not know the answer {answer!r}")
        if tokens in found:
            raise PromptError(f"{task.name}: the answers {found[tokens]!r} and {answer!r} have the same tokens")
        found[tokens] = answer
    return tuple(found)


def _separator_tokens(tokenizer: "Tokenizer", task: TextTask, separator: str) -> Tokens:
    if separator != END_OF_SEQUENCE:
        tokens = _continuation(tokenizer, f"{task.tail} {task.answers[0]}", separator)
        if tokenizer.unk_token_id in tokens and tokenizer.unk_token not in separator:  # GPT-2's also ends sequences
            raise PromptError(f"demonstrations.separator={separator!r}: the tokenizer does not know it")
        return tokens
    if tokenizer.eos_token_id is None:
        raise PromptError("demonstrations.separator=eos: the tokenizer has no end-of-sequence token")
    return (tokenizer.eos_token_id,)


def _continuation(tokenizer: "Tokenizer", before: str, text: str) -> Tokens:
    """Return the tokens that a text gets after another one."""
    # SentencePiece tokenizers put a space before whatever they are given: alone, " Positive" would start with two, and
    # a line break with one, which is not what the model has seen within texts.
    prefix, whole, alone = _encode(tokenizer, [before, before + text, text])
    return whole[len(prefix) :] if whole[: len(prefix)] == prefix else alone


def _encode(tokenizer: "Tokenizer", texts: list[str]) -> tuple[Tokens, ...]:
    """Return each text's tokens; one call for all, which fast tokenizers divide among threads."""
    # verbose=False: a warning about long texts would come before our own error, or be wrong.
    encoded = tokenizer(texts, add_special_tokens=False, return_attention_mask=False, verbose=False)
    return tuple(tuple(tokens) for tokens in encoded["input_ids"])


def _notes_on_answers(task: TextTask, answers: tuple[Tokens, ...]) -> tuple[str, ...]:
    groups: dict[int, list[str]] = {}
    for answer, tokens in zip(task.answers, answers, strict=True):
        groups.setdefault(tokens[0], []).append(repr(answer))
    return tuple(
        f"answers {', '.join(names[:-1])} and {names[-1]} share their first token: "
        "each is scored by the mean log-probability of all its tokens"
        for names in groups.values()
        if len(names) > 1
    )
