"""Values of dataclasses' fields, by the fields' types, from YAML and from ``key=value``.

Text is taken as it is written: ``0012345``, ``1e3``, ``2024-01-01`` and ``no`` are what they look like, with quotes or
without. Numbers are decimal, with zeros in front too.
Nothing is filled in: a config that somebody else wrote must not read the environment.
"""

import difflib
import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any, get_args, get_origin, get_type_hints

import yaml

from iclgd import yaml_files
from iclgd.checks import InputError
from iclgd.yaml_files import YamlError

NUMBER_OR_NAME = float | str  # a number, or a name of what stands for one; the field's own check knows the names
EXPECTED: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    NUMBER_OR_NAME: "a number or a name",
}
BOOLEANS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
NULLS = ("null", "Null", "NULL", "~", "")
WHOLE = re.compile(r"[-+]?[0-9][0-9_]*")  # decimal, also with zeros in front
OTHER_WHOLE = re.compile(r"[-+]?0(x[0-9a-fA-F_]+|o[0-7_]+|b[01_]+)")
DECIMAL = re.compile(r"[-+]?([0-9][0-9_]*\.?|[0-9][0-9_]*\.[0-9_]+|\.[0-9][0-9_]*)([eE][-+]?[0-9]+)?")
NOT_FINITE = re.compile(r"[-+]?\.?(inf|nan)", re.IGNORECASE)
LARGEST = 2**63 - 1  # of whole numbers that PyTorch and NumPy take
MOST_CHARACTERS = 80  # of a value in a message


class ValueTypeError(InputError):
    """A value that is not of a key's type, or a key that is not there; the message names no source."""


def expected(kind: Any) -> str:
    """Return in words what a field of a type must be.

    Example:
        >>> expected(int | None), expected(list[str])
        ('a whole number or null', 'a list')
    """
    if is_dataclass(kind):
        return f"a group of keys ({', '.join(field.name for field in fields(kind))})"
    if get_origin(kind) is list:
        return "a list"
    required, may_be_null = _without_null(kind)
    return EXPECTED[required] + " or null" * may_be_null


def read_text(key: str, kind: Any, text: str) -> Any:
    """Return a value as it is typed after ``key=``.

    Args:
        key: for messages.
        kind: the field's type: a dataclass, whose values are returned by name; one of ``EXPECTED``, or with ``None``;
            or a list of these.
        text: YAML; for a key with text the text itself, but for quotes around it.

    Raises:
        ValueTypeError: if it is of another type.
        YamlError: if it is not valid YAML.
    """
    required, may_be_null = _without_null(kind)
    if required is not str:
        return read_node(key, kind, _parse(text))
    quoted = text.strip()
    if quoted[:1] in ("'", '"', "[", "{"):
        try:
            node = _parse(text)
        except YamlError:  # an apostrophe, say
            return _checked_text(key, text)
        if not isinstance(node, yaml.ScalarNode) or node.style is not None:
            return read_node(key, kind, node)
    return None if may_be_null and text in NULLS else _checked_text(key, text)


def read_node(key: str, kind: Any, node: yaml.Node) -> Any:
    """Return the value of a YAML node; arguments and errors as of :func:`read_text`."""
    if is_dataclass(kind):
        assert isinstance(kind, type)
        return read_group(f"{key}.", kind, kinds_of(kind), node)
    if get_origin(kind) is list:
        if not isinstance(node, yaml.SequenceNode):
            raise _mistake(key, kind, node)
        (item_kind,) = get_args(kind)
        return [read_node(f"{key}[{index}]", item_kind, item) for index, item in enumerate(yaml_files.items(node))]
    required, may_be_null = _without_null(kind)
    if may_be_null and yaml_files.is_null(node):
        return None
    if not isinstance(node, yaml.ScalarNode):
        raise _mistake(key, kind, node)
    text = yaml_files.as_written(node)
    if required is str:
        return _checked_text(key, text)
    if required == NUMBER_OR_NAME:
        number = _number_or_boolean(key, float, text)
        return _checked_text(key, text) if number is None else number
    value = _number_or_boolean(key, required, text)
    if value is None:
        raise _mistake(key, kind, node)
    return value


@cache
def kinds_of(kind: type) -> Mapping[str, Any]:
    """Return the types of a dataclass's fields by their names."""
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in fields(kind)}


def read_group(prefix: str, kind: type, kinds: Mapping[str, Any], node: yaml.Node) -> dict[str, Any]:
    """Return the values that a map gives to a dataclass's fields, by name.

    Args:
        prefix: of its keys: that of the group with a dot, or nothing.
        kind: the dataclass.
        kinds: the types of its fields.
        node: the map.

    Raises:
        ValueTypeError: for another kind of node, an unknown key, or a value of another type.
    """
    if not isinstance(node, yaml.MappingNode):
        raise _mistake(prefix.rstrip("."), kind, node)
    values = {}
    for name, value in yaml_files.entries(node):
        check_known(prefix, name.value, kinds)
        values[name.value] = read_node(f"{prefix}{name.value}", kinds[name.value], value)
    return values


def check_known(prefix: str, name: str, kinds: Mapping[str, Any], everywhere: Mapping[str, Any] | None = None) -> None:
    """Refuse a key that a dataclass has not.

    Args:
        prefix: of its keys: that of the group with a dot, or nothing.
        name: of the key, without the prefix.
        kinds: the types of its fields.
        everywhere: the types of the whole config's fields, in whose other groups the key may stand; ``None``: these.

    Raises:
        ValueTypeError: which says what it has, and where a key of this name or a close one stands.
    """
    if name not in kinds:
        groups = {f"{group}.": inner for group, inner in _groups(kinds if everywhere is None else everywhere).items()}
        meant = [f"{group}{name}" for group, inner in groups.items() if name in inner]
        meant = meant or [f"{prefix}{close}" for close in difflib.get_close_matches(name, kinds, n=1)]
        elsewhere = {key: f"{group}{key}" for group, inner in reversed(groups.items()) for key in inner}
        meant = meant or [elsewhere[close] for close in difflib.get_close_matches(name, elsewhere, n=1, cutoff=0.8)]
        hint = f"did you mean {' or '.join(meant)}? Known" if meant else "known"
        shown = name if name.isprintable() and name else repr(name)
        raise ValueTypeError(f"unknown key {prefix}{shown:.{MOST_CHARACTERS}}; {hint} here: {', '.join(kinds)}")


def _groups(kinds: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the types of the fields of those fields that are groups."""
    return {name: kinds_of(kind) for name, kind in kinds.items() if isinstance(kind, type) and is_dataclass(kind)}


def _without_null(kind: Any) -> tuple[Any, bool]:
    """Return a type without ``None``, and whether it has that."""
    others = [each for each in get_args(kind) if each is not type(None)]
    return (others[0], True) if type(None) in get_args(kind) else (kind, False)


def _parse(text: str) -> yaml.Node:
    node = yaml_files.parse(text)
    return yaml.ScalarNode(f"{yaml_files.STANDARD}null", "") if node is None else node


def _number_or_boolean(key: str, kind: Any, text: str) -> Any:
    """Return the value, ``None`` if the text is no such thing."""
    if kind is bool:
        return BOOLEANS.get(text.lower())
    if len(text) > yaml_files.MOST_DIGITS:  # which takes long to read, where Python reads it at all
        if not text.isdecimal():
            return None
        raise ValueTypeError(f"{key} must be a number of at most {yaml_files.MOST_DIGITS} digits, got {_shown(text)}")
    if kind is float:
        if NOT_FINITE.fullmatch(text):
            return float(text.replace(".", ""))
        return float(text.replace("_", "")) if DECIMAL.fullmatch(text) else None
    if WHOLE.fullmatch(text):
        number = int(text.replace("_", ""))
    elif OTHER_WHOLE.fullmatch(text) and re.search("[0-9a-fA-F]", text.lower().lstrip("+-")[2:]):
        number = int(text.replace("_", ""), 0)
    else:
        return None
    if abs(number) > LARGEST:
        raise ValueTypeError(f"{key} must be a whole number of at most 64 bits, got {text}")
    return number


def _checked_text(key: str, text: str) -> str:
    if "${" in text:
        raise ValueTypeError(
            f"{key}: {_shown(text)}: nothing is filled in for ${{...}}; write the value (on a command line the shell "
            'puts in that of a variable: "$NAME")'
        )
    if any(character == "\0" or "\ud800" <= character <= "\udfff" for character in text):
        raise ValueTypeError(f"{key} must be text, got {_shown(text)}, which has a character that no text can have")
    return text


def _mistake(key: str, kind: Any, node: yaml.Node) -> ValueTypeError:
    if isinstance(node, yaml.ScalarNode) and "${" in node.value:
        _checked_text(key, node.value)
    try:
        got = _shown(yaml_files.plain(node))
    except YamlError:
        got = _shown(node.value) if isinstance(node, yaml.ScalarNode) else "a list or a map"
    return ValueTypeError(f"{key or 'a config'} must be {expected(kind)}, got {got}")


def _shown(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= MOST_CHARACTERS else f"{shown[:MOST_CHARACTERS]}..."
