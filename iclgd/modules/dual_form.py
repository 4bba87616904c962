"""Compare in-context learning with finetuning: fitting finetunes, testing looks at every query in three settings."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from iclgd.analysis.capture import check_capture
from iclgd.analysis.finetune import FinetuneConfig, Finetuned, make_loss
from iclgd.analysis.kv_context import Context, run_context
from iclgd.analysis.observe import Observation, observe
from iclgd.analysis.watching import make_watchable
from iclgd.data.prompts import Prompts
from iclgd.data.text_datamodule import Demonstration, QueryBatch
from iclgd.models.language import LanguageModel
from iclgd.modules.finiteness import finetuning_failure, first_failure
from iclgd.modules.similarities import EvaluationConfig, FinetuningAttention, Similarities
from iclgd.runtime.recording import wait_for
from iclgd.terminal import say


@dataclass(frozen=True)
class Comparison:
    """What is compared: a model that learns from demonstrations, by prompt and by gradient.

    Args:
        name: of the control; empty for the comparison itself.
        model: the base model, which may be shared with other comparisons.
        prompts: demonstrations and queries; all comparisons have the same queries.
    """

    name: str
    model: LanguageModel
    prompts: Prompts


class DualFormModule(LightningModule):
    """In-context learning against finetuning, Dai et al. 2023, with the controls of Deutch et al. 2024.

    ``fit`` takes each demonstration once, in order. It is the same on all processes: nothing is averaged. ``test``
    sees each query zero-shot, after the demonstrations and with the finetuned weights; queries may be divided among
    processes. After testing, ``results`` has the summary. Logs ``finetune/loss``, each demonstration's before its step.

    Args:
        comparisons: the comparison itself and its controls.
        finetune: the ``finetune`` part of the config.
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
        self.comparisons = list(comparisons)
        self.learning_rate = finetune.learning_rate
        self.models = nn.ModuleList({id(item.model.model): item.model.model for item in comparisons}.values())
        self.similarities = nn.ModuleList(
            Similarities(item.model.num_layers, evaluation.num_replicates, seed, evaluation.random_updates)
            for item in comparisons
        )
        for item in comparisons:
            check_capture(item.model)
            make_watchable(item.model)
        self.finetuning_failures: list[str | None] = []
        self.losses: list[Callable[[Tensor], Tensor]] = [make_loss(item.model, finetune.method) for item in comparisons]
        self.finetuned: list[Finetuned] = []
        self.training_queries: list[list[list[Tensor]]] = [[] for _ in comparisons]
        self.attention: list[FinetuningAttention] = []
        self.contexts: list[Context] = []
        self.results: dict[str, float] = {}
        self.failures: dict[tuple[int, str], Tensor] = {}  # of each comparison's settings: see first_failure
        self.seconds = 0.0

    def configure_optimizers(self) -> None:
        """Leave the optimisation to :class:`~iclgd.analysis.finetune.Finetuned`."""

    def on_fit_start(self) -> None:
        """Start from the base models, which are on their device now."""
        self._started = time.perf_counter()
        self.finetuned = [Finetuned(item.model) for item in self.comparisons]

    def training_step(self, batch: Demonstration, batch_idx: int) -> None:
        """Take one step on one demonstration."""
        finetuned, loss = self.finetuned[batch.comparison], self.losses[batch.comparison]
        self.training_queries[batch.comparison].append(finetuned.step(batch.tokens, self.learning_rate, loss))

    def on_train_end(self) -> None:
        """Stop the clock, and log each example's loss before its step."""
        wait_for(self.device)
        self.seconds += time.perf_counter() - self._started
        losses = {self._prefix(item): of.losses for item, of in zip(self.comparisons, self.finetuned, strict=True)}
        for step in range(max(map(len, losses.values()))):
            of_step = {f"{name}finetune/loss": of[step].item() for name, of in losses.items() if step < len(of)}
            for logger in self.loggers:
                logger.log_metrics(of_step, step=step)
        self.finetuning_failures = [finetuning_failure(of) for of in self.finetuned]
        for item, failure in zip(self.comparisons, self.finetuning_failures, strict=True):
            if failure is not None:
                self._warn(item, "finetuning", f"{failure}, try a smaller finetune.learning_rate")

    def on_test_start(self) -> None:
        """Run all demonstrations once."""
        self._started = time.perf_counter()
        for item, queries in zip(self.comparisons, self.training_queries, strict=True):
            spans = item.prompts.demonstration_spans
            positions = [position for start, stop in spans for position in range(start, stop)]
            num_start = len(item.prompts.start)
            layers = [torch.cat([part[num_start:] for part in of_layer]) for of_layer in zip(*queries, strict=True)]
            lengths = [len(demonstration) for demonstration in item.prompts.demonstrations]
            where = torch.tensor(positions, device=self.device)
            self.attention.append(FinetuningAttention(torch.stack(layers), where, lengths))
            self.contexts.append(run_context(item.model, item.prompts.context))
        self.training_queries = []

    def test_step(self, batch: QueryBatch, batch_idx: int) -> dict[str, Observation]:
        """See a batch of queries in the three settings of every comparison; return those of the first."""
        zero_shot: dict[int, Observation] = {}
        first = {}
        for index, (item, similarities) in enumerate(zip(self.comparisons, self.similarities, strict=True)):
            model, answers, start = item.model, item.prompts.answers, item.prompts.start
            if id(model) not in zero_shot:  # controls that change the demonstrations share it
                zero_shot[id(model)] = observe(model, batch, answers, start)
                self._look(index, "zero-shot", zero_shot[id(model)])
            in_context = observe(
                model,
                batch,
                answers,
                context=self.contexts[index],
                finetuned=self.finetuned[index].parameters,
                demonstration_tokens=self.attention[index].positions,
            )
            with self.finetuned[index].applied():
                finetuned = observe(model, batch, answers, start)
            self._look(index, "in-context", in_context)
            if self.finetuning_failures[index] is None:  # otherwise it has been said
                self._look(index, "finetuned", finetuned)
            assert isinstance(similarities, Similarities)
            similarities.update(batch, zero_shot[id(model)], in_context, finetuned, self.attention[index])
            if index == 0:
                first = {"zero_shot": zero_shot[id(model)], "in_context": in_context, "finetuned": finetuned}
        return first

    def on_test_epoch_end(self) -> None:
        """Compute the summary over all processes."""
        for item, similarities in zip(self.comparisons, self.similarities, strict=True):
            assert isinstance(similarities, Similarities)
            self.results |= {f"{self._prefix(item)}{name}": value for name, value in similarities.results().items()}
        for (index, setting), counts in self.failures.items():
            total = self.trainer.strategy.reduce(counts, reduce_op="sum")
            assert isinstance(total, Tensor)
            if (failure := first_failure(total)) is not None:
                self._warn(self.comparisons[index], f"scores {setting}", failure)
        self.seconds += time.perf_counter() - self._started

    def _look(self, index: int, setting: str, seen: Observation) -> None:
        """Count where a setting is not finite, without waiting for the device."""
        bad = (~seen.is_finite).long()
        self.failures[index, setting] = self.failures.get((index, setting), 0) + bad

    def _warn(self, item: Comparison, what: str, failure: str) -> None:
        if self.trainer.is_global_zero:
            say(
                f"warning: {f'{item.name}: ' if item.name else ''}{what}: not finite {failure}; what rests on it is nan"
            )

    @staticmethod
    def _prefix(comparison: Comparison) -> str:
        return f"{comparison.name}/" if comparison.name else ""
