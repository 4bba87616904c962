"""One comparison of in-context learning with finetuning, from its first demonstration to its numbers."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from lightning.fabric.utilities import move_data_to_device
from torch import Tensor

from iclgd.analysis.attention_capture import check_capture
from iclgd.analysis.calibration import content_free_scores
from iclgd.analysis.finetune import Finetuned, make_loss
from iclgd.analysis.kv_context import Context, run_context
from iclgd.analysis.observe import Observation, observe
from iclgd.analysis.query_values import QueryValues
from iclgd.analysis.watching import make_watchable
from iclgd.data.orders import Order, reordered
from iclgd.data.prompts import Prompts
from iclgd.data.text_datamodule import QueryBatch, query_batches
from iclgd.measures import CALIBRATION, LABELS, ORDERS
from iclgd.metrics import Resampling
from iclgd.models.faster_modules import Faster
from iclgd.models.language import LanguageModel
from iclgd.modules.finiteness import finetuning_failure
from iclgd.modules.orders import OtherOrder
from iclgd.modules.similarities import FinetuningAttention, Similarities


@dataclass(frozen=True)
class Comparison:
    """What is compared: a model that learns from demonstrations, by prompt and by gradient.

    Args:
        name: of the control; empty for the comparison itself.
        model: the base model, which may be shared with other comparisons.
        prompts: demonstrations and queries; all comparisons have the same queries.
        draw: the number of the draw of demonstrations, from 0.
        orders: other orders of its demonstrations, in which both kinds of learning are repeated.
    """

    name: str
    model: LanguageModel
    prompts: Prompts
    draw: int = 0
    orders: tuple[Order, ...] = ()

    @property
    def prefix(self) -> str:
        """Return how the summary names of its numbers begin."""
        return f"{self.name}/" if self.name else ""


class ComparisonState:
    """What a comparison holds while it is made.

    Attributes:
        training_queries: of each demonstration before its step, for each layer, (T, H * E).
        finetuning_failure: from where on finetuning is not finite; ``None`` if it is.
        similarities: everything that is measured.
        values: what single queries add to the measures that are means, in batches.
        content_free: answers' scores without any content in each setting, (number of answers,), float64; if calibrated.
        not_finite: in each setting, how often each layer, and last the scores, were not finite, (L + 1,).

    Args:
        comparison: what is compared.
        method: of finetuning.
        resampling: of the bootstrap, shared by all comparisons.
        random_updates: see :class:`~iclgd.modules.similarities.EvaluationConfig`.

    Raises:
        LanguageModelError: if the model's attention cannot be captured or the finetuning method is not for it.
    """

    finetuned: Finetuned
    context: Context
    attention: FinetuningAttention

    def __init__(self, comparison: Comparison, method: str, resampling: Resampling, random_updates: str) -> None:
        self.comparison, self.model, self.prompts = comparison, comparison.model, comparison.prompts
        check_capture(self.model)
        make_watchable(self.model)
        self.faster = Faster(self.model.model)
        extras = [ORDERS] * bool(comparison.orders) + [CALIBRATION] * bool(self.prompts.content_free)
        extras += [LABELS] * self.prompts.has_common_labels
        num_shown = len(self.prompts.demonstrations)
        self.similarities = Similarities(self.model.num_layers, resampling, random_updates, extras, num_shown)
        self.orders = [OtherOrder(self.model, reordered(self.prompts, order)) for order in comparison.orders]
        self.loss: Callable[[Tensor], Tensor] = make_loss(self.model, method)
        self.training_queries: list[list[Tensor]] = []
        self.finetuning_failure: str | None = None
        self.values: list[QueryValues] = []
        self.content_free: dict[str, Tensor] = {}
        self.not_finite: dict[str, Tensor] = {}

    def start(self) -> None:
        """Start from the base model, which is on its device."""
        self.finetuned = Finetuned(self.model)
        for order in self.orders:
            order.start()

    def learn(self, tokens: tuple[int, ...], learning_rate: float) -> None:
        """Take one step on one demonstration, and on that which is next in each other order."""
        with self.faster.applied():
            self.training_queries.append(self.finetuned.step(tokens, learning_rate, self.loss))
            for order in self.orders:
                order.learn(learning_rate, self.loss)

    def end_learning(self) -> None:
        """Look whether finetuning was finite."""
        self.finetuning_failure = finetuning_failure(self.finetuned)
        for order in self.orders:
            if self.finetuning_failure is None and (failure := finetuning_failure(order.finetuned)) is not None:
                self.finetuning_failure = f"{failure}, in another order"

    def read_context(self, device: torch.device) -> None:
        """Run all demonstrations once, and keep of the finetuning pass what their attention is compared with.

        Args:
            device: where queries are measured; the layers may be on others.
        """
        prompts = self.prompts
        num_start = len(prompts.start)
        layers = [
            torch.cat([part[num_start:] for part in of_layer]).to(device)
            for of_layer in zip(*self.training_queries, strict=True)
        ]
        lengths = [len(demonstration) for demonstration in prompts.demonstrations]
        where = torch.tensor(prompts.demonstration_positions, device=device)
        labels = torch.tensor(prompts.demonstration_labels, device=device) if prompts.has_common_labels else None
        self.attention = FinetuningAttention(torch.stack(layers), where, lengths, labels)
        self.training_queries = []
        with self.faster.applied():
            self.context = run_context(self.model, prompts.context)
            for order in self.orders:
                order.read_context()
            if prompts.content_free:
                self._calibrate(device)

    def _calibrate(self, device: torch.device) -> None:
        """See the queries without content in the three settings."""
        prompts = replace(self.prompts, queries=self.prompts.content_free, labels=(0,) * len(self.prompts.content_free))
        (batch,) = query_batches(prompts, len(prompts.queries))
        batch = move_data_to_device(batch, device)
        zero_shot = observe(self.model, batch, prompts.answers, prompts.start)
        in_context = observe(self.model, batch, prompts.answers, context=self.context)
        with self.finetuned.applied():
            finetuned = observe(self.model, batch, prompts.answers, prompts.start)
        seen = {"zero_shot": zero_shot, "in_context": in_context, "finetuned": finetuned}
        self.content_free = {setting: content_free_scores(each.answer_scores) for setting, each in seen.items()}

    def see(self, batch: QueryBatch, zero_shot: Observation | None) -> dict[str, Observation]:
        """See a batch of queries in the three settings, and measure.

        Args:
            batch: the queries.
            zero_shot: what the same model has shown already, as another comparison asked.

        Returns:
            ``zero_shot``, ``in_context`` and ``finetuned``.
        """
        answers, start = self.prompts.answers, self.prompts.start
        with self.faster.applied():
            is_seen = zero_shot is not None
            zero_shot = zero_shot or observe(self.model, batch, answers, start)
            in_context = observe(
                self.model,
                batch,
                answers,
                context=self.context,
                finetuned=self.finetuned.parameters,
                demonstration_tokens=self.attention.positions,
            )
            with self.finetuned.applied():
                finetuned = observe(self.model, batch, answers, start)
            orders = [order.see(batch) for order in self.orders]
        if not is_seen:
            self._look("zero-shot", zero_shot)
        self._look("in-context", in_context)
        if self.finetuning_failure is None:  # otherwise it has been said
            self._look("finetuned", finetuned)
        settings = zero_shot, in_context, finetuned
        self.values.append(self.similarities.update(batch, *settings, self.attention, orders, self.content_free))
        return {"zero_shot": zero_shot, "in_context": in_context, "finetuned": finetuned}

    def _look(self, setting: str, seen: Observation) -> None:
        """Count where a setting is not finite, without waiting for the device."""
        self.not_finite[setting] = self.not_finite.get(setting, 0) + (~seen.is_finite).long()
