"""Examples of a text task from the rows of its data: what is wrong with one is said with where it stands."""

from collections.abc import Mapping, Sequence
from typing import Any

from iclgd.data.json_lines import Row
from iclgd.data.labels import choice_readings, label_index
from iclgd.data.text_task import TextExample, TextTask, TextTaskError, surrogate_in
from iclgd.terminal import escaped

MOST_SHOWN = 200  # characters of a row's values in a message


def example_of(task: TextTask, row: Row) -> TextExample:
    """Return the example that a row is.

    Raises:
        TextTaskError: for a row that lacks a field, a text that is empty or none, answers that cannot be told apart, a
            label that is none of them.
    """
    renamed = {new: row.values[old] for old, new in task.source.rename.items() if old in row.values}
    values = renamed | row.values  # a row that has the task's own field keeps it
    texts = {key: _text(row, key, _value(row, values, key)) for key in task.fields}
    label = _value(row, values, task.label)
    if task.choices is None:
        index = label_index(label, task.answers)
        if index is None:
            raise _wrong_label(row, task, label, f"0 to {len(task.answers) - 1} or one of {', '.join(task.answers)}")
        return TextExample(texts, index)
    choices, names = _choices(task, row, values)
    readings = choice_readings(label, choices, names)
    if len(readings) > 1:
        meanings = " and ".join(f"answer {index} ({how})" for index, how in readings.items())
        raise _wrong_label(row, task, label, f"clear, but means {meanings}")
    if not readings:
        others = f"one of {', '.join(names)}" if names else "one of its answers, or their letter"
        raise _wrong_label(row, task, label, f"0 to {len(choices) - 1} or {others}")
    (index,) = readings
    return own_choices(texts, index, choices)


def own_choices(fields: Mapping[str, str], label: int, choices: Sequence[str]) -> TextExample:
    """Return an example with answers of its own, each once: nothing could choose between the same.

    Example:
        >>> own_choices({"text": "What is hot?"}, 2, ["ice", "ice", "the sun"])
        TextExample(fields={'text': 'What is hot?'}, label=1, choices=('ice', 'the sun'))
    """
    different = tuple(dict.fromkeys(choices))
    return TextExample(fields, different.index(choices[label]), different)


def _choices(task: TextTask, row: Row, values: Mapping[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return a row's own answers and their names, if they have any."""
    if isinstance(task.choices, tuple):
        return tuple(_text(row, key, _value(row, values, key)) for key in task.choices), task.choices
    assert task.choices is not None
    choices = _texts(row, task.choices, _value(row, values, task.choices))
    if task.choice_names is None:
        return choices, ()
    names = _texts(row, task.choice_names, _value(row, values, task.choice_names))
    if len(names) != len(choices) or len(set(names)) < len(names):
        got = _shown(list(names))
        raise TextTaskError(
            f"{row.position}: field {task.choice_names!r} must have a name of its own for each of "
            f"{len(choices)} answers, got {got}"
        )
    return choices, names


def _value(row: Row, values: Mapping[str, Any], key: str) -> Any:
    """Return a field, or with a dot in its name the part of one."""
    if key in values:
        return values[key]
    field, _, part = key.partition(".")
    if part and isinstance(inner := values.get(field), Mapping) and part in inner:
        return inner[part]
    raise TextTaskError(f"{row.position}: field {key!r} is missing; it has: {escaped(', '.join(values), MOST_SHOWN)}")


def _texts(row: Row, key: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or len(value) < 2:
        raise TextTaskError(f"{row.position}: field {key!r} must be a list of at least two texts, got {_shown(value)}")
    return tuple(_text(row, f"{key}[{index}]", each) for index, each in enumerate(value))


def _text(row: Row, key: str, value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise TextTaskError(f"{row.position}: field {key!r} must be a text that is not empty, got {_shown(value)}")
    if (problem := surrogate_in(value)) is not None:
        raise TextTaskError(f"{row.position}: field {key!r} {problem}")
    return value.strip()


def _wrong_label(row: Row, task: TextTask, label: Any, allowed: str) -> TextTaskError:
    return TextTaskError(f"{row.position}: field {task.label!r} must be {allowed}; got {_shown(label)}")


def _shown(value: Any) -> str:
    return escaped(repr(value), MOST_SHOWN)
