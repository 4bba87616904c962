"""Train a language model on sequences of demonstrations, or on text."""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from transformers import GPT2LMHeadModel

from iclgd import checks
from iclgd.analysis.gradients import clip_by_global_norm
from iclgd.data.few_shot_language import TokenBatch
from iclgd.modules.finiteness import LossWatch
from iclgd.modules.optimizer_config import OptimizerConfig


@dataclass(frozen=True, kw_only=True)
class TrainingConfig(OptimizerConfig):
    """How a language model is trained.

    Raises:
        ValueError: if a value is out of its range.
    """

    learning_rate: float = 1e-3
    schedule: str = "cosine"
    warmup_steps: int = 100
    batch_size: int = 32
    """Sequences of a step, all devices together."""
    gradient_clip: float = 1.0
    weight_decay: float = 0.1
    growth_steps: int = 0
    """Steps in which sequences grow from a fifth of their demonstrations: early steps cost less."""
    label_weight: float = 4.0
    """Weight of the labels' mean loss beside that of all tokens."""

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.at_least(0, "training", self, "growth_steps", "label_weight")


@dataclass(frozen=True)
class EvaluationConfig:
    """When and on how much the language model is evaluated.

    Raises:
        ValueError: if a value is out of its range.
    """

    every_num_steps: int = 100
    """Steps between two evaluations."""
    num_sequences: int = 256
    """Sequences of an evaluation."""

    def __post_init__(self) -> None:
        checks.at_least(1, "evaluation", self, "every_num_steps", "num_sequences")


class LanguageModelingModule(LightningModule):
    """Training by next-token prediction, with some weight on the labels where there are any.

    Logs ``train/loss``, the mean objective since the last evaluation. When evaluating it logs ``val/loss`` and
    ``val/perplexity`` (of all tokens), and of sequences with labels ``val/label_loss``, ``accuracy/K_demonstrations``:
    the share of correct labels, among all words, after K demonstrations, and ``accuracy/TASK``: the same over all
    demonstrations.

    Args:
        model: what to train.
        training: optimiser, objective and clipping.
        task_name: of the language.
    """

    def __init__(self, model: GPT2LMHeadModel, training: TrainingConfig, task_name: str) -> None:
        super().__init__()
        self.task_name = task_name
        self.model = model
        self.training_config = training
        self.loss_watch = LossWatch()
        self.num_tokens = 0  # that this process has trained on since it was started
        self._losses: list[Tensor] = []  # of the steps since the last evaluation
        self._sums: dict[str, Tensor] = {}

    def training_step(self, batch: TokenBatch, batch_idx: int) -> Tensor:
        """Return the objective on a batch."""
        losses, _ = self.losses(batch)
        loss = losses.mean()
        if batch.is_label is not None:
            loss = loss + self.training_config.label_weight * losses[batch.is_label[:, 1:]].mean()
        self._losses.append(loss.detach())
        self.num_tokens += batch.tokens.numel()
        return loss

    def on_train_batch_end(self, outputs: Any, batch: TokenBatch, batch_idx: int) -> None:
        """Log the mean loss before an evaluation."""
        if self.trainer.is_last_batch:
            losses, self._losses = torch.stack(self._losses), []
            if self.trainer.is_global_zero:
                self.loss_watch.look(losses[:, None], self.global_step - len(losses))
            self.log("train/loss", losses.mean(), logger=False, sync_dist=True)

    def configure_gradient_clipping(self, optimizer: torch.optim.Optimizer, *args: Any, **kwargs: Any) -> None:
        """Clip as all trainings here do: the Trainer's own way adds something to the norm."""
        clip_by_global_norm(list(self.model.parameters()), self.training_config.gradient_clip)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Return AdamW and its schedule; biases, layer norms' weights and positions do not decay."""
        config = self.training_config
        decaying: list[nn.Parameter] = []
        others: list[nn.Parameter] = []
        positions = self.model.transformer.wpe.weight
        for parameter in self.model.parameters():
            (decaying if parameter.dim() > 1 and parameter is not positions else others).append(parameter)
        groups: list[dict[str, Any]] = [{"params": decaying}, {"params": others, "weight_decay": 0.0}]
        # The schedule multiplies this rate of 1, which changes no bit of its own.
        optimizer = torch.optim.AdamW(
            groups, lr=1.0, betas=(config.beta1, config.beta2), weight_decay=config.weight_decay
        )
        schedule = LambdaLR(optimizer, lambda step: config.learning_rate_at(step, self.trainer.max_steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse a checkpoint whose steps Lightning would not count.

        Raises:
            InputError: if it was written when this module took its optimiser steps itself.
        """
        if not checkpoint["lr_schedulers"]:
            raise checks.InputError(
                "the checkpoint is of an earlier version, whose training of language models cannot be continued; "
                "start a new run"
            )

    def on_validation_epoch_start(self) -> None:
        """Start counting."""
        self._sums = {}

    def validation_step(self, batch: TokenBatch, batch_idx: int) -> None:
        """Add up what is measured on a batch."""
        losses, logits = self.losses(batch)
        sums = {"losses": losses.double().sum(), "num_tokens": losses.new_tensor(losses.numel(), dtype=torch.double)}
        if batch.is_label is not None:
            is_label, is_right = batch.is_label[:, 1:], logits.argmax(-1) == batch.tokens[:, 1:]
            # A guess from logits that are not finite is none, not even a wrong one.
            guesses = is_right[is_label].double().where(losses[is_label].isfinite(), torch.nan)
            sums |= {"label_losses": losses[is_label].double().sum(), "right": guesses.view(len(losses), -1).sum(0)}
            sums["num_sequences"] = losses.new_tensor(len(losses), dtype=torch.double)
        self._sums = {name: value + self._sums.get(name, 0.0) for name, value in sums.items()}

    def on_validation_epoch_end(self) -> None:
        """Log what was measured, over all processes."""
        sums = {name: self.trainer.strategy.reduce(value, reduce_op="sum") for name, value in self._sums.items()}
        loss = sums["losses"] / sums["num_tokens"]
        values = {"val/loss": loss, "val/perplexity": loss.exp()}
        if "right" in sums:
            right = sums["right"] / sums["num_sequences"]  # (N,)
            values[f"accuracy/{self.task_name}"] = right.mean()
            values["val/label_loss"] = sums["label_losses"] / sums["num_sequences"] / len(right)
            for number in shown_numbers(len(right)):
                values[f"accuracy/{number}_demonstrations"] = right[number]
        self.log_dict({name: value.float() for name, value in values.items()}, logger=False)

    on_test_epoch_start, test_step, on_test_epoch_end = (
        on_validation_epoch_start,
        validation_step,
        on_validation_epoch_end,
    )

    def losses(self, batch: TokenBatch) -> tuple[Tensor, Tensor]:
        """Return the loss of each token after the first, (B, T - 1), and the logits, (B, T - 1, V)."""
        targets = batch.tokens[:, 1:]
        logits = self.model(batch.tokens[:, :-1], use_cache=False).logits.float()
        if batch.is_label is None:  # a third faster
            losses = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none").view_as(targets)
        else:  # which rounds as when the embedded model was trained
            losses = F.cross_entropy(logits.mT, targets, reduction="none")
        return losses, logits


def shown_numbers(num_demonstrations: int) -> list[int]:
    """Return the numbers of demonstrations after which the accuracy is logged, all below ``num_demonstrations``.

    Example:
        >>> shown_numbers(10)
        [0, 1, 2, 4, 8]
    """
    return [0, *(2**power for power in range(num_demonstrations.bit_length()) if 2**power < num_demonstrations)]
