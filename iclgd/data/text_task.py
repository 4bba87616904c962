"""What a text task is: a template, answers of all rows or of each, and where the examples come from."""

import string
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from iclgd.checks import InputError

SPLITS = ("train", "validation")


class TextTaskError(InputError):
    """A task or its data that cannot be used."""


@dataclass(frozen=True)
class TextSource:
    """Where examples come from: a data set on the hub (``path``), a folder (``data_dir``), ``rows``, or ``examples``.

    Raises:
        TextTaskError: unless exactly one of these is given, or for a split that no task has.
    """

    path: str | None = None
    config: str | None = None  # which configuration of the data set
    splits: Mapping[str, str] = field(default_factory=lambda: {split: split for split in SPLITS})  # ours to the hub's
    rename: Mapping[str, str] = field(default_factory=dict)  # a row's field to the task's
    data_dir: str | None = None  # as in TextTaskConfig; relative to the folder of the task's file
    rows: Mapping[str, Sequence[Mapping[str, Any]]] | None = None  # themselves by split; not in a file
    examples: Mapping[str, Sequence["TextExample"]] | None = None  # made of rows by another library; not in a file

    def __post_init__(self) -> None:
        for key in ("path", "config", "data_dir"):
            _check_text(f"source.{key}", getattr(self, key) or "absent")
        for key in ("splits", "rename"):
            value = getattr(self, key)
            if not isinstance(value, Mapping) or not all(
                isinstance(text, str) for pair in value.items() for text in pair
            ):
                raise TextTaskError(f"source.{key} must map names to names, got {value!r}")
        if sum(given is not None for given in (self.path, self.data_dir, self.rows, self.examples)) != 1:
            raise TextTaskError("source must have either path (a data set on the hub) or data_dir (a folder)")
        if self.rows is not None:
            for split, rows in self.rows.items():
                for number, row in enumerate(rows, start=1):
                    if not isinstance(row, Mapping):
                        got = type(row).__name__
                        raise TextTaskError(f"{split} row {number}: must map fields to values, got {got}")
        if set(self.splits) != set(SPLITS):
            raise TextTaskError(f"source.splits must have the keys {' and '.join(SPLITS)}, got {list(self.splits)}")


@dataclass(frozen=True)
class TextExample:
    """One row: the texts that the template names, and which answer is right.

    Args:
        fields: the texts.
        label: the index of the right answer.
        choices: the row's own answers; none if it has those of its task.

    Example:
        >>> TextExample({"text": "a gem ."}, label=1).fields["text"]
        'a gem .'
    """

    fields: Mapping[str, str]
    label: int
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class TextTask:
    """A text task: classification, whose rows all have the same answers, or multiple choice, where each has its own.

    Args:
        name: for messages and folders.
        version: counted up when template or answers change, so that results can be told apart.
        description: one line.
        template: the prompt, with ``{field}`` for a row's texts; an answer follows after the delimiter.
        answers: one for each label, in order; none if rows have their own.
        source: where the examples come from.
        label: the row's field with the label.
        choices: the row's field with the list of its own answers, or several fields with one each; ``None`` if all have
            those of the task. ``choices.text`` is the part ``text`` of the field ``choices``.
        choice_names: the row's field with the names, such as letters, by which a label calls its answers.
        delimiter: the white space between prompt and answer, if any.

    Raises:
        TextTaskError: for a wrong type, a template that cannot be filled in, or answers that cannot be told apart.
    """

    name: str
    version: int
    description: str
    template: str
    answers: tuple[str, ...]
    source: TextSource
    label: str = "label"
    choices: str | tuple[str, ...] | None = None
    choice_names: str | None = None
    delimiter: str = " "

    def __post_init__(self) -> None:
        if type(self.version) is not int or self.version < 1:
            raise TextTaskError(f"version must be a whole number from 1, got {self.version!r}")
        for key in ("name", "description", "template", "label"):
            _check_text(key, getattr(self, key))
        if not isinstance(self.delimiter, str) or self.delimiter.strip():
            raise TextTaskError(f"delimiter must be white space, or nothing, got {self.delimiter!r}")
        if self.choices is None:
            self._check_answers()
        else:
            self._check_choices()
        try:
            parts = list(string.Formatter().parse(self.template))
        except ValueError as error:
            raise TextTaskError(f"template {self.template!r} has unbalanced braces ({error})") from None
        for _, name, spec, conversion in parts:
            if name is not None and (not name.isidentifier() or spec or conversion):
                raise TextTaskError(f"template {self.template!r}: expected a field such as {{text}}, got {{{name}}}")
        if not self.fields:
            raise TextTaskError(f"template {self.template!r} has no field, such as {{text}}")
        if self.label in self.fields:
            raise TextTaskError(f"template {self.template!r} must not contain the label, {{{self.label}}}")
        if self.template != self.template.rstrip():
            raise TextTaskError(f"template {self.template!r} must not end with white space: the answer brings its own")

    def _check_answers(self) -> None:
        if not isinstance(self.answers, tuple) or not all(isinstance(answer, str) for answer in self.answers):
            raise TextTaskError(f"answers must be a list of texts (in quotes if need be), got {self.answers!r}")
        if len(self.answers) < 2:
            raise TextTaskError(f"answers must be at least two, got {list(self.answers)}")
        for answer in self.answers:
            if answer != answer.strip() or not answer:
                raise TextTaskError(f"answers must be texts without white space around them, got {answer!r}")
            if (problem := surrogate_in(answer)) is not None:
                raise TextTaskError(f"answer {answer!r} {problem}")
            if self.answers.count(answer) > 1:
                raise TextTaskError(f"answers must differ, but {answer!r} occurs {self.answers.count(answer)} times")

    def _check_choices(self) -> None:
        if self.answers:
            raise TextTaskError("give either answers, those of all rows, or choices, the field with each row's own")
        names = (self.choices,) if isinstance(self.choices, str) else self.choices
        if not isinstance(names, tuple) or not names or not all(isinstance(name, str) and name for name in names):
            raise TextTaskError(f"choices must be the name of a field, or a list of names, got {self.choices!r}")
        if len(set(names)) < len(names) or (len(names) == 1 and not isinstance(self.choices, str)):
            raise TextTaskError(f"choices must be one field with a list, or several with an answer each, got {names!r}")
        _check_text("choice_names", self.choice_names or "absent")
        if self.choice_names is not None and not isinstance(self.choices, str):
            raise TextTaskError("choice_names goes with choices in one field; several fields are called by their names")

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields that the template names, each once."""
        names = (name for _, name, _, _ in string.Formatter().parse(self.template))
        return tuple(dict.fromkeys(name for name in names if name is not None))

    @property
    def tail(self) -> str:
        """What the template says after its last field, without white space around it; the same in every prompt."""
        tail = ""
        for literal, name, _, _ in string.Formatter().parse(self.template):
            tail = tail + literal if name is None else ""
        return tail.strip()

    def prompt(self, example: TextExample) -> str:
        """Return the template filled in; the answer would follow after the delimiter.

        Example:
            >>> source = TextSource(path="nyu-mll/glue", config="sst2")
            >>> task = TextTask("sst2", 1, "films", "Sentence: {text} Label:", ("Negative", "Positive"), source)
            >>> task.prompt(TextExample({"text": "a gem ."}, label=1))
            'Sentence: a gem . Label:'
        """
        return self.template.format(**example.fields)

    def answers_of(self, example: TextExample) -> tuple[str, ...]:
        """Return the answers to choose from: the row's own, or those of all rows."""
        return example.choices or self.answers

    def whole(self, example: TextExample) -> str:
        """Return the template filled in, with the right answer.

        Example:
            >>> task = task_from_rows([], [], template="{goal}. You", choices=["sol1", "sol2"])
            >>> task.whole(TextExample({"goal": "Keep warm"}, label=1, choices=("swim", "run")))
            'Keep warm. You run'
        """
        return f"{self.prompt(example)}{self.delimiter}{self.answers_of(example)[example.label]}"


def task_from_rows(
    train: Iterable[Mapping[str, Any]],
    validation: Iterable[Mapping[str, Any]],
    *,
    template: str,
    answers: Sequence[str] = (),
    label: str = "label",
    choices: str | Sequence[str] | None = None,
    choice_names: str | None = None,
    name: str = "rows",
) -> TextTask:
    """Return a task whose rows are in memory: lists of dictionaries, or a data set of Hugging Face's.

    Args:
        train: the rows that demonstrations are taken from.
        validation: the rows that are asked.
        template: the prompt, with ``{field}`` for a row's texts; an answer follows after a space.
        answers: one for each label, in order.
        label: the row's field with the label: its number, or the answer itself.
        choices: instead of ``answers``, the row's field with its own, or several fields, as in :class:`TextTask`.
        choice_names: as in :class:`TextTask`.
        name: for messages.

    Raises:
        TextTaskError: as :class:`TextTask` does, and for rows that are no mappings.

    Example:
        >>> rows = [{"text": "a gem .", "label": "good"}, {"text": "dull .", "label": 0}]
        >>> task = task_from_rows(rows, rows, template="Review: {text} It is", answers=["bad", "good"])
        >>> task.fields, task.answers
        (('text',), ('bad', 'good'))
    """
    if isinstance(answers, str):  # a sequence of letters
        raise TextTaskError(f"answers must be a list of texts, got {answers!r}")
    source = TextSource(rows={"train": list(train), "validation": list(validation)})
    own = choices if choices is None or isinstance(choices, str) else tuple(choices)
    return TextTask(name, 1, "rows in memory", template, tuple(answers), source, label, own, choice_names)


def _check_text(key: str, value: Any) -> None:
    if not isinstance(value, str) or not value.strip():
        raise TextTaskError(f"{key} must be a text that is not empty, got {value!r}")
    if (problem := surrogate_in(value)) is not None:
        raise TextTaskError(f"{key} {problem}")


def surrogate_in(text: str) -> str | None:
    r"""Return what is wrong with a text that holds half of a character, as JSON and YAML can; ``None`` if none does.

    Example:
        >>> surrogate_in("nice \ud83d film")
        'has half of a character (a lone surrogate, \\ud83d) at character 6'
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        half = repr(text[error.start])[1:-1]
        return f"has half of a character (a lone surrogate, {half}) at character {error.start + 1}"
    return None
