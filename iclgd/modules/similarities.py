"""Every measure of one comparison of in-context learning with finetuning, under its summary name."""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torchmetrics import SumMetric

from iclgd import checks, metrics
from iclgd.analysis.observe import Observation
from iclgd.data.text_datamodule import QueryBatch
from iclgd.metrics import BootstrapMean

CONTROLS = {
    "untrained": "a model of the same shape with random weights, as in Deutch et al. 2024",
    "shuffled_labels": "the demonstrations with one another's labels",
    "other_task": "demonstrations of another task (evaluation.other_task)",
}
RANDOM_UPDATES = {
    "gaussian": "normal numbers: the expected similarity is 0",
    "uniform": "numbers between 0 and 1, as published: all positive, so that the expected similarity is not 0",
}
NUM_ROUNDINGS = 16  # so many rounding errors are taken for no update, where a layer shows nothing of the context
NUM_TOP_TOKENS, NUM_TOP_EXAMPLES = 100, 5  # as published


@dataclass(frozen=True)
class EvaluationConfig:
    """How in-context learning is compared with finetuning.

    Raises:
        ValueError: if a value is out of its range.
    """

    batch_size: int = 64
    """Queries at once; the results do not depend on it."""
    num_replicates: int = 1000
    """Replicates of the bootstrap over queries; 0: no intervals."""
    controls: list[str] = field(default_factory=list)
    """What the comparison is repeated with."""
    other_task: str | None = None
    """A task's name or file, for the control other_task."""
    random_updates: str = "gaussian"
    """Random updates that sim_aou_random compares with."""

    def __post_init__(self) -> None:
        checks.at_least(1, "evaluation", self, "batch_size")
        checks.at_least(0, "evaluation", self, "num_replicates")
        checks.one_of(RANDOM_UPDATES, "evaluation", self, "random_updates")
        checks.all_of(CONTROLS, "evaluation", self, "controls")
        if ("other_task" in self.controls) != (self.other_task is not None):
            raise ValueError("evaluation.other_task goes with evaluation.controls=[other_task], and only with it")


@dataclass(frozen=True)
class FinetuningAttention:
    """What the finetuning pass leaves to compare in-context attention with.

    Args:
        queries: scaled queries of the demonstrations' tokens, shape ``(L, N, H * E)``.
        positions: of the same tokens in the context, shape ``(N,)``.
        lengths: number of tokens of each demonstration.
    """

    queries: Tensor
    positions: Tensor
    lengths: list[int]


class Similarities(nn.Module):
    """All metrics of one comparison.

    Args:
        num_layers: attention layers of the model.
        num_replicates: of the bootstrap.
        seed: of the bootstrap and the random baselines.
        random_updates: one of ``RANDOM_UPDATES``.
    """

    def __init__(self, num_layers: int, num_replicates: int, seed: int, random_updates: str) -> None:
        super().__init__()
        self.num_replicates, self.seed, self.random_updates = num_replicates, seed, random_updates
        size = (num_layers, num_replicates)
        self.zero_shot = metrics.Accuracy(num_replicates)
        self.in_context = metrics.Accuracy(num_replicates)
        self.finetuned = metrics.Accuracy(num_replicates)
        self.rec2ftp = metrics.Rec2FTP(num_replicates)
        self.rec2ftp_queries = SumMetric(nan_strategy="disable")
        self.put_right = metrics.Accuracy(num_replicates)
        self.sim_aou = metrics.SimAOU(*size)
        self.sim_aou_random = metrics.RandomSimAOU(*size)
        self.sim_am = metrics.SimAM(*size)
        self.sim_am_zero_shot = metrics.SimAM(*size)
        self.sim_am_delta = metrics.SimAMDelta(*size)
        self.kendall = metrics.Kendall(*size)
        self.kendall_random = metrics.RandomKendall(*size)
        self.kendall_examples = metrics.Kendall(*size)
        self.kendall_examples_random = metrics.RandomKendall(*size)
        self.kendall_examples_length = metrics.RandomKendall(*size)
        self.top_tokens = metrics.TopKRecall(*size, k=NUM_TOP_TOKENS)
        self.top_tokens_random = metrics.TopKRecall(*size, k=NUM_TOP_TOKENS)
        self.top_examples = metrics.TopKRecall(*size, k=NUM_TOP_EXAMPLES)
        self.top_examples_random = metrics.TopKRecall(*size, k=NUM_TOP_EXAMPLES)
        self.update_similarity = metrics.UpdateSimilarity(*size)

    def update(
        self,
        batch: QueryBatch,
        zero_shot: Observation,
        in_context: Observation,
        finetuned: Observation,
        attention: FinetuningAttention,
    ) -> None:
        """Add a batch of queries, seen in the three settings."""
        weights = metrics.bootstrap_weights(batch.indices, self.num_replicates, self.seed)
        correct = [seen.correct(batch.labels) for seen in (zero_shot, in_context, finetuned)]
        for accuracy, right in zip((self.zero_shot, self.in_context, self.finetuned), correct, strict=True):
            accuracy.update(right, weights)
        self.rec2ftp.update(correct[0], correct[1], correct[2], weights)
        put_right = metrics.put_right(correct[0], correct[2])
        self.put_right.update(put_right, weights)
        self.rec2ftp_queries.update(put_right)

        outputs = zero_shot.outputs, _changed_outputs(zero_shot, in_context)
        noise = metrics.random_updates(batch.indices, outputs[0].shape[1:], self.seed, self.random_updates)
        self.sim_aou.update(*outputs, finetuned.outputs, weights)
        self.sim_aou_random.update(*outputs, noise, weights)
        # Chunks begin at other tokens of a query with a context before it: maps are compared where all are seen.
        seen = zero_shot.visible & in_context.visible & finetuned.visible
        self.sim_am.update(in_context.scores, finetuned.scores, seen, weights)
        self.sim_am_zero_shot.update(in_context.scores, zero_shot.scores, seen, weights)
        self.sim_am_delta.update(zero_shot.scores, in_context.scores, finetuned.scores, seen, weights)
        assert in_context.context_updates is not None
        assert in_context.weight_updates is not None
        self.update_similarity.update(in_context.context_updates, in_context.weight_updates, weights)
        self._compare_attention(batch, in_context, finetuned, attention, weights)

    def results(self) -> dict[str, float]:
        """Return every number under its summary name; processes must call it together."""
        numbers: dict[str, float] = {}
        for name, metric in self.named_children():
            if isinstance(metric, SumMetric):
                numbers[name] = metric.compute().item()
                continue
            assert isinstance(metric, BootstrapMean)
            table = metric.compute().reshape(-1, 3)
            full_name = f"accuracy/{name}" if name in ("zero_shot", "in_context", "finetuned") else name
            numbers[full_name] = table[-1, 0].item()
            if self.num_replicates:
                numbers[f"{full_name}_low"], numbers[f"{full_name}_high"] = table[-1, 1:].tolist()
            for index, value in enumerate(table[:-1, 0].tolist()):
                numbers[f"{full_name}/layer_{index:02d}"] = value
        return numbers

    def _compare_attention(
        self,
        batch: QueryBatch,
        in_context: Observation,
        finetuned: Observation,
        attention: FinetuningAttention,
        weights: Tensor,
    ) -> None:
        """Compare which of the demonstrations' tokens, and which demonstrations, get attention."""
        assert in_context.context_scores is not None
        assert in_context.context_visible is not None
        # What a layer's mask hides from a query is in neither ranking. Mostly there is no such thing.
        shown = in_context.context_visible[..., attention.positions]
        visible = None if shown.all() else shown
        # Double precision from before the softmax on: in single precision wide scores underflow to ties.
        summed = in_context.context_scores[..., attention.positions].double().sum(2)  # over heads: (B, L, N)
        prompted = metrics.demonstration_attention(summed, visible)
        in_training = metrics.finetuned_scores(attention.queries, finetuned.queries)
        trained = metrics.demonstration_attention(in_training, visible)
        noise = metrics.random_scores(batch.indices, prompted.shape[1:], self.seed).to(prompted)
        self.kendall.update(prompted, trained, weights, visible)
        self.kendall_random.update(prompted, noise, weights, visible)
        self.top_tokens.update(prompted, trained, weights, visible)
        self.top_tokens_random.update(prompted, noise, weights, visible)
        prompted, trained = (metrics.example_sums(shares, attention.lengths) for shares in (prompted, trained))
        noise = noise[..., : len(attention.lengths)]
        # Where attention is even, the longest examples get most: what equal attention to all tokens would give.
        lengths = metrics.example_sums(shown, attention.lengths)
        visible = None if visible is None else lengths > 0
        self.kendall_examples.update(prompted, trained, weights, visible)
        self.kendall_examples_random.update(prompted, noise, weights, visible)
        self.kendall_examples_length.update(prompted, lengths, weights, visible)
        self.top_examples.update(prompted, trained, weights, visible)
        self.top_examples_random.update(prompted, noise, weights, visible)


def _changed_outputs(zero_shot: Observation, in_context: Observation) -> Tensor:
    """Return the in-context outputs, but the zero-shot ones where they differ by rounding alone, ``(B, L, C)``.

    A layer that hides the whole context from the last token may do there what it does without one, at other positions.
    The direction of such an update is that of rounding errors: it has to be zero.
    """
    assert in_context.context_visible is not None
    is_unseen = ~in_context.context_visible.any(-1)
    before, after = zero_shot.outputs, in_context.outputs
    if not is_unseen.any():
        return after
    rounding = NUM_ROUNDINGS * max(torch.finfo(dtype).eps for dtype in (after.dtype, torch.float32))
    is_same = (after - before).double().norm(dim=-1) <= rounding * before.double().norm(dim=-1)
    return torch.where((is_unseen & is_same)[..., None], before, after)
