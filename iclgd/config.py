"""One typed config object: the dataclasses of every part, composed, read from YAML and ``key=value``.

Each dataclass stands above the class that it configures and checks its own values; nothing is defined twice.
"""

import difflib
import importlib
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, cast, get_origin, get_type_hints

import yaml
from omegaconf import DictConfig, OmegaConf, read_write
from omegaconf.errors import ConfigKeyError, MissingMandatoryValue, OmegaConfBaseException, ValidationError

from iclgd.checks import InputError
from iclgd.modules.trainer import DeviceConfig
from iclgd.tracking.wandb import TrackingConfig


class ConfigError(InputError):
    """A config that cannot be run."""


class ExperimentConfig(Protocol):
    """What the config of every experiment has; its other groups are its own."""

    @property
    def experiment(self) -> str:
        """Return its name."""

    @property
    def seed(self) -> int:
        """Return the seed of everything random."""

    @property
    def trainer(self) -> DeviceConfig:
        """Return where to compute."""

    @property
    def tracking(self) -> TrackingConfig:
        """Return how the run is tracked."""


EXPERIMENTS = {
    "regression": "in-context regression: train a toy transformer, compare it with gradient descent",
    "text": "in-context learning against finetuning of a language model on text tasks",
    "language_modeling": "train a small language model that learns in context",
}


def experiment_module(name: str) -> ModuleType:
    """Return ``iclgd.experiments.NAME``; imported when chosen, as each needs libraries that the others do not.

    Raises:
        ConfigError: for an unknown name.
    """
    _choose("experiment", name, EXPERIMENTS)
    return importlib.import_module(f"iclgd.experiments.{name}")


def load(path: Path, overrides: Sequence[str] = ()) -> ExperimentConfig:
    """Read a YAML file, apply ``key=value`` overrides, and return the checked config.

    Raises:
        ConfigError: for a missing or unreadable file, an unknown key, a wrong type or value, a bad combination.
    """
    return complete(typed(path, {"command line": overrides}), path)


def typed(path: Path, layers: Mapping[str, Sequence[str]]) -> DictConfig:
    """Return a YAML file with ``key=value`` texts on it; keys and types are checked, values are not yet.

    Args:
        path: the file.
        layers: where texts come from, for messages, and the texts; later ones win.

    Raises:
        ConfigError: for a missing or unreadable file, an unknown key, a wrong type.
    """
    sources = {str(path): _from_file(path)}
    sources |= {source: _from_texts(source, texts) for source, texts in layers.items()}
    config = _defaults(sources)
    for source, values in sources.items():
        config = _merged(config, source, values)
    return config


def overlaid(config: DictConfig, source: str, texts: Sequence[str]) -> DictConfig:
    """Return a typed config with one more layer, which chooses no other groups; see :func:`typed`."""
    return _merged(config, source, _from_texts(source, texts))


def complete(config: DictConfig, path: Path) -> ExperimentConfig:
    """Return a typed config as dataclasses, which check their values.

    Raises:
        ConfigError: for a missing key, a wrong value, a bad combination.
    """
    try:
        resolved = OmegaConf.to_object(config)
    except MissingMandatoryValue as error:
        raise ConfigError(f"{path}: {error.full_key} is missing") from None
    except (OmegaConfBaseException, ValueError) as error:
        raise ConfigError(_first_line(error)) from None
    return cast(ExperimentConfig, resolved)


def to_yaml(config: ExperimentConfig) -> str:
    """Return the resolved config as YAML, every key included."""
    return OmegaConf.to_yaml(OmegaConf.structured(config))


def to_dict(config: ExperimentConfig) -> dict[str, Any]:
    """Return the resolved config as nested dictionaries of plain values."""
    container = OmegaConf.to_container(OmegaConf.structured(config))
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}


def _from_file(path: Path) -> DictConfig:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        close = difflib.get_close_matches(path.name, [p.name for p in path.parent.glob("*.yaml")], n=1)
        hint = f"; did you mean {path.parent / close[0]}?" if close else ""
        raise ConfigError(f"{path}: no such file{hint}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({_first_line(error)})") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML ({_place(error)})") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: expected keys and values, such as 'experiment: regression'")
    return OmegaConf.create(values)


def _from_texts(source: str, texts: Sequence[str]) -> DictConfig:
    for text in texts:
        key, equals, _ = text.partition("=")
        if not equals or not all(part.isidentifier() for part in key.split(".")):
            raise ConfigError(f"{source}: expected key=value, such as model.num_layers=2, got {text!r}")
    for text in texts:
        try:
            OmegaConf.from_dotlist([text])
        except (yaml.YAMLError, OmegaConfBaseException) as error:
            raise ConfigError(f"{source}: {text!r}: not valid YAML ({_place(error)})") from None
    return OmegaConf.from_dotlist(list(texts))


def _merged(config: DictConfig, source: str, values: DictConfig) -> DictConfig:
    try:
        merged = OmegaConf.merge(config, values)
    except (OmegaConfBaseException, TypeError) as error:
        raise ConfigError(f"{source}: {_explain(error, values, config)}") from None
    assert isinstance(merged, DictConfig)
    return merged


def _defaults(sources: dict[str, DictConfig]) -> DictConfig:
    """Return the typed defaults of the chosen experiment, with those groups that a name in them chooses."""
    chosen = OmegaConf.merge(*sources.values())
    experiment = experiment_module(OmegaConf.select(chosen, "experiment"))
    defaults = OmegaConf.structured(experiment.Config)
    with read_write(defaults):  # the chosen replaces the one by default; merged, it would have to be of its class
        for group, (default, choices) in experiment.CHOSEN_GROUPS.items():
            name = OmegaConf.select(chosen, f"{group}.name", default=default)
            defaults[group] = OmegaConf.structured(_choose(f"{group}.name", name, choices))
    assert isinstance(defaults, DictConfig)
    return defaults


def _choose(key: str, name: Any, choices: dict[str, Any]) -> Any:
    if name not in choices:
        raise ConfigError(f"{key} must be one of: {', '.join(choices)}; got {name!r}")
    return choices[name]


def _explain(error: Exception, values: DictConfig, typed: DictConfig) -> str:
    """Turn OmegaConf's error into one line: the full key, what is wrong, what is allowed."""
    key = getattr(error, "full_key", None)
    if isinstance(error, ConfigKeyError) and isinstance(error.parent_node, DictConfig):
        known = [str(name) for name in error.parent_node]
        close = difflib.get_close_matches(str(error.key), known, n=1)
        hint = f"did you mean {key.removesuffix(str(error.key))}{close[0]}? " if close and key else ""
        return f"unknown key {key}; {hint}Known here: {', '.join(known)}"
    if isinstance(error, ValidationError) and key:
        return f"{key} must be {_expected_type(key, typed)}, got {OmegaConf.select(values, key)!r}"
    for group in (str(name) for name in typed if OmegaConf.is_dict(typed._get_node(name))):
        if group in values and not isinstance(values[group], DictConfig):  # OmegaConf names no key here
            return f"{group} must be {_expected_type(group, typed)}, got {values[group]!r}"
    return _first_line(error)


def _expected_type(key: str, typed: DictConfig) -> str:
    group, _, name = key.rpartition(".")
    parent = OmegaConf.get_type(typed, group) if group else OmegaConf.get_type(typed)
    kind = get_type_hints(parent).get(name) if is_dataclass(parent) else None
    if is_dataclass(kind):
        return f"a group of keys ({', '.join(f.name for f in fields(kind))})"
    names: dict[Any, str] = {
        int: "a whole number",
        float: "a number",
        bool: "true or false",
        str: "text",
        int | None: "a whole number or null",
    }
    return names.get(kind, "a list" if get_origin(kind) is list else "text or null")


def _place(error: Exception) -> str:
    """Return what is wrong with YAML, and where."""
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    return f"line {mark.line + 1}, column {mark.column + 1}: {problem}" if mark else _first_line(error)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
