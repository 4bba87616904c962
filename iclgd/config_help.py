"""What can be set in a config: every key with its type, default, choices and a sentence, all from the code itself."""

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, is_dataclass
from pathlib import Path
from typing import Any

import omegaconf

from iclgd import checks, config
from iclgd.field_documentation import documentation_of, summary_of
from iclgd.typed_values import expected, kinds_of

LIST = expected(list[str])


@dataclass(frozen=True)
class Key:
    """A key of a config.

    Args:
        name: with its groups.
        kind: its type, in words.
        default: as it is typed; ``None`` if there is none.
        value: in this config, as it is typed.
        choices: what it may be, or have; empty if that is not a list of names.
        sentence: what it is.
    """

    name: str
    kind: str
    default: str | None
    value: str
    choices: tuple[str, ...]
    sentence: str

    def __str__(self) -> str:
        facts = [self.kind, "no default" if self.default is None else f"default {self.default}"]
        facts += [f"here {self.value}"] if self.value != self.default else []
        choices = f"; {'of' if self.kind == LIST else 'one of'}: {', '.join(self.choices)}" if self.choices else ""
        return f"{self.name}: {', '.join(facts)}{choices}"


@dataclass(frozen=True)
class Group:
    """Keys that stand together, and what they are about."""

    sentence: str
    keys: list[Key]


def groups(path: Path, overrides: Sequence[str] = ()) -> list[Group]:
    """Return all keys of a config, those first that stand in no group.

    Raises:
        ConfigError: as from :func:`iclgd.config.load`.
    """
    with checks.collected_choices() as choices:
        loaded = config.load(path, overrides, may_lack=True)
    return list(_groups(loaded, "", None, choices, summary_of(type(loaded))))


def _groups(
    values: Any, prefix: str, defaults: Any, choices: Mapping[str, tuple[str, ...]], sentence: str
) -> Iterator[Group]:
    """Return a dataclass's own keys as a group, and then the groups in it.

    Args:
        values: the dataclass, built.
        prefix: of its keys.
        defaults: the same with nothing given; ``None`` if only its fields have defaults.
        choices: by key.
        sentence: what it is about.
    """
    kind: type = type(values)
    documentation, kinds = documentation_of(kind), kinds_of(kind)
    keys, inner = [], []
    for field in dataclasses.fields(kind):
        name, value = f"{prefix}{field.name}", getattr(values, field.name)
        default = _default(field) if defaults is None else getattr(defaults, field.name)
        said = documentation.get(field.name, "")
        if is_dataclass(value):
            own = None if default is MISSING else default
            inner.append(_groups(value, f"{name}.", own, choices, said or summary_of(type(value))))
        else:
            typed = None if default is MISSING else as_typed(default)
            key = Key(name, expected(kinds[field.name]), typed, as_typed(value), choices.get(name, ()), said)
            keys.append(key)
    yield Group(sentence, keys)
    for each in inner:
        yield from each


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not MISSING:
        return field.default_factory()
    return MISSING if field.default == omegaconf.MISSING else field.default


def as_typed(value: Any) -> str:
    r"""Return a value as it may be typed after ``key=``.

    Example:
        >>> [as_typed(value) for value in (None, True, 0.1, "linear", "\n", ["a", "b"])]
        ['null', 'true', '0.1', 'linear', '"\\n"', '[a, b]']
    """
    if isinstance(value, list):
        return f"[{', '.join(map(as_typed, value))}]"
    if isinstance(value, str):
        return value if value.strip() and value.isprintable() else json.dumps(value)
    return str(value) if isinstance(value, float) else json.dumps(value)
