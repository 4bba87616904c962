"""The controls of text runs: comparisons in which something that should matter is taken away."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # a report reads the entries, and has no use for models
    from iclgd.analysis.original import Original
    from iclgd.data.prompts import Prompts
    from iclgd.models.language import LanguageModel


@dataclass(frozen=True)
class Control:
    """A comparison of the same queries with another model, or with other demonstrations.

    Its summary names are those of the comparison, below its own: ``untrained/sim_aou``.

    Args:
        description: one line for ``iclgd list``.
        label: in tables and figures.
        build: returns its model and prompts, made from the comparison's; the queries have to stay.
        style: of its lines in figures.
    """

    description: str
    label: str
    build: "Callable[[Original], tuple[LanguageModel, Prompts]]"
    style: Mapping[str, Any] = field(default_factory=lambda: {"color": "#7f7f7f", "linestyle": "--", "marker": "v"})


CONTROLS: dict[str, Control] = {
    "untrained": Control(
        "a model of the same shape with random weights, as in Deutch et al. 2024",
        "untrained model",
        lambda original: original.with_random_weights(),
        {"color": "#D55E00", "linestyle": "--", "marker": "x"},
    ),
    "shuffled_labels": Control(
        "the demonstrations with one another's labels, or any of their own answers",
        "shuffled labels",
        lambda original: original.with_shuffled_labels(),
        {"color": "#009E73", "linestyle": "-.", "marker": "+"},
    ),
    "other_task": Control(
        "demonstrations of another task (evaluation.other_task)",
        "other task",
        lambda original: original.with_other_task(),
        {"color": "#CC79A7", "linestyle": (0, (5, 1, 1, 1, 1, 1)), "marker": "d"},
    ),
}
