"""The numbers of many settings at first sight: a row for each, and those published of the same task below it.

Settings that differ in their task alone have a row with their mean, as papers give it. Tasks are independent, so its
interval adds the squares of how far theirs reach to each side (Zou & Donner 2008, Statistics in Medicine 27).
"""

import math
from collections.abc import Mapping, Sequence

from iclgd.report.by_demonstrations import number_in
from iclgd.report.comparisons import Estimate
from iclgd.report.settings import SEEDS
from iclgd.review.document import Cell, Table
from iclgd.review.headline import names_of
from iclgd.review.published import PUBLISHED, Kind, how_other, mismatches
from iclgd.review.settings import Setting, is_setting, labels_of
from iclgd.review.texts import counted
from iclgd.runs.records import Value

LABELS = {  # of columns, as many have to stand side by side
    "accuracy/zero_shot": "zero-shot",
    "accuracy/in_context": "in-context",
    "accuracy/finetuned": "finetuned",
    "rec2ftp": "Rec2FTP, %",
    "sim_aou": "SimAOU",
    "sim_aou_random": "random",
    "sim_am": "SimAM",
    "sim_am_zero_shot": "zero-shot",
    "sim_am_delta": "difference form",
    "kendall": "Kendall",
    "kendall_random": "random",
    "update_similarity": "update similarity",
    "attention_demonstrations": "attention to demonstrations",
    "attention_demonstrations_even": "if even",
    "attention_right_label": "of that to the right label",
    "attention_right_label_even": "if even",
}
MOST_ROWS = 50  # settings
RATE, NUMBER = "finetune.learning_rate", "demonstrations.num"  # which papers chose for a task
OF_TASK = ("task.name", "task.data_dir")


def wide_headline(settings: Sequence[Setting]) -> Table:
    """Return a row for each setting of text runs, each with its published row, and for means over tasks.

    Args:
        settings: of the complete runs of a section, several.
    """
    shown = settings[:MOST_ROWS]
    names = list(dict.fromkeys(name for setting in shown for name in names_of(setting)))
    rows: list[list[Cell]] = []
    sources: dict[str, None] = {}
    is_text = settings[0].experiment == "text"
    for setting in shown:
        rows.append([setting.label, *_rate(setting), *map(setting.estimate, names)])
        rows += _published(setting.config, "published implementation", names, sources)
    for label, together in over_tasks(shown):
        rows.append(
            [label, *([None] * is_text), *(mean_over([each.estimate(name) for each in together]) for name in names)]
        )
        rows += _published(together[0].config, "paper", names, sources)
    draws = sorted({len(setting.repetitions) for setting in shown})
    notes = [
        f"Means over {' to '.join(map(str, draws))} draws of demonstrations, 95 % intervals over draws and queries"
    ]
    if draws[0] == 1:
        notes = ["Intervals of one draw of demonstrations are over its queries"]
    if sources:
        others = dict.fromkeys(filter(None, (how_other(each.config) for each in shown)))
        notes += [f"Beside the papers' numbers, {other}" for other in others]
    if len(settings) > len(shown):
        notes.append(f"The first {len(shown)} of {counted(len(settings), 'setting')}")
    labels = [LABELS.get(name) or _after(name) for name in names]
    return Table(
        "Headline numbers", ["setting", *(["rate"] * is_text), *labels], rows, ". ".join([*notes, *sources]) + "."
    )


def _after(name: str) -> str:
    return name if (number := number_in(name)) is None else f"after {number}"


def over_tasks(settings: Sequence[Setting]) -> list[tuple[str, list[Setting]]]:
    """Return the settings that differ in their task alone, at least two together, with a label."""
    groups: dict[frozenset[tuple[str, Value]], list[Setting]] = {}
    for setting in settings:
        groups.setdefault(frozenset(_without_task(setting.config).items()), []).append(setting)
    found = [each for each in groups.values() if len(each) > 1]
    labels = labels_of([_without_task(each[0].config) for each in found])
    return [
        (f"mean of {len(together)} tasks{f', {label}' if label else ''}", together)
        for label, together in zip(labels, found, strict=True)
    ]


def mean_over(estimates: Sequence[Estimate | None]) -> Estimate | None:
    """Return the mean of independent numbers; ``None`` if one is not there, NaN if one is not finite.

    Example:
        >>> mean_over([Estimate(0.5, 0.25, 0.5), Estimate(1.0, 1.0, 1.0)])
        Estimate(value=0.75, low=0.625, high=0.75)
    """
    there = [each for each in estimates if each is not None]
    if not there or len(there) < len(estimates):
        return None
    mean = sum(each.value for each in there) / len(there)
    below = math.hypot(*(each.value - each.low for each in there)) / len(there)
    above = math.hypot(*(each.high - each.value for each in there)) / len(there)
    return Estimate(mean, mean - below, mean + above)


def _without_task(config: Mapping[str, Value]) -> dict[str, Value]:
    return {key: value for key, value in config.items() if is_setting(key) and key not in (*OF_TASK, *SEEDS)}


def _published(
    config: Mapping[str, Value], kind: Kind, names: Sequence[str], sources: dict[str, None]
) -> list[list[Cell]]:
    """Return the row of what was published of a task, or of papers' means, with whatever rate and demonstrations."""
    found = [each for each in PUBLISHED if each.kind == kind and not {*mismatches(each, config)} - {RATE, NUMBER}]
    if not found or config.get("experiment") != "text":
        return []
    sources.setdefault(found[0].source)
    (rate,), (number,) = (found[0].needs.get(key, (None,)) for key in (RATE, NUMBER))
    label = found[0].source.partition("]")[0] + "]" + (f" {number} demonstrations" if number is not None else "")
    numbers = {each.name: each.value for each in found}
    return [[label, rate if isinstance(rate, float) else None, *map(numbers.get, names)]]


def _rate(setting: Setting) -> list[Cell]:
    """Return the learning rate of a text run, which a search may have found."""
    if setting.experiment != "text":
        return []
    rates = {run.summary.get("search/learning_rate", run.config.get(RATE)) for run in setting.runs}
    rate = rates.pop()
    return [None if rates else float(rate) if isinstance(rate, int | float) else str(rate)]
