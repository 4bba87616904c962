"""The search space of a sweep: what stands below ``parameters`` in its file."""

from collections.abc import Iterator, Mapping
from typing import Any

from iclgd.sweeps.file.distributions import make_parameter
from iclgd.sweeps.file.errors import SweepError
from iclgd.sweeps.file.parameter import Parameter


def parse_parameters(content: Mapping[str, Any], method: str) -> tuple[Parameter, ...]:
    """Read what stands below ``parameters`` in a sweep file; nested ones get keys with dots.

    Args:
        content: keys and W&B's settings of each.
        method: of the sweep; a grid needs parameters that can be listed, each value once.

    Raises:
        SweepError: for anything that is not W&B's schema, or that cannot be drawn; without the file's name.
    """
    found: dict[str, Parameter] = {}
    for key, settings in flat(content):
        if twice := next((other for other in found if overlap(key, other)), None):
            raise SweepError(f"parameters.{key}: given twice, nested or with dots (as parameters.{twice})")
        found[key] = make_parameter(key, settings, method)
    if not found:
        raise SweepError("parameters: must have at least one, such as {seed: {values: [0, 1]}}")
    return tuple(found.values())


def overlap(first: str, second: str) -> bool:
    """Say whether two keys are the same, or one is a group that has the other."""
    return f"{first}.".startswith(f"{second}.") or f"{second}.".startswith(f"{first}.")


def flat(content: Any, prefix: str = "", outer: tuple[int, ...] = ()) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Give every key with dots, and W&B's settings of it.

    Args:
        content: what stands below ``parameters``, in the file or in another parameter.
        prefix: of the keys; that of the other parameter.
        outer: ids of what ``content`` lies in.

    Raises:
        SweepError: for what is not keys and settings.
    """
    where = f"parameters.{prefix}".rstrip(".")
    if not isinstance(content, Mapping):
        raise SweepError(f"{where}: must be keys and their distributions, such as {{seed: {{values: [0, 1]}}}}")
    if id(content) in outer:  # by an anchor of YAML
        raise SweepError(f"{where}: contains itself")
    for name, settings in content.items():
        key = f"{prefix}{name}"
        if not isinstance(name, str) or not all(part.isidentifier() for part in name.split(".")):
            raise SweepError(f"{where}: {name!r} is not a key of the config, such as model.num_layers")
        if not isinstance(settings, Mapping) or not settings:
            raise SweepError(f"parameters.{key}: must be settings such as {{values: [1, 2]}}, got {settings!r:.80}")
        if "parameters" not in settings:
            yield key, settings
        elif len(settings) > 1:
            others = ", ".join(str(each) for each in settings if each != "parameters")
            raise SweepError(f"parameters.{key}: nested parameters stand alone, without: {others}")
        else:
            yield from flat(settings["parameters"], f"{key}.", (*outer, id(content)))
