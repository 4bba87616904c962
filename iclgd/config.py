"""One typed config object: the dataclasses of every part, composed, read from YAML and ``key=value``.

Each dataclass stands above the class that it configures and checks its own values; nothing is defined twice.
"""

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from pathlib import Path
from typing import Any, cast

import yaml
from omegaconf import MISSING, OmegaConf

from iclgd import yaml_files
from iclgd.checks import InputError, did_you_mean, note_choices
from iclgd.experiments import EXPERIMENTS
from iclgd.experiments.protocol import Experiment as Experiment
from iclgd.experiments.protocol import ExperimentConfig as ExperimentConfig
from iclgd.field_documentation import documentation_of
from iclgd.messages import first_line
from iclgd.typed_values import check_known, kinds_of, read_group, read_node, read_text


class ConfigError(InputError):
    """A config that cannot be run."""


@dataclass(frozen=True)
class Typed:
    """Values for an experiment's config: keys and types are checked, values are not yet."""

    kind: type  # of the config
    kinds: Mapping[str, Any]  # of its fields, with those groups that a name has chosen
    values: Mapping[str, Any]  # those that are given; of groups again by name

    def kind_of(self, key: str) -> Any:
        """Return the type of a key with dots; ``None`` if there is none."""
        kinds: Mapping[str, Any] = self.kinds
        *groups, last = key.split(".")
        for group in groups:
            kind = kinds.get(group)
            kinds = kinds_of(kind) if isinstance(kind, type) and is_dataclass(kind) else {}
        return kinds.get(last)


@dataclass(frozen=True)
class _Given:
    """What one place gives a key, or with no key a whole file."""

    source: str  # for messages
    key: tuple[str, ...]
    written: yaml.Node | str  # a text is one of the command line


def find_experiment(name: str | None) -> Experiment[Any, Any]:
    """Return an experiment by its name.

    Raises:
        ConfigError: for an unknown name.
    """
    return cast(Experiment[Any, Any], _choose("experiment", name, EXPERIMENTS).load())


def load(path: Path, overrides: Sequence[str] = (), may_lack: bool = False) -> ExperimentConfig:
    """Read a YAML file, apply ``key=value`` overrides, and return the checked config.

    Args:
        path: the file. A text that it leaves to whoever runs it is ``???`` there, as OmegaConf has it.
        overrides: on it.
        may_lack: whether such texts may be left open: a config that is shown, and not run.

    Raises:
        ConfigError: for a missing or unreadable file, an unknown key, a wrong type or value, a bad combination.
    """
    return complete(typed(path, {"command line": overrides}), path, may_lack)


def typed(path: Path, layers: Mapping[str, Sequence[str]]) -> Typed:
    """Return a YAML file with ``key=value`` texts on it; keys and types are checked, values are not yet.

    Args:
        path: the file.
        layers: where texts come from, for messages, and the texts; later ones win.

    Raises:
        ConfigError: for a missing or unreadable file, an unknown key, a wrong type.
    """
    given = [_from_file(path)]
    for source, texts in layers.items():
        given += _from_texts(source, texts)
    experiment = find_experiment(_given_name(given, ("experiment",)))
    kind: type = experiment.config
    kinds = dict(kinds_of(kind))
    for group, (default, choices) in experiment.chosen_groups.items():
        name = _given_name(given, (group, "name"))
        kinds[group] = _choose(f"{group}.name", default if name is None else name, choices)
    return _with(Typed(kind, kinds, {}), given)


def overlaid(config: Typed, source: str, texts: Sequence[str]) -> Typed:
    """Return a typed config with one more layer, which chooses no other groups; see :func:`typed`."""
    return _with(config, _from_texts(source, texts))


def complete(config: Typed, path: Path, may_lack: bool = False) -> ExperimentConfig:
    """Return a typed config as dataclasses, which check their values; arguments are those of :func:`load`.

    Raises:
        ConfigError: for a missing key, a wrong value, a bad combination.
    """
    try:
        if not may_lack:
            _check_all_given(config.kind, config.kinds, config.values, "")
        return cast(ExperimentConfig, _build(config.kind, config.kinds, config.values, ""))
    except _MissingKeyError as error:
        raise ConfigError(f"{path}: {error}") from None
    except (ValueError, OverflowError) as error:
        raise ConfigError(first_line(error)) from None


def to_yaml(config: ExperimentConfig) -> str:
    """Return the resolved config as YAML, every key included; it holds no character that a terminal might obey."""
    text = OmegaConf.to_yaml(OmegaConf.structured(config))
    if all(line.isprintable() for line in text.split("\n")):
        return text
    return yaml.dump(to_dict(config), Dumper=_Escaping, sort_keys=False)


def to_dict(config: ExperimentConfig) -> dict[str, Any]:
    """Return the resolved config as nested dictionaries of plain values."""
    container = OmegaConf.to_container(OmegaConf.structured(config))
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}


class _Escaping(yaml.SafeDumper):
    """Writes texts in double quotes, with all but ASCII escaped."""


_Escaping.add_representer(str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"'))


class _MissingKeyError(ValueError):
    """A key without a default that is not given."""


def _from_file(path: Path) -> _Given:
    try:
        _, node = yaml_files.read(path)
    except yaml_files.YamlError as error:
        raise ConfigError(f"{path}: {error}") from None
    except InputError as error:
        raise ConfigError(str(error)) from None
    if not isinstance(node, yaml.MappingNode):
        raise ConfigError(f"{path}: expected keys and values, such as 'experiment: regression'")
    return _Given(str(path), (), node)


def _from_texts(source: str, texts: Sequence[str]) -> list[_Given]:
    given = []
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not all(part.isidentifier() for part in key.split(".")):
            raise ConfigError(f"{source}: expected key=value, such as model.num_layers=2, got {text!r}")
        given.append(_Given(source, tuple(key.split(".")), value))
    return given


def _with(config: Typed, given: Sequence[_Given]) -> Typed:
    values = config.values
    for each in given:
        values = _merged(values, _values(each, config))
    return dataclasses.replace(config, values=values)


def _values(given: _Given, config: Typed) -> dict[str, Any]:
    """Return what is given as typed values by name."""
    kinds: Mapping[str, Any] = config.kinds
    kind: Any = config.kind
    with _at(given):
        if not given.key:
            return read_group("", kind, kinds, cast(yaml.Node, given.written))
        for depth, name in enumerate(given.key):
            prefix = "".join(f"{each}." for each in given.key[:depth])
            check_known(prefix, name, kinds, config.kinds)
            kind = kinds[name]
            kinds = kinds_of(kind) if isinstance(kind, type) and is_dataclass(kind) else {}
        value = read_text(".".join(given.key), kind, cast(str, given.written))
    for name in reversed(given.key):
        value = {name: value}
    return cast(dict[str, Any], value)


def _given_name(given: Sequence[_Given], key: tuple[str, ...]) -> str | None:
    """Return the text that a key is given last, wherever it stands; ``None`` if it is not."""
    name = None
    for each in given:
        with _at(each):
            if each.key == key:
                name = read_text(".".join(key), str, cast(str, each.written))
            elif each.key == key[: len(each.key)]:
                node = each.written if isinstance(each.written, yaml.Node) else yaml_files.parse(each.written)
                for part in key[len(each.key) :]:  # what is no group is refused when values are read
                    inner = yaml_files.entries(node) if isinstance(node, yaml.MappingNode) else []
                    node = next((value for known, value in inner if known.value == part), None)
                if node is not None:
                    name = read_node(".".join(key), str, node)
    return name


@contextlib.contextmanager
def _at(given: _Given) -> Iterator[None]:
    """Say in errors where a value comes from."""
    try:
        yield
    except yaml_files.YamlError as error:
        where = f"{'.'.join(given.key)}={given.written}" if isinstance(given.written, str) else None
        raise ConfigError(f"{given.source}: {f'{where!r}: ' if where else ''}{error}") from None
    except InputError as error:
        raise ConfigError(f"{given.source}: {error}") from None


def _merged(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested values with others on them."""
    merged = dict(first)
    for name, value in second.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(name), Mapping)
        merged[name] = _merged(merged[name], value) if both else value
    return merged


def _build(kind: type, kinds: Mapping[str, Any], values: Mapping[str, Any], prefix: str, base: Any = None) -> Any:
    """Return a dataclass with the given values, the others as they are in ``base`` or by default."""
    arguments = {}
    for field in dataclasses.fields(kind):
        key, inner = f"{prefix}{field.name}", kinds[field.name]
        is_given = field.name in values
        default = _default(field) if base is None else getattr(base, field.name)
        if isinstance(inner, type) and is_dataclass(inner):
            needed = [f"{key}.{each.name}" for each in dataclasses.fields(inner) if _default(each) == MISSING]
            if not is_given and default == MISSING and needed:
                raise _MissingKeyError(f"{key} is missing ({', '.join(needed)} has no default)")
            own = None if default == MISSING else default
            arguments[field.name] = _build(inner, kinds_of(inner), values.get(field.name, {}), f"{key}.", own)
        elif is_given:
            arguments[field.name] = values[field.name]
        elif default == MISSING:
            raise _MissingKeyError(f"{key} is missing")
        else:
            arguments[field.name] = default
    return kind(**arguments)


def _check_all_given(kind: type, kinds: Mapping[str, Any], values: Mapping[str, Any], prefix: str) -> None:
    """Refuse a text that is left to whoever runs the config."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            _check_all_given(kinds[name], kinds_of(kinds[name]), value, f"{prefix}{name}.")
        elif value == MISSING:
            meaning = documentation_of(kind).get(name, "").rstrip(".")
            raise _MissingKeyError(f"give {prefix}{name}={name.upper()}{meaning and f': {meaning}'}")


def _default(field: dataclasses.Field[Any]) -> Any:
    """Return a field's default, OmegaConf's ``MISSING`` if it has none."""
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return MISSING if field.default is dataclasses.MISSING else field.default


def _choose(key: str, name: Any, choices: Mapping[str, Any]) -> Any:
    note_choices(key, choices)
    if name not in choices:
        hint = did_you_mean(name, choices)
        raise ConfigError(f"{key} must be one of: {', '.join(choices)}; got {name!r}{hint}")
    return choices[name]
