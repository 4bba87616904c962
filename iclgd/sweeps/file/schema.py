"""Sweep files: W&B's own schema, and nothing else."""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iclgd import yaml_files
from iclgd.checks import did_you_mean
from iclgd.files import FileError, name_for_folder
from iclgd.sweeps.file.errors import SweepError
from iclgd.sweeps.file.parameter import Parameter
from iclgd.sweeps.file.space import overlap, parse_parameters
from iclgd.yaml_files import YamlError

METHODS = ("grid", "random", "bayes")
GOALS = ("minimize", "maximize")
IMPUTATIONS = {"impute": ("latest", "best", "worst"), "impute_while_running": ("latest", "best", "worst", "false")}
TEXTS = ("name", "description", "program", "project", "entity", "apiVersion", "kind")
KEYS = ("method", "metric", "parameters", "command", "early_terminate", "run_cap", *TEXTS)
ARGUMENTS = "${args_no_hyphens}"
STARTS = (["iclgd", "run"], ["${interpreter}", "-m", "iclgd.cli", "run"])
COMMAND_EXAMPLE = f'command: ["${{env}}", iclgd, run, CONFIG, key=value, "{ARGUMENTS}"]'
MAX_NUM_POINTS = 100_000  # of a grid
MOST_VALUES = 2 * MAX_NUM_POINTS  # that a file may have


@dataclass(frozen=True)
class Metric:
    """What is optimized."""

    name: str
    goal: str = "minimize"


@dataclass(frozen=True)
class Hyperband:
    """When trials end early: from ``min_iter`` evaluations on, or at ``s`` points up to ``max_iter``."""

    min_iter: int | None = None
    max_iter: int | None = None
    s: int | None = None
    eta: float = 3
    strict: bool = False


@dataclass(frozen=True)
class SweepFile:
    """A sweep file."""

    path: Path
    text: str
    content: dict[str, Any]
    name: str  # the file's stem
    method: str
    metric: Metric | None
    parameters: tuple[Parameter, ...]
    config: Path
    fixed: tuple[str, ...]  # key=value of the command
    early_termination: Hyperband | None
    run_cap: int | None

    @property
    def num_points(self) -> int:
        """Return the size of the grid."""
        return math.prod(len(parameter.grid()) for parameter in self.parameters)

    def grid(self) -> Iterator[dict[str, Any]]:
        """Return all points of the grid, as raw values; the last key changes fastest."""
        keys = [parameter.key for parameter in self.parameters]
        for raws in itertools.product(*(parameter.grid() for parameter in self.parameters)):
            yield dict(zip(keys, raws, strict=True))

    def overrides(self, raws: Mapping[str, Any]) -> list[str]:
        """Return a point as ``key=value`` for the command line."""
        return [parameter.override(raws[parameter.key]) for parameter in self.parameters]


def read(path: Path) -> SweepFile:
    """Read a sweep file; whether the config has its keys is left to :mod:`iclgd.sweeps.file.checking`.

    Raises:
        SweepError: for anything that is missing or not as W&B's schema has it.
    """
    try:
        name_for_folder(path)
        text, node = yaml_files.read(path, MOST_VALUES)
        return _parse(path, text, None if node is None else yaml_files.plain(node))
    except FileError as error:
        raise SweepError(str(error)) from None
    except (SweepError, YamlError) as error:
        raise SweepError(f"{path}: {error}") from None


def _parse(path: Path, text: str, content: Any) -> SweepFile:
    if not isinstance(content, dict):
        raise SweepError(f"expected the keys of a sweep: {', '.join(KEYS)}")
    _refuse_unknown("", content, KEYS)
    for key in TEXTS:
        if key in content and not isinstance(content[key], str):
            raise SweepError(f"{key}: must be text, got {content[key]!r:.80}")
    method = _choice("method", content.get("method"), METHODS)
    metric = _metric(content["metric"]) if "metric" in content else None
    early = _hyperband(content["early_terminate"]) if "early_terminate" in content else None
    if metric is None and (method == "bayes" or early):
        needs = "method: bayes" if method == "bayes" else "early_terminate"
        raise SweepError(f"metric: {needs} needs one, such as metric: {{name: loss/transformer, goal: minimize}}")
    if "parameters" not in content:
        raise SweepError("parameters: must have at least one, such as {seed: {values: [0, 1]}}")
    parameters = parse_parameters(content["parameters"], method)
    config, fixed = _command(content.get("command"))
    for item in fixed:
        key = item.partition("=")[0]
        if swept := next((parameter.key for parameter in parameters if overlap(key, parameter.key)), None):
            raise SweepError(f"command: {item}: parameters.{swept} gives its values")
    run_cap = _count("run_cap", content["run_cap"]) if "run_cap" in content else None
    sweep = SweepFile(path, text, content, path.stem, method, metric, parameters, config, fixed, early, run_cap)
    if method == "grid" and sweep.num_points > MAX_NUM_POINTS:
        raise SweepError(f"parameters: a grid of {sweep.num_points:,} points; at most {MAX_NUM_POINTS:,} are allowed")
    return sweep


def _metric(content: Any) -> Metric:
    if not isinstance(content, dict) or not isinstance(content.get("name"), str) or not content["name"]:
        raise SweepError(f"metric: must be such as {{name: loss/transformer, goal: minimize}}, got {content!r:.80}")
    _refuse_unknown("metric.", content, ("name", "goal", "target", *IMPUTATIONS))
    for key, allowed in IMPUTATIONS.items():
        if key in content:
            _choice(f"metric.{key}", content[key], allowed)
    if "target" in content and (isinstance(content["target"], bool) or not isinstance(content["target"], int | float)):
        raise SweepError(f"metric.target: must be a number, got {content['target']!r:.80}")
    return Metric(content["name"], _choice("metric.goal", content.get("goal", "minimize"), GOALS))


def _hyperband(content: Any) -> Hyperband:
    if not isinstance(content, dict):
        raise SweepError(f"early_terminate: must be such as {{type: hyperband, min_iter: 3}}, got {content!r:.80}")
    _refuse_unknown("early_terminate.", content, ("type", "min_iter", "max_iter", "s", "eta", "strict"))
    _choice("early_terminate.type", content.get("type"), ("hyperband",))
    counts = {
        key: _count(f"early_terminate.{key}", content[key]) for key in ("min_iter", "max_iter", "s") if key in content
    }
    if set(counts) not in ({"min_iter"}, {"max_iter", "s"}):
        raise SweepError("early_terminate: must have min_iter, or max_iter and s")
    eta, strict = content.get("eta", Hyperband.eta), content.get("strict", Hyperband.strict)
    if isinstance(eta, bool) or not isinstance(eta, int | float) or not 1 < eta < math.inf:
        raise SweepError(f"early_terminate.eta: must be a number above 1, got {eta!r:.80}")
    if not isinstance(strict, bool):
        raise SweepError(f"early_terminate.strict: must be true or false, got {strict!r:.80}")
    return Hyperband(**counts, eta=eta, strict=strict)


def _command(content: Any) -> tuple[Path, tuple[str, ...]]:
    """Return the config and the ``key=value`` of a command."""
    example = f"write it like {COMMAND_EXAMPLE}"
    if not isinstance(content, list) or not all(isinstance(item, str) for item in content):
        raise SweepError(f"command: must be a list of texts; {example}")
    items = content[1:] if content[:1] == ["${env}"] else content
    start = next((start for start in STARTS if items[: len(start)] == start), None)
    if start is None:
        raise SweepError(f"command: must start iclgd run; {example}")
    rest = items[len(start) :]
    if not rest or rest[-1] != ARGUMENTS:
        raise SweepError(f"command: must end with {ARGUMENTS}, the point's key=value; {example}")
    config, *fixed = rest[:-1] or [""]
    if not config or config.startswith(("-", "${")) or "=" in config:
        raise SweepError(f"command: iclgd run needs a config, by name or path; {example}")
    for item in fixed:
        key, equals, _ = item.partition("=")
        if not equals or not all(part.isidentifier() for part in key.split(".")):
            raise SweepError(f"command: expected key=value, such as model.num_layers=2, got {item!r}; {example}")
    return Path(config), tuple(fixed)


def _refuse_unknown(group: str, content: dict[Any, Any], known: Sequence[str]) -> None:
    for key in content:
        if key not in known:
            raise SweepError(f"unknown key {group}{key}; known here: {', '.join(known)}{did_you_mean(key, known)}")


def _choice(key: str, value: Any, allowed: Sequence[str]) -> str:
    if not isinstance(value, str) or value not in allowed:
        raise SweepError(
            f"{key}: must be one of: {', '.join(allowed)}; got {value!r:.80}{did_you_mean(value, allowed)}"
        )
    return value


def _count(key: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise SweepError(f"{key}: must be a whole number of at least 1, got {value!r:.80}")
    return value
