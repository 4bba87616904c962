"""Compare in-context learning with finetuning: fitting finetunes, testing looks at every query in three settings."""

import math
import time
from collections.abc import Sequence
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from iclgd.analysis.answers import Answered, Answers, CollectedAnswers, Place
from iclgd.analysis.finetune import FinetuneConfig
from iclgd.analysis.observe import Observation
from iclgd.analysis.query_values import QueryValues, gather_queries
from iclgd.analysis.seen_queries import Shares
from iclgd.data.text_datamodule import Demonstration, QueryBatch
from iclgd.metrics import Resampling
from iclgd.modules.comparison import Comparison as Comparison
from iclgd.modules.comparison import ComparisonState
from iclgd.modules.draws import of_draw, over_draws
from iclgd.modules.finiteness import first_failure
from iclgd.modules.orders import LEARNING, SelectionSensitivity
from iclgd.modules.similarities import EvaluationConfig
from iclgd.runtime.recording import wait_for
from iclgd.terminal import say

DIGITS = 5  # of a share of attention


class DualFormModule(LightningModule):
    """In-context learning against finetuning, Dai et al. 2023, with the controls of Deutch et al. 2024.

    ``fit`` takes each demonstration once, in order. It is the same on all processes: nothing is averaged. ``test``
    sees each query zero-shot, after the demonstrations and with the finetuned weights; queries may be divided among
    processes. After testing, ``results`` has the summary, :meth:`answered` every query's answer in every setting, and
    :meth:`attention_record` where attention goes.
    Logs ``finetune/loss``, each demonstration's before its step; of several draws their mean.

    Of several draws of demonstrations the summary has means, and each draw's own numbers below ``draw_00/``. All draws'
    finetuned parts and contexts are in memory together: so a query is seen zero-shot once.

    Args:
        comparisons: the comparison itself and its controls, of each draw of demonstrations.
        finetune: the ``finetune`` part of the config; if its learning rate is to be found, set ``learning_rate`` to
            what :class:`~iclgd.modules.rate_search.RateSearch` finds before ``fit``.
        evaluation: the ``evaluation`` part of the config.
        seed: of bootstrap and random baselines.

    Raises:
        LanguageModelError: if a model's attention cannot be captured or the finetuning method is not for it.
    """

    def __init__(
        self, comparisons: Sequence[Comparison], finetune: FinetuneConfig, evaluation: EvaluationConfig, seed: int
    ) -> None:
        super().__init__()
        self.automatic_optimization = False  # one step of plain gradient descent, on parts of some weights
        self.learning_rate = math.nan if isinstance(finetune.learning_rate, str) else finetune.learning_rate
        resampling = Resampling(evaluation.num_replicates, seed)  # replicates of all comparisons are the same queries
        self.comparisons = [
            ComparisonState(item, finetune.method, resampling, evaluation.random_updates) for item in comparisons
        ]
        self.num_draws = len({item.draw for item in comparisons})
        # Lightning is told of what it has to bring to a device.
        models = {id(item.model): item.model for item in comparisons if not item.model.is_placed}
        self.models = nn.ModuleList(item.model for item in models.values())
        self.similarities = nn.ModuleList(item.similarities for item in self.comparisons)
        has_orders = any(item.orders for item in comparisons)
        self.selection = SelectionSensitivity(resampling) if has_orders and self.num_draws > 1 else None
        self.results: dict[str, float] = {}
        self.collected = CollectedAnswers()
        self.answers: dict[Place, Answers] = {}
        self.values: dict[int, QueryValues] = {}  # of each comparison, by its index
        self.attention: list[tuple[Shares, Shares]] = []  # of each comparison, and if it were even
        self.seconds = 0.0

    def configure_optimizers(self) -> None:
        """Leave the optimisation to :class:`~iclgd.analysis.finetune.Finetuned`."""

    def on_fit_start(self) -> None:
        """Start from the base models, which are on their device now."""
        self._started = time.perf_counter()
        for item in self.comparisons:
            item.start()

    def training_step(self, batch: Demonstration, batch_idx: int) -> None:
        """Take one step on one demonstration."""
        self.comparisons[batch.comparison].learn(batch.tokens, self.learning_rate)

    def on_train_end(self) -> None:
        """Stop the clock, and log each example's loss before its step."""
        wait_for(self.device)
        self.seconds += time.perf_counter() - self._started
        for step in range(max(len(item.finetuned.losses) for item in self.comparisons)):
            of_step: dict[str, list[float]] = {}
            for item in self.comparisons:
                for loss in item.finetuned.losses[step : step + 1]:
                    of_step.setdefault(f"{item.comparison.prefix}finetune/loss", []).append(loss.item())
            for logger in self.loggers:
                logger.log_metrics({name: sum(of) / len(of) for name, of in of_step.items()}, step=step)
        for item in self.comparisons:
            item.end_learning()
            if (failure := item.finetuning_failure) is not None:
                self._warn(item, "finetuning", f"{failure}, try a smaller finetune.learning_rate")

    def on_test_start(self) -> None:
        """Run all demonstrations once."""
        self._started = time.perf_counter()
        self.collected = CollectedAnswers()
        for item in self.comparisons:
            item.values = []
            item.read_context(self.device)

    def test_step(self, batch: QueryBatch, batch_idx: int) -> dict[str, Observation]:
        """See a batch of queries in the three settings of every comparison; return those of the first."""
        zero_shot: dict[int, Observation] = {}  # of each model: controls that change the demonstrations share it
        first: dict[str, Observation] = {}
        draws: list[dict[str, Tensor]] = []
        for index, item in enumerate(self.comparisons):
            settings = item.see(batch, zero_shot.get(id(item.model)))
            zero_shot[id(item.model)] = settings["zero_shot"]
            for setting, seen in settings.items():
                self.collected.add(index, setting, batch.indices, seen)
            if self.selection is not None and not item.comparison.name:
                draws.append({setting: settings[setting].next_token for setting in LEARNING})
            first = first or settings  # the others go: each has the probabilities of a whole vocabulary
        if self.selection is not None:
            self.selection.update(batch.indices, draws)
        return first

    def on_test_epoch_end(self) -> None:
        """Compute the summary over all processes."""
        num_processes = self.trainer.world_size
        self.answers = self.collected.gathered(num_processes)
        values = {index: item.values for index, item in enumerate(self.comparisons)}
        self.values = {index: QueryValues(*each) for index, each in gather_queries(values, num_processes).items()}
        self.attention = [item.similarities.attention_to_parts() for item in self.comparisons]
        self.results = self._summary([item.similarities.results() for item in self.comparisons])
        if self.selection is not None:
            self.results |= self.selection.results()
        for item in self.comparisons:
            for setting, counts in item.not_finite.items():
                total = self.trainer.strategy.reduce(counts, reduce_op="sum")
                assert isinstance(total, torch.Tensor)
                if (failure := first_failure(total)) is not None:
                    self._warn(item, f"scores {setting}", failure)
        self.seconds += time.perf_counter() - self._started

    def attention_record(self) -> dict[str, Any]:
        """Return to which demonstration the last token's attention goes in context, as plain numbers.

        ``draws`` has an entry for each draw, with the ``labels`` of its demonstrations (numbers of answers; ``None``
        where each has its own) and ``attention`` and ``even`` (to all visible tokens), means over queries: in each
        layer the share of the ``start``, the ``separators``, each of the ``demonstrations`` and the ``query``.
        """
        draws = []
        for item, shares in zip(self.comparisons, self.attention, strict=True):
            if not item.comparison.name:
                labels = list(item.prompts.demonstration_labels) if item.prompts.has_common_labels else None
                paid, even = ({name: _rounded(each) for name, each in of._asdict().items()} for of in shares)
                draws.append({"labels": labels, "attention": paid, "even": even})
        return {"draws": draws}

    def answered(self) -> list[Answered]:
        """Return what each comparison was asked and answered, with its likenesses query by query."""
        found = []
        for index, item in enumerate(self.comparisons):
            settings = {setting: of for (comparison, setting), of in self.answers.items() if comparison == index}
            means = dict(zip(item.similarities.means, self.values[index].terms.T, strict=True))
            likenesses = {name: means[name] for name in item.similarities.likenesses}
            content_free = {setting: scores.cpu() for setting, scores in item.content_free.items()}
            of = item.comparison
            found.append(Answered(of.name, of.draw, item.prompts, settings, likenesses, content_free))
        return found

    def _summary(self, results: Sequence[dict[str, float]]) -> dict[str, float]:
        """Return the numbers of all comparisons: of several draws means, and then each draw's own."""
        found: dict[str, float] = {}
        of_draws: dict[str, float] = {}
        groups: dict[str, list[int]] = {}  # the draws of each control
        for index, item in enumerate(self.comparisons):
            groups.setdefault(item.comparison.prefix, []).append(index)
        for prefix, indices in groups.items():
            numbers = results[indices[0]]
            if self.num_draws > 1:
                of_each, values = [results[each] for each in indices], [self.values[each] for each in indices]
                numbers = over_draws(self.comparisons[indices[0]].similarities, of_each, values)
                for index in indices:
                    begin = of_draw(self.comparisons[index].comparison.draw, prefix)
                    of_draws |= {f"{begin}{name}": value for name, value in results[index].items()}
            found |= {f"{prefix}{name}": value for name, value in numbers.items()}
        return found | of_draws

    def _warn(self, item: ComparisonState, what: str, failure: str) -> None:
        if self.trainer.is_global_zero:
            of, prefix = item.comparison, item.comparison.prefix
            where = (of_draw(of.draw, prefix) if self.num_draws > 1 else prefix).replace("/", ": ")
            say(f"warning: {where}{what}: not finite {failure}; what rests on it is nan")


def _rounded(shares: Tensor) -> Any:
    """Return shares as lists of plain numbers; ``None`` where they are not finite."""
    if shares.dim() > 1:
        return [_rounded(each) for each in shares]
    return [float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None for value in shares.tolist()]
