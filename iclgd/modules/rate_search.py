"""The search for finetuning's learning rate: validating finetunes with each, and asks rows that are held out."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from lightning.pytorch import LightningDataModule, LightningModule
from torch import nn

from iclgd.analysis.finetune import FinetuneConfig, make_loss
from iclgd.analysis.learning_rate import Judged, best_of, judge, mean
from iclgd.data.datamodules import Batches
from iclgd.data.prompts import Prompts
from iclgd.data.text_datamodule import query_batches
from iclgd.modules.comparison import Comparison
from iclgd.modules.draws import of_draw
from iclgd.terminal import say

FOUND = "search/learning_rate"  # in metrics those that were tried, in the summary the best


class Tried(NamedTuple):
    """One finetuning: which draw of demonstrations, and which learning rate, by their indices."""

    draw: int
    rate: int


class RateSearchData(LightningDataModule):
    """All finetunings, divided among processes.

    Args:
        num_draws: of demonstrations.
        num_rates: of learning rates.
    """

    def __init__(self, num_draws: int, num_rates: int) -> None:
        super().__init__()
        self.tried = [Tried(draw, rate) for draw in range(num_draws) for rate in range(num_rates)]

    def val_dataloader(self) -> Batches[Tried]:
        """Return this process's finetunings, at least one, as Lightning leaves out who has none."""
        rank, num_ranks = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        return Batches(self.tried[rank::num_ranks] or self.tried[:1])


class RateSearch(LightningModule):
    """Finetunes with every learning rate on every draw of demonstrations, and keeps none of it.

    After validating, ``found`` is the learning rate that does best on training rows that are no demonstrations and no
    queries: by accuracy, then by the mean log-probability of the right answer; one that diverges in any draw is out.
    Logs ``search/learning_rate``, ``search/accuracy`` and ``search/log_probability``, the means over draws, in the
    order of the rates; of several draws each draw's own below ``draw_00/``.

    Args:
        comparisons: of each draw the one to finetune for; all have one model.
        held_out: prompts of the rows.
        finetune: the ``finetune`` part of the config.
        batch_size: rows at once.
    """

    def __init__(
        self, comparisons: Sequence[Comparison], held_out: Prompts, finetune: FinetuneConfig, batch_size: int
    ) -> None:
        super().__init__()
        self.comparisons, self.held_out = list(comparisons), held_out
        self.rates, self.method = finetune.search.learning_rates, finetune.method
        self.language_model = comparisons[0].model
        if not self.language_model.is_placed:
            self.model: nn.Module = self.language_model.model  # Lightning is told of what it has to bring to a device
        self.loss = make_loss(self.language_model, finetune.method)
        self.batches = query_batches(held_out, batch_size)
        self.judged: dict[Tried, Judged] = {}
        self.found = 0.0
        self.results: dict[str, float] = {}
        self.curve: list[dict[str, float]] = []  # what is logged

    def validation_step(self, batch: Tried, batch_idx: int) -> None:
        """Finetune, ask, and forget."""
        examples = self.comparisons[batch.draw].prompts.finetuning_examples
        self.judged[batch] = judge(
            self.language_model, examples, self.rates[batch.rate], self.loss, self.held_out, self.batches
        )

    def on_validation_epoch_end(self) -> None:
        """Choose, on all processes the same.

        Raises:
            LearningRateError: if finetuning diverges with all of them.
        """
        everyone = [self.judged] * self.trainer.world_size
        if self.trainer.world_size > 1:
            torch.distributed.all_gather_object(everyone, self.judged)
        judged = {tried: found for of_process in everyone for tried, found in of_process.items()}
        num_draws = len(self.comparisons)
        by_rate = [[judged[Tried(draw, rate)] for draw in range(num_draws)] for rate in range(len(self.rates))]
        for index, (rate, draws) in enumerate(zip(self.rates, by_rate, strict=True)):
            self.curve.append({FOUND: rate, **_named("", mean(draws))})
            for draw, of_one in enumerate(draws if num_draws > 1 else []):
                self.curve[-1] |= _named(of_draw(draw), of_one)
            for logger in self.loggers:
                logger.log_metrics(self.curve[-1], step=index)
        best = best_of(self.rates, by_rate)
        self.found = self.rates[best]
        self.results = {
            FOUND: self.found,
            **_named("", mean(by_rate[best])),
            "search/num_rows": float(len(self.held_out.queries)),
        }
        if self.trainer.is_global_zero:
            self._tell([mean(draws) for draws in by_rate], best)

    def _tell(self, means: Sequence[Judged], best: int) -> None:
        accuracy, log_probability = means[best]
        say(
            f"finetune.learning_rate={self.found:g}, the best of {len(self.rates)} on {len(self.held_out.queries)} "
            f"training rows (accuracy {accuracy:.3g}, mean log-probability of the right answer {log_probability:.3g})"
        )
        ends = {min(self.rates): "smallest", max(self.rates): "largest"}
        if self.found in ends:
            say(f"note: that is the {ends[self.found]} one tried; finetune.search.learning_rates may go further")


def _named(prefix: str, judged: Judged) -> dict[str, float]:
    return {f"{prefix}search/{name}": value for name, value in judged._asdict().items()}
