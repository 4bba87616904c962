"""Check a sweep against the config that it runs, so that mistakes are found before anything starts."""

from collections.abc import Hashable, Mapping, Sequence
from functools import cache
from typing import Any

from iclgd.checks import InputError
from iclgd.shipped import find
from iclgd.sweeps.file.errors import SweepError
from iclgd.sweeps.file.parameter import Parameter
from iclgd.sweeps.file.schema import SweepFile
from iclgd.sweeps.file.space import overlap

MAX_NUM_LOADED = 500  # planned points that are loaded to be checked: two seconds


def check(sweep: SweepFile, points: Sequence[Mapping[str, Any]], overrides: Sequence[str]) -> None:
    """Check a sweep against the config that it runs.

    First every key and every value by itself: its name and type. Then whole points as ``iclgd run`` loads them, with
    the dataclasses' checks of values and combinations: at most 500, spread evenly over those that are planned.

    Args:
        sweep: what to check.
        points: raw values of planned points; none for a Bayesian search.
        overrides: ``key=value`` for all trials.

    Raises:
        InputError: for the first mistake.
    """
    for override in overrides:
        key = override.partition("=")[0]
        if swept := next((parameter.key for parameter in sweep.parameters if overlap(key, parameter.key)), None):
            raise SweepError(f"command line: {override}: the sweep gives {swept} its values")
    configs = _Configs(sweep, tuple(overrides))
    configs.check_values()
    number = min(len(points), MAX_NUM_LOADED)
    for index in range(number):
        configs.check_point(points[index * (len(points) - 1) // max(1, number - 1)])


class _Configs:
    """A sweep's config with values on it.

    Names such as ``task.name`` choose which keys there are. They are put on first, and kept for other points.
    """

    def __init__(self, sweep: SweepFile, overrides: tuple[str, ...]) -> None:
        self.sweep = sweep
        self.overrides = overrides
        self.config = find("config", sweep.config)
        self.choosing = [parameter for parameter in sweep.parameters if _may_choose(parameter)]
        self.others = [parameter for parameter in sweep.parameters if parameter not in self.choosing]
        self._with_choices = cache(self._load_with_choices)

    def check_values(self) -> None:
        """Try the name and type of every key and value; in a grid, refuse values that are the same to the config."""
        first = {parameter.key: parameter.examples()[0] for parameter in self.choosing}
        choices = [first]
        for parameter in self.choosing:
            choices += [{**first, parameter.key: raw} for raw in parameter.examples()[1:]]
        for chosen in choices:
            config = self._with_choices(tuple(parameter.override(chosen[parameter.key]) for parameter in self.choosing))
            for parameter in self.others:
                self._check_values_of(parameter, config)

    def _check_values_of(self, parameter: Parameter, config: Any) -> None:
        from iclgd.config import overlaid

        source = f"{self.sweep.path}: parameters.{parameter.key}"
        if config.kind_of(parameter.key) in (str, str | None):
            for raw in parameter.examples():
                if isinstance(value := parameter.value(raw), bool | int | float):  # 0012345 is 5349 to W&B
                    raise SweepError(f"{source}: must be text, got {value!r}; put what is text in quotes")
        seen: dict[Hashable, str] = {}
        for raw in parameter.examples():
            override = parameter.override(raw)
            values = overlaid(config, source, [override])
            typed = repr(values.values) if self.sweep.method == "grid" else override
            if seen.setdefault(typed, override) != override:
                raise SweepError(f"{source}: {seen[typed]} and {override} are the same; a grid runs each value once")

    def check_point(self, raws: Mapping[str, Any]) -> None:
        """Load a point completely."""
        from iclgd.config import complete, overlaid

        chosen = tuple(parameter.override(raws[parameter.key]) for parameter in self.choosing)
        others = [parameter.override(raws[parameter.key]) for parameter in self.others]
        try:
            complete(overlaid(self._with_choices(chosen), "parameters", others), self.config)
        except InputError as error:
            point = " ".join(self.sweep.overrides(raws))
            given = f" with {' '.join(self.overrides)}" if self.overrides else ""
            raise SweepError(f"{self.sweep.path}: point {point}{given}: {error}") from None

    def _load_with_choices(self, chosen: tuple[str, ...]) -> Any:
        from iclgd.config import typed

        path = self.sweep.path
        layers: dict[str, Sequence[str]] = {f"{path}: command": self.sweep.fixed}
        layers |= {f"{path}: parameters.{text.partition('=')[0]}": [text] for text in chosen}
        try:
            return typed(self.config, {**layers, "command line": self.overrides})
        except InputError as error:
            for parameter in self.choosing:
                if str(error).startswith(f"{parameter.key} must be one of"):
                    raise SweepError(f"{path}: parameters.{parameter.key}: {error}") from None
            raise


def _may_choose(parameter: Parameter) -> bool:
    """Say whether a parameter may decide which keys the config has."""
    is_name = parameter.key == "experiment" or parameter.key.endswith(".name")
    return is_name or any(isinstance(parameter.value(raw), dict) for raw in parameter.examples())
