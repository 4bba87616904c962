"""The token ids that a language model sees: one builder for zero-shot, in-context and finetuning, as in [Dai]."""

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import torch

from iclgd import checks
from iclgd.data import prompt_tokens
from iclgd.data.answer_tokens import answer_tokens, checked_answers, notes_on_answers
from iclgd.data.chat import tokenized_turns
from iclgd.data.content_free import content_free_prompts
from iclgd.data.orders import permutation_of
from iclgd.data.own_answers import own_answers, right_answers
from iclgd.data.prompt_length import num_that_fit
from iclgd.data.prompt_tokens import START_TOKENS, Tokens, encode
from iclgd.data.prompt_tokens import PromptError as PromptError
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


@dataclass(frozen=True)
class DemonstrationsConfig:
    """Which training rows are shown, and how they stand in the context.

    Raises:
        ValueError: for an unknown name, or if a value is out of its range.
    """

    num: int = 32
    """Demonstrations in the context."""
    seed: int = 0
    """Seed with which they are drawn."""
    num_draws: int = 1
    """Draws of demonstrations, with seeds from that one on; the numbers are means over them."""
    selection: str = "random"
    """Which training rows are drawn."""
    permutation: int = 0
    """Their order: 0 is that of the selection, p its p-th shuffle."""
    num_orders: int = 1
    """Orders of the same ones, to see how much that matters: order_sensitivity; 1: it is not measured."""
    separator: str = "\n"
    """What follows each demonstration; eos is the tokenizer's end-of-sequence token, as in [Dai]."""
    overflow: str = "refuse"
    """What happens if they are too long for the model."""
    start_token: str = "auto"
    """What every prompt begins with; always is as published."""
    chat: bool = False
    """Prompts and answers are turns of user and assistant, by the tokenizer's chat template (instruct models)."""

    def __post_init__(self) -> None:
        checks.at_least(1, "demonstrations", self, "num", "num_orders")  # without any there is nothing to compare
        checks.at_least(0, "demonstrations", self, "seed", "permutation", most=checks.LARGEST_SEED)
        for typed, meant in (("\\n", "\n"), ("\\t", "\t")):  # in a shell '\n' stays a backslash and n
            object.__setattr__(self, "separator", self.separator.replace(typed, meant))
        checks.one_of(SELECTIONS, "demonstrations", self, "selection")
        most = 1 if self.selection == "first" else checks.LARGEST_SEED - self.seed + 1
        if not 1 <= self.num_draws <= most:
            wanted = "1 with demonstrations.selection=first, which draws nothing" if most == 1 else f"from 1 to {most}"
            raise ValueError(f"demonstrations.num_draws must be {wanted}, got {self.num_draws}")
        checks.one_of(OVERFLOWS, "demonstrations", self, "overflow")
        checks.one_of(START_TOKENS, "demonstrations", self, "start_token")
        if self.chat and (self.separator, self.start_token) != ("\n", "auto"):
            raise ValueError(
                "demonstrations.chat=true: the chat template says what stands before and between turns; leave out "
                "demonstrations.separator and demonstrations.start_token"
            )

    def of_draw(self, draw: int) -> "DemonstrationsConfig":
        """Return the config of one draw alone.

        Args:
            draw: counted from 0; the seed is that much higher.
        """
        return replace(self, seed=self.seed + draw, num_draws=1)


@dataclass(frozen=True)
class Prompts:
    """Token ids of K demonstrations, Q queries and C answers.

    A query is asked with ``start + query`` (zero-shot, finetuned) or ``context + query`` (in-context), and answered
    with one of ``answers``.

    Args:
        start: the beginning-of-sequence token, if there is to be one; of a conversation all before the first turn.
        answers: C, in label order; none if each query has its own.
        demonstrations: K, prompt and answer, without separator.
        demonstration_labels: K, indices of their own task's answers.
        separator: follows each demonstration in the context.
        queries: Q prompts.
        labels: Q, the queries' right answers.
        notes: lines that the user should see.
        query_texts: Q, what ``queries`` are the tokens of.
        answer_texts: C, likewise.
        choices: Q, each query's own answers, if it has such.
        choice_texts: Q, likewise.
        content_free: queries without content; none unless scores are calibrated.
        has_common_labels: whether a demonstration's label means what a query's does: that they have the same answer.
    """

    start: Tokens
    answers: tuple[Tokens, ...]
    demonstrations: tuple[Tokens, ...]
    demonstration_labels: Tokens
    separator: Tokens
    queries: tuple[Tokens, ...]
    labels: Tokens
    notes: tuple[str, ...] = ()
    query_texts: tuple[str, ...] = ()
    answer_texts: tuple[str, ...] = ()
    choices: tuple[tuple[Tokens, ...], ...] = ()
    choice_texts: tuple[tuple[str, ...], ...] = ()
    content_free: tuple[Tokens, ...] = ()
    has_common_labels: bool = True

    def answers_of(self, query: int) -> tuple[Tokens, ...]:
        """Return the answers to a query."""
        return self.choices[query] if self.choices else self.answers

    def answer_texts_of(self, query: int) -> tuple[str, ...]:
        """Return what :meth:`answers_of` are the tokens of."""
        return self.choice_texts[query] if self.choices else self.answer_texts

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

    def context_length(self, number: int) -> int:
        """Return how many tokens of ``context`` its first demonstrations take, with their separators.

        Args:
            number: of demonstrations, from 1.
        """
        return self.demonstration_spans[number - 1][1] + len(self.separator)

    @property
    def demonstration_positions(self) -> tuple[int, ...]:
        """Where in ``context`` the demonstrations' own tokens stand: those that count in measures of attention."""
        return tuple(position for start, stop in self.demonstration_spans for position in range(start, stop))

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
        answers: of the task, for messages; one for each class, none if rows have their own.

    Raises:
        PromptError: if there are not enough rows, of all classes or (balanced) of one, or (balanced) no classes.
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
        chosen = [chosen[index] for index in permutation_of(num, config.seed, config.permutation)]
    return chosen


def _balanced(shuffled: Sequence[TextExample], num: int, answers: Sequence[str]) -> list[TextExample]:
    """Walk through shuffled rows and take each whose class is not yet full."""
    if not answers:
        raise PromptError(
            "demonstrations.selection=balanced needs classes, but each row has its own answers; take random or first"
        )
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


def build_prompts(
    task: TextTask,
    tokenizer: "Tokenizer",
    demonstrations: Sequence[TextExample],
    queries: Sequence[TextExample],
    config: DemonstrationsConfig,
    max_length: int,
    shown_task: TextTask | None = None,
    calibrate: bool = False,
) -> Prompts:
    """Return the token ids of demonstrations and queries.

    Prompt and answer are tokenized apart and then joined, as in [Dai]'s code: the prompt's tokens are the same
    whatever the answer, and the same in a demonstration and in a query. They are those of the whole text, unless a
    token would reach over the border between prompt and answer or separator; a note says so.

    Args:
        task: template and answers.
        tokenizer: of the model.
        demonstrations: in order, as from :func:`select_demonstrations`.
        queries: what is asked.
        config: separator, overflow and start token.
        max_length: of the model, in tokens: context, query and answer must fit.
        shown_task: of the demonstrations, if not ``task``: the control "other task".
        calibrate: whether content-free queries are asked, too.

    Raises:
        PromptError: for answers that the tokenizer does not know or cannot tell apart, a separator that it does not
            have, no queries or demonstrations or none of their text's tokens.
        OverlongQueryError: for queries that are too long.
    """
    if not queries or not demonstrations:
        raise PromptError(
            f"{task.name}: expected demonstrations and queries, got {len(demonstrations)} and {len(queries)}"
        )
    shown_task = task if shown_task is None else shown_task
    asked_texts = [task.prompt(example) for example in queries]
    shown_texts = [shown_task.prompt(example) for example in demonstrations]
    if config.chat and (task.choices or shown_task.choices):
        raise PromptError("demonstrations.chat needs answers that all queries share; here each has its own")
    tokenized = _chat if config.chat else _plain
    found = tokenized(tokenizer, task, shown_task, demonstrations, asked_texts, shown_texts, config)
    choices, notes_on_choices = own_answers(tokenizer, task, asked_texts, found.asked, queries)
    ends = list(itertools.accumulate(len(tokens) + len(found.separator) for tokens in found.shown))
    beside = len(found.start) + max(map(len, found.answers or itertools.chain.from_iterable(choices)))
    drop = config.overflow == "drop"
    num_kept, note = num_that_fit(task.name, ends, list(map(len, found.asked)), asked_texts, beside, max_length, drop)
    notes = (*found.notes, *notes_on_choices, *([] if note is None else [note]))
    content_free: tuple[Tokens, ...] = ()
    if calibrate:

        def asked(texts: list[str]) -> tuple[Tokens, ...]:
            if not config.chat:
                return encode(tokenizer, texts)
            return _chat(tokenizer, task, shown_task, demonstrations, texts, shown_texts, config).asked

        room = max_length - beside - ends[num_kept - 1]
        content_free, notes_on_these = content_free_prompts(asked, task, room)
        notes = (*notes, *notes_on_these)
    return Prompts(
        start=found.start,
        answers=found.answers,
        demonstrations=found.shown[:num_kept],
        demonstration_labels=tuple(example.label for example in demonstrations[:num_kept]),
        separator=found.separator,
        queries=found.asked,
        labels=tuple(example.label for example in queries),
        notes=notes,
        query_texts=tuple(asked_texts),
        answer_texts=task.answers,
        choices=choices,
        choice_texts=tuple(example.choices for example in queries) if choices else (),
        content_free=content_free,
        has_common_labels=shown_task is task and not choices,
    )


class _Tokenized(NamedTuple):
    """The tokens of what prompts are made of."""

    start: Tokens
    asked: tuple[Tokens, ...]
    answers: tuple[Tokens, ...]
    shown: tuple[Tokens, ...]
    separator: Tokens
    notes: tuple[str, ...]


def _chat(
    tokenizer: "Tokenizer",
    task: TextTask,
    shown_task: TextTask,
    demonstrations: Sequence[TextExample],
    asked_texts: list[str],
    shown_texts: list[str],
    config: DemonstrationsConfig,
) -> _Tokenized:
    """Return the tokens of turns of a conversation."""
    shown_answers = [shown_task.answers[example.label] for example in demonstrations]
    turns = tokenized_turns(tokenizer, asked_texts, task.answers, list(zip(shown_texts, shown_answers, strict=True)))
    answers, notes = checked_answers(tokenizer, task, turns.answers, len(asked_texts))
    if not turns.are_whole and not notes:
        notes = (
            "demonstrations.chat: in a whole conversation the tokenizer joins a turn with what stands beside it; here "
            "they are tokenized apart",
        )
    notes = (*notes_on_answers(task, answers), *notes)
    return _Tokenized(turns.start, turns.queries, answers, turns.demonstrations, turns.separator, notes)


def _plain(
    tokenizer: "Tokenizer",
    task: TextTask,
    shown_task: TextTask,
    demonstrations: Sequence[TextExample],
    asked_texts: list[str],
    shown_texts: list[str],
    config: DemonstrationsConfig,
) -> _Tokenized:
    """Return the tokens of texts, one after the other."""
    asked, shown = _prompt_tokens(tokenizer, task, asked_texts), _prompt_tokens(tokenizer, shown_task, shown_texts)
    answers, notes = answer_tokens(tokenizer, task, asked_texts)
    shown_answers = answers if shown_task is task else answer_tokens(tokenizer, shown_task, shown_texts)[0]
    start, notes_on_start = _start_tokens(tokenizer, config.start_token)
    wholes = [shown_task.whole(example) for example in demonstrations]
    if shown_task.choices is None:
        right = [shown_answers[example.label] for example in demonstrations]
    else:
        right = right_answers(tokenizer, shown_task, shown_texts, shown, demonstrations)
    shown = prompt_tokens.completed(tokenizer, shown, wholes, right)
    parts = [*wholes, asked_texts[0]]
    separator = _separator_tokens(tokenizer, config.separator, parts)
    if config.separator != END_OF_SEQUENCE and not notes:
        joined = sum((tokens + separator for tokens in shown), ()) + asked[0]
        if not prompt_tokens.is_whole(tokenizer, parts, config.separator, joined):
            notes = (
                f"demonstrations.separator={config.separator!r}: in a whole text the tokenizer joins it with what "
                "stands beside it; here they are tokenized apart",
            )
    notes = (*notes_on_answers(task, answers), *notes, *notes_on_start)
    return _Tokenized(start, asked, answers, shown, separator, notes)


def _start_tokens(tokenizer: "Tokenizer", choice: str) -> tuple[Tokens, tuple[str, ...]]:
    """Return what every prompt begins with, and a note if the tokenizer itself would do otherwise."""
    start = prompt_tokens.start_tokens(tokenizer, choice)
    own = prompt_tokens.start_tokens(tokenizer, "auto") if choice == "always" else start
    if start == own:
        return start, ()
    names = [", ".join(map(repr, tokenizer.convert_ids_to_tokens(list(each)))) or "nothing" for each in (start, own)]
    return start, (
        f"demonstrations.start_token=always: every prompt begins with {names[0]}; "
        f"the tokenizer itself begins with {names[1]} (auto)",
    )


def _prompt_tokens(tokenizer: "Tokenizer", task: TextTask, texts: list[str]) -> tuple[Tokens, ...]:
    found = encode(tokenizer, texts)
    for text, tokens in zip(texts, found, strict=True):
        if not tokens:
            raise PromptError(f"{task.name}: the tokenizer has no token for the prompt {text[:60]!r}")
    return found


def _separator_tokens(tokenizer: "Tokenizer", separator: str, parts: list[str]) -> Tokens:
    """Return the separator's tokens between the first two parts of a context."""
    if separator != END_OF_SEQUENCE:
        tokens = prompt_tokens.between(tokenizer, parts[0], separator, parts[1])
        if tokenizer.unk_token_id in tokens:
            raise PromptError(f"demonstrations.separator={separator!r}: the tokenizer does not know it")
        return tokens
    if tokenizer.eos_token_id is None:
        raise PromptError("demonstrations.separator=eos: the tokenizer has no end-of-sequence token")
    return (tokenizer.eos_token_id,)
