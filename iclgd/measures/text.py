"""The measures of text runs, by summary name."""

import math
from typing import TYPE_CHECKING

import iclgd
from iclgd.measures.text_entry import CALIBRATION, LABELS, ORDERS, Panel, TextMetric

if TYPE_CHECKING:
    from torchmetrics import Metric

NUM_TOP_TOKENS, NUM_TOP_EXAMPLES = 100, 5  # as published
NUM_NEXT_TOKENS = 10  # likewise

AOU = Panel("SimAOU: updates of attention outputs", "mean cosine", chance=0.0)
AM = Panel("SimAM: in-context attention to the query's tokens", "mean cosine")
KENDALL = Panel("Kendall: order of attention to the demonstrations", "mean rank correlation (tau-b)", chance=0.0)
UPDATES = Panel("Update similarity: effect on the query", "mean cosine", chance=0.0)
OVERLAP = Panel(f"Next token: overlap of the {NUM_NEXT_TOKENS} most probable", "mean share")
VARIATION = Panel("Next token: distance of distributions", "mean total variation")
TO_DEMONSTRATIONS = "attention_to_demonstrations"  # a figure, and the record of which demonstration gets how much
EVEN = "even attention"  # to all visible tokens
TARGETS = Panel("Attention of the last token", "mean share", figure=TO_DEMONSTRATIONS, baseline=EVEN)
OF_LABELS = Panel("Of the attention to demonstrations", "mean share", figure=TO_DEMONSTRATIONS, baseline=EVEN)
SHARE = (0.0, 1.0)
WHOLE_PROMPT = ("query", "demonstrations", "start and separators")


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


def _share(num_layers: int) -> "Metric":
    return iclgd.metrics.AttentionShare(num_layers)


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
    "attention_demonstrations": TextMetric(
        _share,
        lambda seen: (seen.shares.demonstrations.sum(-1),),
        "attention",
        panel=TARGETS,
        label="to the demonstrations",
        within=SHARE,
        tokens=WHOLE_PROMPT,
    ),
    "attention_demonstrations_even": TextMetric(
        _share,
        lambda seen: (seen.even_shares.demonstrations.sum(-1),),
        "attention",
        panel=TARGETS,
        baseline_of="attention_demonstrations",
        within=SHARE,
        tokens=WHOLE_PROMPT,
    ),
    "attention_query": TextMetric(
        _share,
        lambda seen: (seen.shares.query,),
        "attention",
        panel=TARGETS,
        label="to the query itself",
        within=SHARE,
        tokens=WHOLE_PROMPT,
    ),
    "attention_start": TextMetric(
        _share,
        lambda seen: (seen.shares.start,),
        "attention",
        panel=TARGETS,
        label="to the start",
        within=SHARE,
        tokens=WHOLE_PROMPT,
    ),
    "attention_right_label": TextMetric(
        _share,
        lambda seen: seen.right_label[:1],
        "attention",
        panel=OF_LABELS,
        label="to those with the query's label",
        within=SHARE,
        tokens=WHOLE_PROMPT,
        needs=LABELS,
    ),
    "attention_right_label_even": TextMetric(
        _share,
        lambda seen: seen.right_label[1:],
        "attention",
        panel=OF_LABELS,
        baseline_of="attention_right_label",
        within=SHARE,
        tokens=WHOLE_PROMPT,
        needs=LABELS,
    ),
    "attention_right_label_gain": TextMetric(
        _share,
        lambda seen: (seen.right_label[0] - seen.right_label[1],),
        "attention",
        tokens=WHOLE_PROMPT,
        needs=LABELS,
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
