"""What a run was made from: the values of the config that ships under its name, else the defaults.

A run directory has the resolved config alone. To resolve the one that ships, the experiment's classes are imported,
which takes seconds; what comes out is kept until a file of the package or of the shipped configs changes.
"""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

from iclgd import shipped
from iclgd.checks import InputError
from iclgd.quick_imports import quick_imports
from iclgd.runs.cache import read_cache, write_cache
from iclgd.runs.records import RunRecord, Value, flat_config

CACHE = "bases.json"
DEFAULTS = "the defaults"


class Base(NamedTuple):
    """Values with which a run is compared.

    Attributes:
        name: ``config NAME``, or ``the defaults``.
        values: by full keys.
    """

    name: str
    values: Mapping[str, Value]


class Bases:
    """Finds what runs were made from.

    Args:
        tell: is called before something is done that takes seconds.
    """

    def __init__(self, tell: Callable[[], None] = lambda: None) -> None:
        self._tell = tell
        self._print = _fingerprint()
        content = read_cache(CACHE)
        is_of_now = isinstance(content, dict) and content.get("of") == self._print
        self._known: dict[str, Any] = content["bases"] if is_of_now else {}
        self._num_before = len(self._known)
        self._shipped = shipped.runs_are_called()

    def of(self, record: RunRecord) -> Base | None:
        """Return what a run was made from; ``None`` if its experiment or its choices are not known here."""
        key = json.dumps([record.config_name, record.experiment, *sorted(_choices(record))])
        if key not in self._known:
            if len(self._known) == self._num_before:
                self._tell()
            self._known[key] = self._resolve(record)
        kept = self._known[key]
        return None if kept is None else Base(kept[0], {name: _restored(value) for name, value in kept[1]})

    def save(self) -> None:
        """Keep what was found."""
        if len(self._known) > self._num_before:
            write_cache(CACHE, {"of": self._print, "bases": self._known})

    def _resolve(self, record: RunRecord) -> tuple[str, list[tuple[str, Any]]] | None:
        with quick_imports():
            from iclgd import config as configs

            try:
                values = default_values(record.experiment, dict(_choices(record)))
            except InputError:
                return None
        name = DEFAULTS
        if (path := self._shipped.get(record.config_name)) is not None:
            config = configs.load(path, may_lack=True)
            if config.experiment == record.experiment:
                name = f"config {record.config_name}"
                values |= flat_config(configs.to_dict(config))
        return name, list(values.items())


def differences(record: RunRecord, base: Base) -> dict[str, tuple[Value, Value]]:
    """Return where a run's config differs from what it was made from: by full key, what it has and what it would have.

    Left out are keys that only one of them has, as they are of another version of the program, and ``tracking``, on
    which no number depends.
    """
    return {
        key: (value, base.values[key])
        for key, value in record.config.items()
        if key in base.values and not key.startswith("tracking.") and not _is_same(value, base.values[key])
    }


def default_values(experiment: str, choices: Mapping[str, str]) -> dict[str, Value]:
    """Return the defaults of an experiment's config by full keys; those without a default are left out.

    Args:
        experiment: its name.
        choices: names that choose groups, by the group, such as ``{"task": "linear"}``.

    Raises:
        ConfigError: for an unknown experiment or choice.
    """
    from iclgd import config as configs
    from iclgd.typed_values import kinds_of

    found = configs.find_experiment(experiment)
    kind: type = found.config
    kinds = dict(kinds_of(kind))
    for group, (default, known) in found.chosen_groups.items():
        name = choices.get(group, default)
        if name not in known:
            raise configs.ConfigError(f"{group}.name={name}: there is no such {group} here")
        kinds[group] = known[name]
    return flat_config(_defaults(kind, kinds, None))


def _defaults(kind: type, kinds: Mapping[str, Any], base: Any) -> dict[str, Any]:
    """Return a dataclass's defaults, nested; those that a group's own default has instead are in ``base``."""
    from omegaconf import MISSING

    from iclgd.typed_values import kinds_of

    values: dict[str, Any] = {}
    for field in dataclasses.fields(kind):
        default = MISSING if field.default is dataclasses.MISSING else field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        if base is not None:
            default = getattr(base, field.name)
        inner = kinds[field.name]
        if isinstance(inner, type) and dataclasses.is_dataclass(inner):
            values[field.name] = _defaults(
                inner, kinds_of(cast(type, inner)), default if isinstance(default, inner) else None
            )
        elif default != MISSING:
            values[field.name] = default
    return values


def _choices(record: RunRecord) -> Iterable[tuple[str, str]]:
    """Return the names in a run's groups, some of which choose the group's class."""
    for key, value in record.config.items():
        group, _, last = key.partition(".")
        if last == "name" and isinstance(value, str):
            yield group, value


def _is_same(one: Value, other: Value) -> bool:
    """Say whether two values are the same; a list may have been one of other numbers, and NaN is itself."""
    return (one == other and isinstance(one, bool) == isinstance(other, bool)) or (one != one and other != other)


def _restored(value: Any) -> Value:
    return tuple(map(_restored, value)) if isinstance(value, list) else value


def _fingerprint() -> str:
    """Return what changes when a file changes by which a config is resolved."""
    files: list[Path] = [*shipped.PACKAGE.rglob("*.py"), *shipped.names("config").values()]
    stamps = sorted(f"{path} {(status := path.stat()).st_mtime_ns} {status.st_size}" for path in files)
    return hashlib.sha256("\n".join(stamps).encode()).hexdigest()
