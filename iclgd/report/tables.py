"""Tables of one run."""

import re
from typing import Any

import numpy as np
from rich.table import Table

from iclgd.report.results import OF_A_LAYER, OF_A_SEED, mean_and_deviation, of_seeds
from iclgd.report.verdicts import interval, relative_distance

NUM_OTHERS = 2  # that algorithm_table names


def summary_table(summary: dict[str, float], title: str) -> Table:
    """Return a run's headline numbers: means over seeds with their standard deviations, and nothing by layer.

    Example:
        >>> table = summary_table({"loss/gd": 2.0, "loss/gd/seed_0": 1.0, "loss/gd/seed_1": 3.0}, "run")
        >>> [list(column.cells) for column in table.columns]
        [['loss/gd'], ['2'], ['1.41']]
    """
    names = [
        name for name in sorted(summary, key=by_numbers) if not (OF_A_SEED.search(name) or OF_A_LAYER.search(name))
    ]
    seeds = {name: of_seeds(summary, name) for name in names}
    has_seeds = any(len(values) > 1 for values in seeds.values())
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("name")
    table.add_column("mean" if has_seeds else "value", justify="right")
    if has_seeds:
        table.add_column("± over seeds", justify="right")
    group = None
    for name in names:
        if group not in (None, name.partition("/")[0]):
            table.add_section()
        group = name.partition("/")[0]
        deviation = f"{mean_and_deviation(np.array(seeds[name], float))[1]:.3g}" if len(seeds[name]) > 1 else ""
        table.add_row(name, f"{summary[name]:.6g}", *[deviation] * has_seeds)
    return table


def by_numbers(name: str) -> list[tuple[str, int]]:
    """Return by what names are sorted: numbers in them as numbers.

    Example:
        >>> sorted(["accuracy/16_demonstrations", "accuracy/2_demonstrations", "accuracy"], key=by_numbers)
        ['accuracy', 'accuracy/2_demonstrations', 'accuracy/16_demonstrations']
    """
    return [(text, int(number or 0)) for text, number in re.findall(r"(\D*)(\d*)", name)]


def algorithm_table(record: dict[str, Any]) -> Table:
    """Return what which_algorithm found: for each layer, and each of several seeds, the learner that it is."""
    has_seeds = len(record["seeds"]) > 1
    table = Table(title="which algorithm is it?", title_justify="left", title_style="bold")
    table.caption = (
        "distance of the nearest learner; of it and those that cannot be told from it the simplest is named; "
        "none where it is not within 20% of the model's sensitivity"
    )
    table.caption_justify = "left"
    for name in [
        *["seed"] * has_seeds,
        "layer",
        "learner",
        "distance [95%]",
        "relative",
        "nearest in",
        "not told from",
    ]:
        table.add_column(name, overflow="fold")
    for found in record["seeds"]:
        for verdict in found["verdicts"]:
            alike = [verdict["nearest"], *verdict["indistinguishable"]]
            table.add_row(
                *[str(found["seed"])] * has_seeds,
                _place(verdict),
                verdict["learner"],
                interval(verdict),
                f"{100 * relative_distance(verdict):.3g}%",
                f"{100 * verdict['share_nearest']:.3g}%",
                _shortened([name for name in alike if name != verdict["learner"]]),
            )
    return table


def _place(verdict: dict[str, Any]) -> str:
    positions = verdict.get("positions")
    return f"positions {', '.join(map(str, positions))}" if positions else str(verdict["layer"])


def _shortened(names: list[str]) -> str:
    rest = len(names) - NUM_OTHERS
    return "\n".join([*names[:NUM_OTHERS], *[f"and {rest} more"] * (rest > 0)])
