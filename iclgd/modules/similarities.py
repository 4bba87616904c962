"""Every measure of one comparison of in-context learning with finetuning, under its summary name."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from iclgd import checks
from iclgd.analysis.observe import Observation
from iclgd.analysis.query_values import QueryValues
from iclgd.analysis.seen_queries import NUM_OTHER_PARTS, Reordered, SeenQueries, Shares
from iclgd.analysis.seen_queries import FinetuningAttention as FinetuningAttention
from iclgd.data.text_datamodule import PLACES, QueryBatch
from iclgd.measures import CONTROLS, TEXT_METRICS
from iclgd.metrics import Bootstrap, PromptAttention, QueryMean, Resampling, WilsonInterval
from iclgd.metrics.accuracy import Share
from iclgd.metrics.mean import Interval

RANDOM_UPDATES = {
    "gaussian": "normal numbers: the expected similarity is 0",
    "uniform": "numbers between 0 and 1, as published: all positive, so that the expected similarity is not 0",
}


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
    place: str = "prompt"
    """At which token outputs, scores and queries are compared; answers are predicted by the prompt's last one."""
    calibrate: bool = False
    """Whether accuracies of calibrated scores are there, too: answers' scores minus those without content."""

    def __post_init__(self) -> None:
        checks.at_least(1, "evaluation", self, "batch_size")
        checks.at_least(0, "evaluation", self, "num_replicates")
        checks.one_of(RANDOM_UPDATES, "evaluation", self, "random_updates")
        checks.one_of(PLACES, "evaluation", self, "place")
        checks.all_of(CONTROLS, "evaluation", self, "controls")
        if ("other_task" in self.controls) != (self.other_task is not None):
            raise ValueError("evaluation.other_task goes with evaluation.controls=[other_task], and only with it")


class Similarities(nn.Module):
    """All metrics of one comparison, those of ``TEXT_METRICS``.

    Args:
        num_layers: attention layers of the model.
        resampling: of the bootstrap, shared by all comparisons; its seed is that of the random baselines too.
        random_updates: one of ``RANDOM_UPDATES``.
        extras: what there is beyond the three settings, for measures that need it, such as ``ORDERS``.
        num_demonstrations: each of which has its share of attention; ``None``: that is not kept.
    """

    def __init__(
        self,
        num_layers: int,
        resampling: Resampling,
        random_updates: str,
        extras: Collection[str] = (),
        num_demonstrations: int | None = None,
    ) -> None:
        super().__init__()
        self.num_replicates, self.seed, self.random_updates = resampling.num_replicates, resampling.seed, random_updates
        self.metrics = nn.ModuleDict(
            {
                name: _with_interval(entry.metric(num_layers), resampling)
                for name, entry in TEXT_METRICS.items()
                if entry.needs in ("", *extras)
            }
        )
        self.attention = (
            None if num_demonstrations is None else PromptAttention(num_layers, num_demonstrations + NUM_OTHER_PARTS)
        )

    def update(
        self,
        batch: QueryBatch,
        zero_shot: Observation,
        in_context: Observation,
        finetuned: Observation,
        attention: FinetuningAttention,
        orders: Sequence[Mapping[str, Reordered]],
        content_free: Mapping[str, Tensor],
    ) -> QueryValues:
        """Add a batch of queries, seen in the three settings; return what each adds to the means in :attr:`means`.

        For ``orders`` and ``content_free`` see :class:`~iclgd.analysis.seen_queries.SeenQueries`.
        """
        settings = zero_shot, in_context, finetuned
        seen = SeenQueries(batch, *settings, attention, self.seed, self.random_updates, orders, content_free)
        for name, metric in self.metrics.items():
            assert isinstance(metric, Metric)
            arguments = TEXT_METRICS[name].inputs(seen)
            if isinstance(metric, Bootstrap):
                metric.update(*arguments, indices=batch.indices)
            else:
                metric.update(*arguments)
        if self.attention is not None:
            self.attention.update(*seen.all_shares)
        means = [self.metrics[name] for name in self.means]
        terms, counts = (torch.stack([getattr(mean, name) for mean in means], 1) for name in ("terms", "counts"))
        return QueryValues(batch.indices, terms, counts)

    @property
    def means(self) -> list[str]:
        """Return the names of the measures that are means over queries: those with an interval."""
        return [name for name, metric in self.metrics.items() if isinstance(metric, Interval)]

    @property
    def likenesses(self) -> list[str]:
        """Return those of them that every query has, as a mean over layers."""
        return [name for name, metric in self.metrics.items() if isinstance(metric, Bootstrap)]

    def attention_to_parts(self) -> tuple[Shares, Shares]:
        """Return what each part of the prompt gets of the last token's attention, and if that were even.

        Means over queries, by layer; processes must call it together.
        """
        assert self.attention is not None
        paid, even = self.attention.compute().cpu()
        return Shares.parted(paid), Shares.parted(even)

    def results(self) -> dict[str, float]:
        """Return every number under its summary name; processes must call it together."""
        numbers: dict[str, float] = {}
        for name, metric in self.metrics.items():
            assert isinstance(metric, Metric)
            if not isinstance(metric, Interval):
                numbers[name] = metric.compute().item()
                continue
            table = metric.compute().reshape(-1, 3)
            numbers[name] = table[-1, 0].item()
            if self.num_replicates:
                numbers[f"{name}_low"], numbers[f"{name}_high"] = table[-1, 1:].tolist()
            if isinstance(metric, Bootstrap) and metric.metric.has_layers:
                for index, value in enumerate(table[:-1, 0].tolist()):
                    numbers[f"{name}/layer_{index:02d}"] = value
        return numbers


def _with_interval(metric: Metric, resampling: Resampling) -> Metric:
    """Wrap a mean over queries so that it has an interval."""
    if isinstance(metric, QueryMean):
        return Bootstrap(metric, resampling)
    return WilsonInterval(metric) if isinstance(metric, Share) else metric
