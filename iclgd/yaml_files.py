"""YAML that somebody else wrote: a sane size, each key once, and nothing in it but texts, numbers, lists and maps.

The nodes of the text are kept (:func:`parse`), as a key that wants text takes a value as it is written: YAML would make
infinity of ``4e05931`` and 5349 of ``0012345``. Others take the values that YAML gives (:func:`plain`).
"""

from pathlib import Path
from typing import Any

import yaml

from iclgd.checks import InputError
from iclgd.files import no_such_file, read_text

MOST_BYTES = 2**20  # a megabyte of YAML takes seconds to read
MOST_VALUES = 20_000  # also of those that aliases repeat
MOST_DEPTH = 30
MOST_DIGITS = 100  # of a number
STANDARD = "tag:yaml.org,2002:"  # of what YAML itself knows
MERGE = f"{STANDARD}merge"  # of the key <<
AS_WRITTEN = {STANDARD + name for name in ("str", "int", "float", "bool", "null", "timestamp", "merge", "value")}
SCALARS = {STANDARD + name for name in ("str", "int", "float", "bool", "null")}


class YamlError(InputError):
    """YAML that cannot be used; the message is one line, which names no file."""


def read(path: Path, most_values: int = MOST_VALUES) -> tuple[str, yaml.Node | None]:
    """Return a YAML file's text and nodes; ``None`` for a file without any.

    Raises:
        FileError: if it is not there, or no regular text file of a sane size.
        YamlError: as :func:`parse`.
    """
    try:
        text = read_text(path, MOST_BYTES, encoding="utf-8-sig")
    except FileNotFoundError:
        raise no_such_file(path) from None
    return text, parse(text, most_values)


def parse(text: str, most_values: int = MOST_VALUES) -> yaml.Node | None:
    """Return the nodes of a YAML text; ``None`` if it has none.

    Args:
        text: of one document.
        most_values: how many values it may have, those counted again that aliases repeat.

    Raises:
        YamlError: if it is not valid, has a key twice, too many values or levels, or a value that contains itself.
    """
    try:
        return _Loader(text, most_values).get_single_node()
    except yaml.MarkedYAMLError as error:
        place = f"{_place(error.problem_mark)}: " if error.problem_mark else ""
        raise YamlError(f"not valid YAML ({place}{error.problem or error.context})") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise YamlError(f"not valid YAML (unacceptable character {error.character:#06x} in line {line})") from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # such as "\U99999999", which is no character
        raise YamlError(f"not valid YAML ({str(error).splitlines()[0]})") from None


def plain(node: yaml.Node) -> Any:
    """Return a node's value as YAML 1.1 has it, made of ``dict``, ``list``, ``str``, numbers, booleans and ``None``.

    Raises:
        YamlError: for any other value, such as a date, and for a key that is there twice once it is read.
    """
    if isinstance(node, yaml.ScalarNode):
        return _plain_scalar(node)
    if isinstance(node, yaml.SequenceNode):
        return [plain(item) for item in items(node)]
    values: dict[Any, Any] = {}
    for key, value in entries(node):
        name = _plain_scalar(key)
        if name in values:
            raise YamlError(f"not valid YAML ({_place(key.start_mark)}: {key.value} is given twice)")
        values[name] = plain(value)
    return values


def items(node: yaml.Node) -> list[yaml.Node]:
    """Return the nodes of a list.

    Raises:
        YamlError: for another kind of list, such as ``!!omap``.
    """
    if not isinstance(node, yaml.SequenceNode) or node.tag != f"{STANDARD}seq":
        raise _not_plain(node)
    return list(node.value)


def entries(node: yaml.Node) -> list[tuple[yaml.ScalarNode, yaml.Node]]:
    """Return the keys and values of a map; ``<<`` puts in those of other maps that it has not itself.

    Raises:
        YamlError: for another kind of map, such as ``!!set``.
    """
    if not isinstance(node, yaml.MappingNode) or node.tag != f"{STANDARD}map":
        raise _not_plain(node)
    own = [(key, value) for key, value in node.value if key.tag != MERGE]
    found = {key.value: (key, value) for key, value in own}
    for key, value in node.value:
        if key.tag == MERGE:
            others = items(value) if isinstance(value, yaml.SequenceNode) else [value]
            for other in others:
                found = {each[0].value: each for each in entries(other)} | found
    return list(found.values()) if len(found) > len(own) else own


def as_written(node: yaml.ScalarNode) -> str:
    """Return a scalar's text, whatever YAML takes it for.

    Raises:
        YamlError: if it says itself to be something that YAML does not write as one word, such as ``!!binary``.
    """
    if node.tag not in AS_WRITTEN:
        raise _not_plain(node)
    return node.value  # type: ignore[no-any-return]


def is_null(node: yaml.Node) -> bool:
    """Say whether a node is nothing, or a null without quotes."""
    return node.tag == f"{STANDARD}null"


class _Loader(yaml.SafeLoader):
    """YAML's own reader of nodes, within limits."""

    def __init__(self, text: str, most_values: int) -> None:
        super().__init__(text)
        self.most_values = most_values
        self.num_values = 0
        self.depth = 0
        self.sizes: dict[int, int] = {}  # of complete nodes, by their ids

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        before = self.num_values
        self._count(1, event.start_mark)
        self.depth += 1
        if self.depth > MOST_DEPTH:
            raise _problem(f"more than {MOST_DEPTH} levels", event.start_mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        if isinstance(event, yaml.AliasEvent):
            if id(node) not in self.sizes:
                raise _problem(f"{event.anchor} contains itself", event.start_mark)
            self._count(self.sizes[id(node)], event.start_mark)
        else:
            self.sizes[id(node)] = self.num_values - before
        return node

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _problem("a key must be text", key.start_mark)
            if key.tag == MERGE:
                continue
            if key.value in seen:
                raise _problem(f"{key.value} is given twice", key.start_mark)
            seen.add(key.value)
        return node

    def _count(self, number: int, mark: Any) -> None:
        self.num_values += number
        if self.num_values > self.most_values:
            raise _problem(f"more than {self.most_values:,} values", mark)


def _plain_scalar(node: yaml.ScalarNode) -> Any:
    if node.tag not in SCALARS:
        raise _not_plain(node)
    if node.tag != f"{STANDARD}str" and len(node.value) > MOST_DIGITS:
        raise YamlError(f"{_place(node.start_mark)}: a number of {len(node.value):,} characters is too long")
    try:
        return yaml.constructor.SafeConstructor().construct_object(node)
    except (yaml.YAMLError, ValueError, KeyError, OverflowError):  # such as !!int x
        raise _not_plain(node) from None


def _not_plain(node: yaml.Node) -> YamlError:
    what = repr(node.value) if isinstance(node, yaml.ScalarNode) else "a list or map"
    kind = node.tag.replace(STANDARD, "!!")
    return YamlError(
        f"{_place(node.start_mark)}: {what} ({kind}) is neither text nor a number, true, false, null, or a list or map "
        "of these; put it in quotes if it is text"
    )


def _problem(problem: str, mark: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=mark)


def _place(mark: Any) -> str:
    return f"line {mark.line + 1}, column {mark.column + 1}"
