"""How often a language model is right after 0, 1, 2, ... demonstrations: does it learn in its context at all?"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from iclgd import checks
from iclgd.analysis.answers import Answered, Answers, CollectedAnswers, Place
from iclgd.analysis.attention_capture import check_capture
from iclgd.analysis.kv_context import Context, run_context
from iclgd.analysis.observe import NO_ANSWER, observe
from iclgd.analysis.watching import make_watchable
from iclgd.data.prompts import Prompts
from iclgd.data.text_datamodule import QueryBatch
from iclgd.metrics import crossed_share_interval, wilson_interval
from iclgd.models.language import LanguageModel
from iclgd.modules.draws import of_draw
from iclgd.runtime.recording import wait_for

ZERO_SHOT = "zero_shot"  # the setting without any, as text runs call it


@dataclass(frozen=True)
class FewShotConfig:
    """After how many demonstrations a model is asked.

    Raises:
        ValueError: if a value is out of its range.
    """

    numbers: list[int] = field(default_factory=lambda: [1, 2, 4, 8, 16, 32])
    """Numbers of demonstrations, beside none; those that are more than there are in a context are passed over."""
    batch_size: int = 64
    """Queries at once; the results do not depend on it."""

    def __post_init__(self) -> None:
        checks.at_least(1, "evaluation", self, "batch_size")
        if not self.numbers or min(self.numbers) < 1 or len(set(self.numbers)) < len(self.numbers):
            raise ValueError(f"evaluation.numbers must be different numbers from 1 on, got {self.numbers}")


class FewShotModule(LightningModule):
    """The accuracy against the number of demonstrations.

    ``test`` asks each query without demonstrations, and after the first few of each draw's; queries may be divided
    among processes. A context is run once: the keys and values of its first demonstrations are those of a shorter one.
    After testing, ``results`` has the summary, and :meth:`answered` every query's answers.

    Args:
        model: that is asked.
        prompts: of each draw of demonstrations; the queries are the same.
        numbers: of demonstrations, each at most as many as every draw has.

    Raises:
        LanguageModelError: if the model's attention cannot be captured.
    """

    def __init__(self, model: LanguageModel, prompts: Sequence[Prompts], numbers: Sequence[int]) -> None:
        super().__init__()
        check_capture(model)
        make_watchable(model)
        self.model, self.prompts = model, list(prompts)
        self.settings = {ZERO_SHOT: 0, **{after(number): number for number in sorted(numbers)}}
        self.module = model.model  # Lightning is told of what it has to bring to a device
        self.contexts: list[Context] = []
        self.collected = CollectedAnswers()
        self.answers: dict[Place, Answers] = {}
        self.results: dict[str, float] = {}
        self.seconds = 0.0

    def on_test_start(self) -> None:
        """Run each draw's demonstrations once."""
        self._started = time.perf_counter()
        self.collected = CollectedAnswers()
        self.contexts = [run_context(self.model, prompts.context) for prompts in self.prompts]

    def test_step(self, batch: QueryBatch, batch_idx: int) -> None:
        """Ask a batch of queries without demonstrations, and after each number of each draw's."""
        first = self.prompts[0]
        zero_shot = observe(self.model, batch, first.answers, first.start)
        for draw, (prompts, context) in enumerate(zip(self.prompts, self.contexts, strict=True)):
            self.collected.add(draw, ZERO_SHOT, batch.indices, zero_shot)
            for setting, number in self.settings.items():
                if number:
                    shorter = context.first(prompts.context_length(number))
                    seen = observe(self.model, batch, prompts.answers, context=shorter)
                    self.collected.add(draw, setting, batch.indices, seen)

    def on_test_epoch_end(self) -> None:
        """Compute the summary over all processes."""
        self.answers = self.collected.gathered(self.trainer.world_size)
        labels = torch.tensor(self.prompts[0].labels)
        draws = range(len(self.prompts))
        for setting, number in self.settings.items():
            name = f"accuracy/{after(number)}"
            right = torch.stack([_is_right(self.answers[draw, setting], labels) for draw in draws])
            self.results |= _with_interval(name, right)
            if len(draws) > 1:
                for draw in draws:
                    self.results |= _with_interval(f"{of_draw(draw)}{name}", right[draw : draw + 1])
        wait_for(self.device)
        self.seconds = time.perf_counter() - self._started

    def answered(self) -> list[Answered]:
        """Return what each draw's queries were answered, by the number of demonstrations."""
        return [
            Answered("", draw, prompts, {setting: self.answers[draw, setting] for setting in self.settings}, {}, {})
            for draw, prompts in enumerate(self.prompts)
        ]


def after(number: int) -> str:
    """Return how a number of demonstrations is called in names.

    Example:
        >>> after(4)
        '4_demonstrations'
    """
    return f"{number}_demonstrations"


def _is_right(answers: Answers, labels: Tensor) -> Tensor:
    """Return 1, 0 or NaN for each query, (Q,), float64."""
    right = (answers.choices == labels).double()
    return right.masked_fill(answers.choices == NO_ANSWER, torch.nan)


def _with_interval(name: str, right: Tensor) -> dict[str, float]:
    """Return a share with its interval, from which queries are right after each draw, (K, Q)."""
    if len(right) > 1:
        found = crossed_share_interval(right, torch.ones_like(right))
    else:
        share = right.mean()
        found = torch.cat([share[None], wilson_interval(share, torch.tensor(right.shape[1]))])
    return dict(zip((name, f"{name}_low", f"{name}_high"), found.tolist(), strict=True))
