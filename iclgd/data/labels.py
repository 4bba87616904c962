"""Which answer a row's label means: files write it as the answer itself or as its number, and numbers as texts."""

import re
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
        if label in answers:
            return answers.index(label)
        label = label.strip()
        if not NUMBER.fullmatch(label) or any(NUMBER.fullmatch(answer) for answer in answers):
            return answers.index(label) if label in answers else None
        label = float(label)
    if isinstance(label, float) and label.is_integer():
        label = int(label)
    return label if type(label) is int and 0 <= label < len(answers) else None
