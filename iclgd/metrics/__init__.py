"""What is measured: torchmetrics over pure functions.

A metric is called as those of torchmetrics are, ``update(zero_shot, in_context, finetuned)`` and ``compute()``, and
lives in their collections; :class:`Bootstrap` and :class:`WilsonInterval` wrap one and add its 95% interval.

Shapes: B queries (or tasks), L layers, C channels, H heads, E channels of a head, T tokens, N demonstration tokens (or
demonstrations), P orders, V tokens of the vocabulary, O outputs, D inputs.

[vO]: von Oswald et al. 2023; [Dai]: Dai et al. 2023; [Shen]: Shen et al. 2023; [Deutch]: Deutch et al. 2024.

Example:
    >>> import torch
    >>> from torchmetrics import MetricCollection
    >>> outputs = dict(zip(("zero_shot", "in_context", "finetuned"), torch.eye(3)[:, None, None].expand(3, 5, 2, 3)))
    >>> metrics = MetricCollection({"sim_aou": SimAOU(num_layers=2), "with_interval": Bootstrap(SimAOU(num_layers=2))})
    >>> metrics.update(**outputs)
    >>> {name: tuple(value.shape) for name, value in metrics.compute().items()}
    {'sim_aou': (2,), 'with_interval': (3, 3)}
"""

from iclgd.metrics.accuracy import Accuracy, Rec2FTP, WilsonInterval, put_right, wilson_interval
from iclgd.metrics.alignment import PredictionL2, SensitivityCosine, SensitivityL2
from iclgd.metrics.bootstrap import Bootstrap, Resampling, bootstrap_weights
from iclgd.metrics.copying import Copying
from iclgd.metrics.crossed import crossed_mean_interval, crossed_share_interval
from iclgd.metrics.loss import HalfMeanSquaredError
from iclgd.metrics.mean import MeanMetric, ModelMean, QueryMean
from iclgd.metrics.next_token import next_token_overlap, total_variation
from iclgd.metrics.next_token_metrics import NextTokenOverlap, TotalVariation
from iclgd.metrics.order import order_flips, order_sensitivity
from iclgd.metrics.order_metrics import OrderFlips, OrderSensitivity
from iclgd.metrics.positions import PositionSummary, draw_prompts, summarize_positions
from iclgd.metrics.prompt_attention import AttentionShare, PromptAttention, attention_shares, even_shares, share_of
from iclgd.metrics.random_baselines import random_scores, random_updates
from iclgd.metrics.rank import demonstration_attention, example_sums, finetuned_scores, kendall_tau, top_k_recall
from iclgd.metrics.rank_metrics import Kendall, TopKRecall
from iclgd.metrics.similarity import cosine, random_sim_aou, sim_am, sim_am_delta, sim_aou, update_similarity
from iclgd.metrics.similarity_metrics import RandomSimAOU, SimAM, SimAMDelta, SimAOU, UpdateSimilarity

__all__ = [
    "Accuracy",
    "AttentionShare",
    "Bootstrap",
    "Copying",
    "HalfMeanSquaredError",
    "Kendall",
    "MeanMetric",
    "ModelMean",
    "NextTokenOverlap",
    "OrderFlips",
    "OrderSensitivity",
    "PositionSummary",
    "PredictionL2",
    "PromptAttention",
    "QueryMean",
    "RandomSimAOU",
    "Rec2FTP",
    "Resampling",
    "SensitivityCosine",
    "SensitivityL2",
    "SimAM",
    "SimAMDelta",
    "SimAOU",
    "TopKRecall",
    "TotalVariation",
    "UpdateSimilarity",
    "WilsonInterval",
    "attention_shares",
    "bootstrap_weights",
    "cosine",
    "crossed_mean_interval",
    "crossed_share_interval",
    "demonstration_attention",
    "draw_prompts",
    "even_shares",
    "example_sums",
    "finetuned_scores",
    "kendall_tau",
    "next_token_overlap",
    "order_flips",
    "order_sensitivity",
    "put_right",
    "random_scores",
    "random_sim_aou",
    "random_updates",
    "share_of",
    "sim_am",
    "sim_am_delta",
    "sim_aou",
    "summarize_positions",
    "top_k_recall",
    "total_variation",
    "update_similarity",
    "wilson_interval",
]
