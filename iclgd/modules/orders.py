"""The same demonstrations in other orders: in the context, and in the steps of finetuning; Shen et al. 2023."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from iclgd.analysis.finetune import Finetuned
from iclgd.analysis.kv_context import Context, run_context
from iclgd.analysis.observe import observe
from iclgd.analysis.seen_queries import Reordered
from iclgd.data.prompts import Prompts
from iclgd.data.text_datamodule import QueryBatch
from iclgd.metrics import Bootstrap, OrderSensitivity, Resampling
from iclgd.models.language import LanguageModel

LEARNING = ("in_context", "finetuned")  # the settings that an order can matter to


class OtherOrder:
    """What one more order of a comparison's demonstrations makes of the same model.

    Args:
        model: the base model.
        prompts: the comparison's, with the demonstrations in this order.
    """

    finetuned: Finetuned
    context: Context

    def __init__(self, model: LanguageModel, prompts: Prompts) -> None:
        self.model, self.prompts = model, prompts

    def start(self) -> None:
        """Start from the base model, which is on its device."""
        self.finetuned = Finetuned(self.model)

    def learn(self, learning_rate: float, loss: Callable[[Tensor], Tensor]) -> None:
        """Take one step, on the demonstration that is next in this order."""
        examples = self.prompts.finetuning_examples
        self.finetuned.step(examples[len(self.finetuned.losses)], learning_rate, loss)

    def read_context(self) -> None:
        """Run all demonstrations once."""
        self.context = run_context(self.model, self.prompts.context)

    def see(self, batch: QueryBatch) -> dict[str, Reordered]:
        """See a batch of queries in context and finetuned, and keep what measures of order take."""
        answers, start = self.prompts.answers, self.prompts.start
        in_context = observe(self.model, batch, answers, context=self.context)
        with self.finetuned.applied():
            finetuned = observe(self.model, batch, answers, start)
        seen = zip(LEARNING, (in_context, finetuned), strict=True)
        return {setting: Reordered(each.next_token, each.predictions) for setting, each in seen}


class SelectionSensitivity(nn.Module):
    """How much it matters which demonstrations are drawn: what the order's sensitivity is to be seen beside.

    The same spread, over draws of demonstrations. Its intervals are over queries: the draws are those that there are.

    Args:
        resampling: of the bootstrap, shared by all comparisons.
    """

    def __init__(self, resampling: Resampling) -> None:
        super().__init__()
        self.num_replicates = resampling.num_replicates
        self.metrics = nn.ModuleDict({setting: Bootstrap(OrderSensitivity(), resampling) for setting in LEARNING})

    def update(self, indices: Tensor, draws: Sequence[Mapping[str, Tensor]]) -> None:
        """Add a batch of queries.

        Args:
            indices: of the queries, ``(B,)``.
            draws: of each, the next token's log-probabilities by setting, ``(B, V)``.
        """
        for setting, metric in self.metrics.items():
            assert isinstance(metric, Bootstrap)
            metric.update(torch.stack([draw[setting] for draw in draws], 1), indices=indices)

    def results(self) -> dict[str, float]:
        """Return the numbers by summary name; processes must call it together."""
        numbers: dict[str, float] = {}
        for setting, metric in self.metrics.items():
            assert isinstance(metric, Bootstrap)
            name, (mean, low, high) = f"selection_sensitivity/{setting}", metric.compute()[-1].tolist()
            numbers[name] = mean
            if self.num_replicates:
                numbers |= {f"{name}_low": low, f"{name}_high": high}
        return numbers
