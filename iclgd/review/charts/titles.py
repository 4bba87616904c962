"""What a chart shows, in a line: config, model, task, how many tasks or queries, and seeds."""

from collections.abc import Hashable, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from iclgd.report.style import label
from iclgd.review.charts.groups import Group
from iclgd.review.document import Role
from iclgd.review.texts import counted, shortened

LONGEST = 40  # characters of a name that a user gave
OF_ANALYSES = "evaluation.num_tasks"
NUMBERS = {  # keys that say on how many things of a kind an experiment's numbers rest
    OF_ANALYSES: ("task", "tasks"),
    "task.num_queries": ("query", "queries"),
    "evaluation.num_sequences": ("sequence", "sequences"),
}
ROLES: Mapping[str, Role] = {
    "transformer": "transformer",
    "gd": "gd",
    "mlp_gd": "gd",
    "gd_plus_plus": "gd_plus_plus",
    "interpolated": "interpolated",
}


def role(predictor: str) -> Role:
    """Return the role of a learner."""
    return ROLES.get(predictor, "other")


def learner(predictor: str) -> str:
    """Return a learner's name in charts, as in figures."""
    return shortened(label(predictor), LONGEST)


def title(what: str, groups: Sequence[Group], analysis: str | None = None, of_tasks: bool = True) -> str:
    """Return a chart's title.

    Args:
        what: is shown.
        groups: of which.
        analysis: that has found it, if it is one.
        of_tasks: whether the numbers rest on as many tasks, queries or sequences as the config says.
    """
    configs = [group.config for group in groups]
    names = list(dict.fromkeys(run.run.config_name for group in groups for run in group.runs))
    parts = [shortened(", ".join(names), LONGEST)] if names else []
    parts += [text for text in (_model(configs), _task(configs)) if text]
    if analysis is not None:
        made = [run.run.made_with.get(analysis, {}) for group in groups for run in group.runs]
        configs = [{OF_ANALYSES: each["num_tasks"]} for each in made if "num_tasks" in each]
    parts += [_counted(configs, key, *words) for key, words in NUMBERS.items() if of_tasks and _all(configs, key)]
    parts.append(seeds_text(groups))
    if len(groups) == 1 and groups[0].label:
        parts.append(groups[0].label)
    return f"{what[:1].upper()}{what[1:]}: {'; '.join(parts)}"


def seeds_text(groups: Sequence[Group]) -> str:
    """Say how many seeds there are."""
    numbers = sorted({group.num_repetitions for group in groups})
    is_text = all(run.run.has_draws for group in groups for run in group.runs)
    what, many = ("draw of demonstrations", "draws of demonstrations") if is_text else ("seed", "seeds")
    if len(numbers) == 1:
        text = counted(numbers[0], what, many)
        return text if len(groups) == 1 else f"{len(groups)} settings of {text}"
    return f"{len(groups)} settings of {numbers[0]} to {numbers[-1]} {many}"


def _all(configs: Sequence[Mapping[str, Any]], key: str) -> list[Hashable]:
    """Return the values of a key, each once."""
    found = (config.get(key) for config in configs)
    return list(dict.fromkeys(value for value in found if isinstance(value, Hashable) and value is not None))


def _counted(configs: Sequence[Mapping[str, Any]], key: str, one: str, many: str) -> str:
    values = _all(configs, key)
    if len(values) > 1:
        return f"several numbers of {many}"
    number = values[0]
    return counted(number, one, many) if isinstance(number, int) else f"{shortened(number)} {many}"


def _model(configs: Sequence[Mapping[str, Any]]) -> str:
    if names := _all(configs, "model.name"):
        return "several models" if len(names) > 1 else f"model {shortened(PurePath(str(names[0])).name, LONGEST)}"
    numbers, kinds = _all(configs, "model.num_layers"), _all(configs, "model.attention")
    if len(numbers) > 1 or len(kinds) > 1:
        return "several models"
    kind = f" {shortened(kinds[0], LONGEST)}" if kinds else ""
    return f"{numbers[0]}{kind} layer{'s' * (numbers[0] != 1)}" if numbers else ""


def _task(configs: Sequence[Mapping[str, Any]]) -> str:
    names = _all(configs, "task.name")
    if len(names) > 1:
        return "several tasks"
    return f"task {shortened(PurePath(str(names[0])).name, LONGEST)}" if names else ""
