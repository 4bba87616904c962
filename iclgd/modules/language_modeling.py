"""Train a language model on sequences of demonstrations, or on text."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.optim.lr_scheduler import LambdaLR
from transformers import GPT2LMHeadModel

from iclgd import checks
from iclgd.analysis.gradients import clip_by_global_norm
from iclgd.data.few_shot_language import TokenBatch
from iclgd.modules.finiteness import LossWatch
from iclgd.modules.optimizer_config import OptimizerConfig
from iclgd.runtime.throughput import model_flops_per_token
from iclgd.vendors.transformers import gpt2_positions


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
    accumulation: int = 1
    """Parts of a step's sequences, one after the other: less memory, the same step."""
    gradient_clip: float = 1.0
    weight_decay: float = 0.1
    growth_steps: int = 0
    """Steps in which sequences grow from a fifth of their demonstrations: early steps cost less."""
    label_weight: float = 4.0
    """Weight of the labels' mean loss beside that of all tokens."""

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.at_least(0, "training", self, "growth_steps", "label_weight")
        checks.at_least(1, "training", self, "accumulation")


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
    lengths: list[int] = field(default_factory=list)
    """Of a corpus: further lengths of sequences to evaluate on, in tokens."""
    num_samples: int = 4
    """Texts to draw from the trained model, as long as a sequence, into samples.txt."""

    def __post_init__(self) -> None:
        checks.at_least(1, "evaluation", self, "every_num_steps", "num_sequences")
        checks.at_least(0, "evaluation", self, "num_samples")
        for length in self.lengths:
            if length < 1:
                raise ValueError(f"evaluation.lengths must be at least 1 each, got {length}")


class LanguageModelingModule(LightningModule):
    """Training by next-token prediction, with some weight on the labels where there are any.

    Logs ``train/loss``, the mean objective since the last evaluation. When evaluating it logs ``val/loss`` and
    ``val/perplexity`` (of all tokens), and of sequences with labels ``val/label_loss``, ``accuracy/K_demonstrations``:
    the share of correct labels, among all words, after K demonstrations, and ``accuracy/TASK``: the same over all
    demonstrations. Where sequences of several lengths are evaluated, these are of the first, and
    ``val/perplexity/LENGTH_tokens`` of each.

    A step's gradient is that of its whole batch, in however many parts and on however many processes it is computed:
    all parts have as many tokens, and as many labels, so that the mean over parts is the mean over all.

    Args:
        model: what to train.
        training: optimiser, objective and clipping.
        task_name: of the language.
        lengths: of the sequences that each evaluation dataloader has, in tokens to predict, if there are several.
        compiled: whether kernels are made of model and loss to train.
        fused: whether AdamW takes its step in one kernel on a CPU, too: faster, and rounds differently.
    """

    def __init__(
        self,
        model: GPT2LMHeadModel,
        training: TrainingConfig,
        task_name: str,
        lengths: Sequence[int] = (),
        compiled: bool = False,
        fused: bool = False,
    ) -> None:
        super().__init__()
        self.task_name = task_name
        self.model = model
        self.training_config = training
        self.loss_watch = LossWatch()
        self.lengths = lengths
        self.num_tokens = self.num_flops = 0  # that this process has learned to predict since it was started, and spent
        self.fused = fused
        self._each_loss, self._mean_loss = (
            torch.compile(function) if compiled else function for function in (next_token_losses, mean_loss)
        )
        self._num_weights = sum(weight.numel() for weight in self._decaying())
        self._losses: list[Tensor] = []  # of the steps since the last evaluation
        self._sums: dict[int, dict[str, Tensor]] = {}  # of each evaluation dataloader

    def configure_model(self) -> None:
        """Share out each weight among the processes, where the strategy has laid them out for that.

        In groups: the weights of a block, and then all others; a group is whole on each process only while it computes.
        """
        if self.device_mesh is not None and not isinstance(self.model, FSDPModule):
            mesh = self.device_mesh["data_parallel"]
            for block in self.model.transformer.h:
                fully_shard(block, mesh=mesh)
            fully_shard(self.model, mesh=mesh)

    def training_step(self, batch: TokenBatch, batch_idx: int) -> Tensor:
        """Return the objective on a batch."""
        loss: Tensor
        if batch.is_label is None:
            loss = self._mean_loss(self.model, batch.tokens)
        else:
            losses = self._each_loss(self.model, batch.tokens)
            loss = losses.mean() + self.training_config.label_weight * losses[batch.is_label[:, 1:]].mean()
        self._losses.append(loss.detach())
        targets = batch.tokens[:, 1:]
        self.num_tokens += targets.numel()
        self.num_flops += targets.numel() * self.flops_per_token(targets.shape[1])
        return loss

    def on_train_batch_end(self, outputs: Any, batch: TokenBatch, batch_idx: int) -> None:
        """Log the mean loss before an evaluation."""
        if self.trainer.is_last_batch:
            losses, self._losses = torch.stack(self._losses).view(-1, self.training_config.accumulation), []
            if self.trainer.is_global_zero:
                self.loss_watch.look(losses, self.global_step - len(losses))
            self.log("train/loss", losses.mean(), logger=False, sync_dist=True)

    def configure_gradient_clipping(self, optimizer: torch.optim.Optimizer, *args: Any, **kwargs: Any) -> None:
        """Clip as all trainings here do: the Trainer's own way adds something to the norm."""
        clip_by_global_norm(list(self.model.parameters()), self.training_config.gradient_clip)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Return AdamW and its schedule; biases, layer norms' weights and positions do not decay."""
        config, decaying = self.training_config, self._decaying()
        others = [weight for weight in self.model.parameters() if not any(weight is each for each in decaying)]
        groups: list[dict[str, Any]] = [{"params": decaying}, {"params": others, "weight_decay": 0.0}]
        # The schedule multiplies this rate of 1, which changes no bit of its own.
        optimizer = torch.optim.AdamW(
            groups,
            lr=1.0,
            betas=(config.beta1, config.beta2),
            weight_decay=config.weight_decay,
            fused=True if self.fused or decaying[0].is_cuda else None,
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

    def validation_step(self, batch: TokenBatch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Add up what is measured on a batch."""
        logits = next_logits(self.model, batch.tokens)
        losses = losses_of(logits, batch.tokens, batch.is_label is None)
        sums = {"losses": losses.double().sum(), "num_tokens": losses.new_tensor(losses.numel(), dtype=torch.double)}
        if batch.is_label is not None:
            is_label, is_right = batch.is_label[:, 1:], logits.argmax(-1) == batch.tokens[:, 1:]
            # A guess from logits that are not finite is none, not even a wrong one.
            guesses = is_right[is_label].double().where(losses[is_label].isfinite(), torch.nan)
            sums |= {"label_losses": losses[is_label].double().sum(), "right": guesses.view(len(losses), -1).sum(0)}
            sums["num_sequences"] = losses.new_tensor(len(losses), dtype=torch.double)
        before = self._sums.get(dataloader_idx, {})
        self._sums[dataloader_idx] = {name: value + before.get(name, 0.0) for name, value in sums.items()}

    def on_validation_epoch_end(self) -> None:
        """Log what was measured, over all processes."""
        reduce = self.trainer.strategy.reduce
        of_loaders = [
            {name: reduce(value, reduce_op="sum") for name, value in self._sums[index].items()}
            for index in sorted(self._sums)
        ]
        losses, sums = [each["losses"] / each["num_tokens"] for each in of_loaders], of_loaders[0]
        values = {"val/loss": losses[0], "val/perplexity": losses[0].exp()}
        if len(losses) > 1:
            for length, loss in zip(self.lengths, losses, strict=True):
                values[f"val/perplexity/{length}_tokens"] = loss.exp()
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

    def _decaying(self) -> list[nn.Parameter]:
        """Return the weights that decay, which are those that tokens are multiplied with."""
        positions = gpt2_positions(self.model)
        return [weight for weight in self.model.parameters() if weight.dim() > 1 and weight is not positions]

    def flops_per_token(self, num_tokens: int) -> int:
        """Return the model's operations of training on a token of a sequence of so many."""
        config = self.model.config
        return model_flops_per_token(self._num_weights, config.n_layer, config.n_embd, num_tokens)


def next_logits(model: GPT2LMHeadModel, tokens: Tensor) -> Tensor:
    """Return what a model expects after each token but the last, (B, T - 1, V), from tokens (B, T)."""
    logits: Tensor = model(tokens[:, :-1], use_cache=False).logits.float()
    return logits


def losses_of(logits: Tensor, tokens: Tensor, is_text: bool) -> Tensor:
    """Return the loss of each token after the first, (B, T - 1).

    Args:
        logits: (B, T - 1, V).
        tokens: (B, T).
        is_text: whether there are no labels.
    """
    targets = tokens[:, 1:]
    if is_text:  # twice as fast
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none").view_as(targets)
    return F.cross_entropy(logits.mT, targets, reduction="none")  # rounds as when the embedded model was trained


def next_token_losses(model: GPT2LMHeadModel, tokens: Tensor) -> Tensor:
    """Return the loss of each token after the first, (B, T - 1), where some are labels; tokens are (B, T)."""
    return losses_of(next_logits(model, tokens), tokens, is_text=False)


def mean_loss(model: GPT2LMHeadModel, tokens: Tensor) -> Tensor:
    """Return the mean loss of text, from tokens (B, T): without each token's own, which would take a pass more."""
    return F.cross_entropy(next_logits(model, tokens).flatten(0, 1), tokens[:, 1:].flatten())


def shown_numbers(num_demonstrations: int) -> list[int]:
    """Return the numbers of demonstrations after which the accuracy is logged, all below ``num_demonstrations``.

    Example:
        >>> shown_numbers(10)
        [0, 1, 2, 4, 8]
    """
    return [0, *(2**power for power in range(num_demonstrations.bit_length()) if 2**power < num_demonstrations)]
