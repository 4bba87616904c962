"""The measures of text runs, by summary name."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import iclgd

if TYPE_CHECKING:  # a report reads the entries, and has no use for models, nor seconds for torch
    from torch import Tensor
    from torchmetrics import Metric

    from iclgd.analysis.seen_queries import SeenQueries

NUM_TOP_TOKENS, NUM_TOP_EXAMPLES = 100, 5  # as published
NUM_NEXT_TOKENS = 10  # likewise

# Which tokens there are, of the three settings' prompts, for a measure to rest on.
TOKENS = {
    "answers": "the answers' own, after the query",
    "last": "the query's last one",
    "query": "the query's own",
    "demonstrations": "the demonstrations' own, in the context and in the steps of finetuning",
}

# What a measure may need, beyond the three settings.
ORDERS, CALIBRATION = "orders", "calibration"
NEEDS = {
    ORDERS: "several orders of the demonstrations: demonstrations.num_orders",
    CALIBRATION: "answers to queries without content: evaluation.calibrate",
}


@dataclass(frozen=True)
class Panel:
    """Measures that share axes in the figure over layers; controls are shown of the first one.

    Args:
        title: what is compared.
        axis: label of the y axis.
        chance: what it is on average of two that have nothing to do with each other; ``None`` if that is not known.
    """

    title: str
    axis: str
    chance: float | None = None


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


AOU = Panel("SimAOU: updates of attention outputs", "mean cosine", chance=0.0)
AM = Panel("SimAM: in-context attention to the query's tokens", "mean cosine")
KENDALL = Panel("Kendall: order of attention to the demonstrations", "mean rank correlation (tau-b)", chance=0.0)
UPDATES = Panel("Update similarity: effect on the query", "mean cosine", chance=0.0)
OVERLAP = Panel(f"Next token: overlap of the {NUM_NEXT_TOKENS} most probable", "mean share")
VARIATION = Panel("Next token: distance of distributions", "mean total variation")
SHARE = (0.0, 1.0)


# iclgd.metrics is imported, and torch with it, when a measure is built.
def _accuracy(_num_layers: int) -> "Metric":
    return iclgd.metrics.Accuracy()


def _overlap(_num_layers: int) -> "Metric":
    return iclgd.metrics.NextTokenOverlap(NUM_NEXT_TOKENS)


def _variation(_num_layers: int) -> "Metric":
    return iclgd.metrics.TotalVariation()


def _count(_num_layers: int) -> "Metric":
    from torchmetrics import SumMetric

    return SumMetric(nan_strategy="disable")


def _top_tokens(num_layers: int) -> "Metric":
    return iclgd.metrics.TopKRecall(num_layers, NUM_TOP_TOKENS)


def _top_examples(num_layers: int) -> "Metric":
    return iclgd.metrics.TopKRecall(num_layers, NUM_TOP_EXAMPLES)


TEXT_METRICS: dict[str, TextMetric] = {
    "accuracy/zero_shot": TextMetric(
        _accuracy,
        lambda seen: seen.correct[:1],
        "answers",
        within=SHARE,
        tokens=("answers",),
    ),
    "accuracy/in_context": TextMetric(
        _accuracy,
        lambda seen: seen.correct[1:2],
        "answers",
        within=SHARE,
        tokens=("answers",),
    ),
    "accuracy/finetuned": TextMetric(
        _accuracy,
        lambda seen: seen.correct[2:],
        "answers",
        within=SHARE,
        tokens=("answers",),
    ),
    "accuracy_calibrated/zero_shot": TextMetric(
        _accuracy,
        lambda seen: seen.correct_calibrated[:1],
        "answers",
        within=SHARE,
        tokens=("answers",),
        needs=CALIBRATION,
    ),
    "accuracy_calibrated/in_context": TextMetric(
        _accuracy,
        lambda seen: seen.correct_calibrated[1:2],
        "answers",
        within=SHARE,
        tokens=("answers",),
        needs=CALIBRATION,
    ),
    "accuracy_calibrated/finetuned": TextMetric(
        _accuracy,
        lambda seen: seen.correct_calibrated[2:],
        "answers",
        within=SHARE,
        tokens=("answers",),
        needs=CALIBRATION,
    ),
    "rec2ftp": TextMetric(
        lambda _num_layers: iclgd.metrics.Rec2FTP(),
        lambda seen: seen.correct,
        "answers",
        decimals=0,
        may_be_undefined=True,
        within=(0.0, 100.0),
        tokens=("answers",),
    ),
    "rec2ftp_queries": TextMetric(  # how many it rests on
        _count,
        lambda seen: (seen.put_right,),
        "answers",
        decimals=None,
        within=(0.0, math.inf),
        tokens=("answers",),
    ),
    "put_right": TextMetric(
        _accuracy,
        lambda seen: (seen.put_right,),
        "answers",
        within=SHARE,
        tokens=("answers",),
    ),
    "sim_aou": TextMetric(
        lambda num_layers: iclgd.metrics.SimAOU(num_layers),
        lambda seen: seen.outputs,
        "SimAOU",
        panel=AOU,
        label="in-context with finetuned",
        tokens=("last",),
    ),
    "sim_aou_random": TextMetric(
        lambda num_layers: iclgd.metrics.RandomSimAOU(num_layers),
        lambda seen: (*seen.outputs[:2], seen.random_outputs),
        "SimAOU",
        panel=AOU,
        baseline_of="sim_aou",
        tokens=("last",),
    ),
    "sim_am": TextMetric(
        lambda num_layers: iclgd.metrics.SimAM(num_layers),
        lambda seen: (seen.in_context.scores, seen.finetuned.scores, seen.visible),
        "SimAM",
        panel=AM,
        label="with finetuned",
        tokens=("query",),
    ),
    "sim_am_zero_shot": TextMetric(
        lambda num_layers: iclgd.metrics.SimAM(num_layers),
        lambda seen: (seen.in_context.scores, seen.zero_shot.scores, seen.visible),
        "SimAM",
        panel=AM,
        label="with zero-shot",
        tokens=("query",),
    ),
    "sim_am_delta": TextMetric(
        lambda num_layers: iclgd.metrics.SimAMDelta(num_layers),
        lambda seen: (seen.zero_shot.scores, seen.in_context.scores, seen.finetuned.scores, seen.visible),
        "SimAM",
        panel=AM,
        label="differences from zero-shot",
        tokens=("query",),
    ),
    "kendall": TextMetric(
        lambda num_layers: iclgd.metrics.Kendall(num_layers),
        lambda seen: (seen.tokens.in_context, seen.tokens.finetuned, seen.tokens.visible),
        "Kendall",
        panel=KENDALL,
        label="tokens",
        tokens=("demonstrations",),
    ),
    "kendall_random": TextMetric(
        lambda num_layers: iclgd.metrics.Kendall(num_layers),
        lambda seen: (seen.tokens.in_context, seen.tokens.random, seen.tokens.visible),
        "Kendall",
        panel=KENDALL,
        baseline_of="kendall",
        tokens=("demonstrations",),
    ),
    "kendall_examples": TextMetric(
        lambda num_layers: iclgd.metrics.Kendall(num_layers),
        lambda seen: (seen.examples.in_context, seen.examples.finetuned, seen.examples.visible),
        "Kendall",
        panel=KENDALL,
        label="whole examples",
        tokens=("demonstrations",),
    ),
    "kendall_examples_random": TextMetric(
        lambda num_layers: iclgd.metrics.Kendall(num_layers),
        lambda seen: (seen.examples.in_context, seen.examples.random, seen.examples.visible),
        "Kendall",
        panel=KENDALL,
        baseline_of="kendall_examples",
        tokens=("demonstrations",),
    ),
    "kendall_examples_length": TextMetric(
        lambda num_layers: iclgd.metrics.Kendall(num_layers),
        lambda seen: (seen.examples.in_context, seen.example_lengths, seen.examples.visible),
        "Kendall",
        tokens=("demonstrations",),
    ),
    "top_tokens": TextMetric(
        _top_tokens,
        lambda seen: (seen.tokens.in_context, seen.tokens.finetuned, seen.tokens.visible),
        "top",
        within=SHARE,
        tokens=("demonstrations",),
    ),
    "top_tokens_random": TextMetric(
        _top_tokens,
        lambda seen: (seen.tokens.in_context, seen.tokens.random, seen.tokens.visible),
        "top",
        within=SHARE,
        tokens=("demonstrations",),
    ),
    "top_examples": TextMetric(
        _top_examples,
        lambda seen: (seen.examples.in_context, seen.examples.finetuned, seen.examples.visible),
        "top",
        within=SHARE,
        tokens=("demonstrations",),
    ),
    "top_examples_random": TextMetric(
        _top_examples,
        lambda seen: (seen.examples.in_context, seen.examples.random, seen.examples.visible),
        "top",
        within=SHARE,
        tokens=("demonstrations",),
    ),
    "update_similarity": TextMetric(
        lambda num_layers: iclgd.metrics.UpdateSimilarity(num_layers),
        lambda seen: seen.weight_updates,
        panel=UPDATES,
        label=r"$\Delta W_\mathrm{ICL}\,q$ with $\Delta W_\mathrm{FT}\,q$",
        tokens=("demonstrations", "query"),
    ),
    "next_token_overlap": TextMetric(
        _overlap,
        lambda seen: (seen.in_context.next_token, seen.finetuned.next_token),
        "next token",
        panel=OVERLAP,
        label="in-context with finetuned",
        within=SHARE,
        tokens=("answers",),
    ),
    "next_token_overlap_zero_shot": TextMetric(
        _overlap,
        lambda seen: (seen.zero_shot.next_token, seen.finetuned.next_token),
        "next token",
        panel=OVERLAP,
        label="zero-shot with finetuned",
        within=SHARE,
        tokens=("answers",),
    ),
    "next_token_total_variation": TextMetric(
        _variation,
        lambda seen: (seen.in_context.next_token, seen.finetuned.next_token),
        "next token",
        panel=VARIATION,
        label="in-context with finetuned",
        within=SHARE,
        tokens=("answers",),
    ),
    "next_token_total_variation_zero_shot": TextMetric(
        _variation,
        lambda seen: (seen.zero_shot.next_token, seen.finetuned.next_token),
        "next token",
        panel=VARIATION,
        label="zero-shot with finetuned",
        within=SHARE,
        tokens=("answers",),
    ),
    "order_sensitivity/in_context": TextMetric(
        lambda _num_layers: iclgd.metrics.OrderSensitivity(),
        lambda seen: (seen.all_orders["in_context"].next_token,),
        "order",
        within=(0.0, math.inf),
        tokens=("answers",),
        needs=ORDERS,
    ),
    "order_sensitivity/finetuned": TextMetric(
        lambda _num_layers: iclgd.metrics.OrderSensitivity(),
        lambda seen: (seen.all_orders["finetuned"].next_token,),
        "order",
        within=(0.0, math.inf),
        tokens=("answers",),
        needs=ORDERS,
    ),
    "order_flips/in_context": TextMetric(
        lambda _num_layers: iclgd.metrics.OrderFlips(),
        lambda seen: (seen.all_orders["in_context"].choices,),
        "order",
        within=SHARE,
        tokens=("answers",),
        needs=ORDERS,
    ),
    "order_flips/finetuned": TextMetric(
        lambda _num_layers: iclgd.metrics.OrderFlips(),
        lambda seen: (seen.all_orders["finetuned"].choices,),
        "order",
        within=SHARE,
        tokens=("answers",),
        needs=ORDERS,
    ),
}
