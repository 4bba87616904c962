"""What an entry for a measure of text runs says, and what it may name."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # a report reads the entries, and has no use for models, nor seconds for torch
    from torch import Tensor
    from torchmetrics import Metric

    from iclgd.analysis.seen_queries import SeenQueries

# Which tokens there are, of the three settings' prompts, for a measure to rest on.
TOKENS = {
    "answers": "the answers' own, after the query",
    "last": "the query's last one",
    "query": "the query's own",
    "demonstrations": "the demonstrations' own, in the context and in the steps of finetuning",
    "start and separators": "what stands before the first demonstration, and after each",
}

# What a measure may need, beyond the three settings.
ORDERS, CALIBRATION, LABELS = "orders", "calibration", "labels"
NEEDS = {
    ORDERS: "several orders of the demonstrations: demonstrations.num_orders",
    CALIBRATION: "answers to queries without content: evaluation.calibrate",
    LABELS: "demonstrations whose labels mean what the queries' do: not of another task, nor with answers of their own",
}

SIMILARITY = "similarity"  # the figure in which panels are if they do not say so


@dataclass(frozen=True)
class Panel:
    """Measures that share axes in a figure over layers; controls are shown of the first one.

    Args:
        title: what is compared.
        axis: label of the y axis.
        chance: what it is on average of two that have nothing to do with each other; ``None`` if that is not known.
        figure: the name of the figure.
        baseline: what its measures' baselines are.
    """

    title: str
    axis: str
    chance: float | None = None
    figure: str = SIMILARITY
    baseline: str = "random baseline"


@dataclass(frozen=True)
class TextMetric:
    """A measure of how alike in-context learning and finetuning are, or of how well either does.

    A mean over queries and layers (:class:`iclgd.metrics.QueryMean`) also has its summary numbers by layer; it, one of
    the model as a whole (:class:`iclgd.metrics.ModelMean`), and a share of queries have 95% intervals.

    Args:
        metric: makes it for a model of so many layers.
        inputs: what its ``update`` takes of a batch of queries.
        group: of rows in the table, one after the other; the measure's own name if not said.
        decimals: of an interval's ends in the table, at least; ``None`` for a count.
        may_be_undefined: whether it is NaN by a stated rule, and nobody is to be warned of that.
        panel: in which the figure shows it; ``None`` for none.
        label: in the panel's legend.
        baseline_of: the measure whose random baseline this is: drawn dotted, in its colour, with no label of its own.
        within: the least and the largest value that there can be.
        tokens: on which it rests, of ``TOKENS``; for ``iclgd show-prompt``.
        needs: of ``NEEDS``, without what it is not made; nothing if not said.

    Raises:
        ValueError: if it needs what there is not.
    """

    metric: "Callable[[int], Metric]"
    inputs: "Callable[[SeenQueries], tuple[Tensor | None, ...]]"
    group: str = ""
    decimals: int | None = 2
    may_be_undefined: bool = False
    panel: Panel | None = None
    label: str = ""
    baseline_of: str | None = None
    within: tuple[float, float] = (-1.0, 1.0)
    tokens: tuple[str, ...] = ()
    needs: str = ""

    def __post_init__(self) -> None:
        if self.needs and self.needs not in NEEDS:
            raise ValueError(f"needs must be one of {', '.join(NEEDS)}, or nothing; got {self.needs!r}")
