"""The chart of the weights: what training made of them, beside those written down by hand."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from iclgd.report.results import Array
from iclgd.report.weight_products import HeadProducts, head_products
from iclgd.review.charts.groups import Group, Notes
from iclgd.review.charts.points import numbers, short
from iclgd.review.charts.titles import learner, title
from iclgd.review.document import Chart, HeatMap

QUERY_KEY, VALUE_LINEAR = "W_Q W_Kᵀ", "W_V W_P"
MOST_HEADS, MOST_CELLS = 6, 6000  # of the whole chart


def weights(groups: Sequence[Group], notes: Notes) -> list[Chart]:
    """Return both weight products of each layer and head of the first run's first seed, beside the reference's."""
    runs = ((group, run) for group in groups for run in group.runs)
    having = ((group, run, head_products(replace(run.results, weights=run.run.weights))) for group, run in runs)
    group, run, found = next((each for each in having if each[2] is not None), (None, None, None))
    if group is None or run is None or found is None:
        return []
    if sum(group.num_repetitions for group in groups) > 1:
        notes.add(f"weights: of the first seed of {run.name} alone")
    name, heads = found
    size = len(heads[0].query_key)
    shown = heads[: min(MOST_HEADS, MOST_CELLS // (4 * size**2))]
    if len(shown) < len(heads):
        notes.add(
            f"weights: {len(shown)} of {len(heads)} layers and heads, each of 4 matrices of {size} x {size}, are shown"
        )
    if not shown:
        return []
    panels = [panel for head in shown for panel in _of_head(head, name, channels(group.config, size))]
    text = " ".join(_likeness(head, name) for head in shown)
    return [Chart("weights", title("weights of the first seed", [group], of_tasks=False), panels, text)]


def _of_head(head: HeadProducts, name: str, names: Sequence[str]) -> list[HeatMap]:
    place = _place(head)
    scaled = ("unscaled",) * 2 if head.scale is None else (f"/ {short(head.scale)}", f"x {short(head.scale)}")
    return [
        _heat_map(f"{place}: {QUERY_KEY}, trained, {scaled[0]}", head.query_key, names),
        _heat_map(f"{place}: {QUERY_KEY}, {learner(name)}", head.its_query_key, names),
        _heat_map(f"{place}: {VALUE_LINEAR}, trained, {scaled[1]}", head.value_linear, names),
        _heat_map(f"{place}: {VALUE_LINEAR}, {learner(name)}", head.its_value_linear, names),
    ]


def _place(head: HeadProducts) -> str:
    return f"layer {head.layer + 1}, head {head.head + 1}"


def _heat_map(name: str, values: Array, names: Sequence[str]) -> HeatMap:
    return HeatMap(name, names, names, [numbers(row) for row in values])


def channels(config: Mapping[str, Any], size: int) -> list[str]:
    """Return the names of a token's channels: inputs, then targets, where it has these and no others.

    Example:
        >>> channels({"task.input_dim": 2, "task.output_dim": 1, "model.tokens": "joint"}, 3)
        ['x1', 'x2', 'y']
    """
    num_inputs, num_targets = config.get("task.input_dim"), config.get("task.output_dim", 1)
    is_joint = config.get("model.tokens", "joint") == "joint" and not config.get("model.in_projection")
    if not is_joint or type(num_inputs) is not int or num_inputs + num_targets != size:
        return [f"channel {place}" for place in range(1, size + 1)]
    targets = ["y"] if num_targets == 1 else [f"y{place}" for place in range(1, num_targets + 1)]
    return [*[f"x{place}" for place in range(1, num_inputs + 1)], *targets]


def _likeness(head: HeadProducts, name: str) -> str:
    """Say how alike products are: the cosine of their entries."""
    pairs = ((QUERY_KEY, head.query_key, head.its_query_key), (VALUE_LINEAR, head.value_linear, head.its_value_linear))
    texts = [f"{text} has cosine {short(_cosine(own, its))} with {learner(name)}'s" for text, own, its in pairs]
    return f"{_place(head)}: {', '.join(texts)}."


def _cosine(own: Array, its: Array) -> float | None:
    norm = float(np.linalg.norm(own) * np.linalg.norm(its))
    return numbers([float((own * its).sum()) / norm])[0] if norm > 0 else None
