"""Which answer a row's label means: files write it as the answer itself or as its number, and numbers as texts."""

import re
import string
from collections.abc import Sequence
from typing import Any

NUMBER = re.compile(r"\d+(\.0*)?", re.ASCII)  # 1.0: a table's column of whole numbers, one of which was missing


def label_index(label: Any, answers: Sequence[str]) -> int | None:
    """Return the index of the answer that a label means; ``None`` if it means none.

    A text is the answer itself. It may be a number instead, as all values are texts in separated values, unless an
    answer looks like one.

    Args:
        label: a row's.
        answers: in the order of their numbers, from 0.

    Example:
        >>> [label_index(label, ["no", "yes"]) for label in ("yes", 1, 1.0, "1", "1.0", 2, 0.5, True)]
        [1, 1, 1, 1, 1, None, None, None]
        >>> [label_index(label, ["1", "2"]) for label in ("1", 1, "0")]
        [0, 1, None]
    """
    if isinstance(label, str):
        label = label.strip()
        if label in answers:
            return answers.index(label)
        if any(NUMBER.fullmatch(answer) for answer in answers):
            return None
    return _number(label, len(answers))


def choice_readings(label: Any, choices: Sequence[str], names: Sequence[str] = ()) -> dict[int, str]:
    """Return which of a row's own answers its label may mean, and why; more than one if it is not clear.

    Answers of a row may be anything, so that a text which is both an answer and another's number says nothing.

    Args:
        label: the row's.
        choices: its answers.
        names: theirs, if they have any.

    Example:
        >>> choice_readings("B", ["red", "green"]), choice_readings("green", ["red", "green"])
        ({1: 'its letter'}, {1: 'its text'})
        >>> choice_readings("2", ["red", "green"], names=["1", "2"])
        {1: 'its name'}
        >>> choice_readings("1", ["1", "2"])
        {1: 'its number', 0: 'its text'}
    """
    text = label.strip() if isinstance(label, str) else None
    if (name := str(label) if type(label) is int else text) in names:
        return {names.index(name): "its name"}
    found: dict[int, str] = {}
    if (number := _number(label if text is None else text, len(choices))) is not None:
        found[number] = "its number"
    letters = list(string.ascii_uppercase[: len(choices)])
    for how, those in (("its letter", [] if names else letters), ("its text", choices)):
        if text in those:
            found.setdefault(those.index(text), how)
    return found


def _number(label: Any, num_answers: int) -> int | None:
    if isinstance(label, str) and NUMBER.fullmatch(label):
        label = float(label)
    if isinstance(label, float) and label.is_integer():
        label = int(label)
    return label if type(label) is int and 0 <= label < num_answers else None
