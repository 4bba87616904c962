"""Train a transformer on sequences of dynamical systems, and compare it with textbook learners on the way."""

from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from iclgd import checks
from iclgd.analysis.gradients import clip_by_global_norm
from iclgd.analysis.sequences.controls import Controls
from iclgd.data.sequences import SequenceBatch
from iclgd.models.sequences import SequenceTransformer
from iclgd.models.sequences.solvers import sequence_losses
from iclgd.modules.finiteness import LossWatch
from iclgd.modules.optimizer_config import OptimizerConfig
from iclgd.student_t import t_quantile


@dataclass(frozen=True, kw_only=True)
class TrainingConfig(OptimizerConfig):
    """How a transformer over sequences is trained."""

    learning_rate: float = 1e-3
    schedule: str = "cosine"
    warmup_steps: int = 100
    batch_size: int = 256
    """Sequences of a step, all devices together."""
    gradient_clip: float = 1.0
    weight_decay: float = 0.0


@dataclass(frozen=True)
class EvaluationConfig:
    """When and on how much the transformer is compared with the learners.

    Raises:
        ValueError: if a value is out of its range.
    """

    every_num_steps: int = 100
    """Steps between two evaluations."""
    num_sequences: int = 1024
    """Sequences of an evaluation."""
    num_lags: int = 1
    """Last observations that the learners predict the next one from."""

    def __post_init__(self) -> None:
        checks.at_least(1, "evaluation", self, "every_num_steps", "num_lags")
        checks.at_least(2, "evaluation", self, "num_sequences")


class SequenceModule(LightningModule):
    """Training by the loss of the next observation, mean over positions; half the squared error.

    Logs ``train/loss``, and when evaluating ``loss/transformer`` and ``loss/CONTROL``; in the test also the 95 %
    intervals over sequences, ``loss/NAME_low`` and ``loss/NAME_high``.

    Args:
        transformer: what to train.
        controls: the learners beside it.
        training: optimiser and clipping.
    """

    def __init__(self, transformer: SequenceTransformer, controls: Controls, training: TrainingConfig) -> None:
        super().__init__()
        self.transformer = transformer
        self.controls = controls
        self.training_config = training
        self.loss_watch = LossWatch()
        self._losses: list[Tensor] = []  # of the steps since the last evaluation
        self._of_controls: dict[int, dict[str, Tensor]] = {}  # losses on each evaluation batch, which never change
        self._sums: dict[str, Tensor] = {}

    def training_step(self, batch: SequenceBatch, batch_idx: int) -> Tensor:
        """Return the loss of a batch."""
        loss = sequence_losses(self.transformer(batch.inputs), batch.targets).mean()
        self._losses.append(loss.detach())
        return loss

    def on_train_batch_end(self, outputs: Any, batch: SequenceBatch, batch_idx: int) -> None:
        """Log the mean loss before an evaluation."""
        if self.trainer.is_last_batch:
            losses, self._losses = torch.stack(self._losses), []
            if self.trainer.is_global_zero:
                self.loss_watch.look(losses[:, None], self.global_step - len(losses))
            self.log("train/loss", losses.mean(), logger=False, sync_dist=True)

    def configure_gradient_clipping(self, optimizer: torch.optim.Optimizer, *args: Any, **kwargs: Any) -> None:
        """Clip as all trainings here do: the Trainer's own way adds something to the norm."""
        clip_by_global_norm(list(self.transformer.parameters()), self.training_config.gradient_clip)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Return AdamW and its schedule."""
        config = self.training_config
        optimizer = torch.optim.AdamW(
            self.transformer.parameters(),
            lr=1.0,  # which the schedule multiplies
            betas=(config.beta1, config.beta2),
            weight_decay=config.weight_decay,
            fused=True,
        )
        schedule = LambdaLR(optimizer, lambda step: config.learning_rate_at(step, self.trainer.max_steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_validation_epoch_start(self) -> None:
        """Start counting."""
        self._sums = {}

    def validation_step(self, batch: SequenceBatch, batch_idx: int) -> None:
        """Add up losses of a batch's sequences, and their squares."""
        if batch_idx not in self._of_controls:
            with torch.autocast(batch.inputs.device.type, enabled=False):
                predicted = self.controls.predictions(batch.inputs)
            self._of_controls[batch_idx] = {name: _of_sequences(each, batch) for name, each in predicted.items()}
        of_model = _of_sequences(self.transformer(batch.inputs), batch)
        for name, losses in {"transformer": of_model, **self._of_controls[batch_idx]}.items():
            added = torch.stack([torch.ones_like(losses), losses, losses.square()]).sum(1)
            self._sums[name] = self._sums[name] + added if name in self._sums else added

    def on_validation_epoch_end(self) -> None:
        """Log mean losses, over all processes."""
        self._log(with_intervals=False)

    on_test_epoch_start, test_step = on_validation_epoch_start, validation_step

    def on_test_epoch_end(self) -> None:
        """Log mean losses with intervals, over all processes."""
        self._log(with_intervals=True)

    def _log(self, with_intervals: bool) -> None:
        values = {}
        for name, sums in self._sums.items():
            number, total, squares = self.trainer.strategy.reduce(sums, reduce_op="sum")
            mean = total / number
            values[f"loss/{name}"] = mean
            if with_intervals:
                variance = (squares - total * mean) / (number - 1)
                half = t_quantile(int(number) - 1) * (variance.clamp(min=0) / number).sqrt()
                values |= {f"loss/{name}_low": mean - half, f"loss/{name}_high": mean + half}
        self.log_dict({name: value.float() for name, value in values.items()}, logger=False)


def _of_sequences(prediction: Tensor, batch: SequenceBatch) -> Tensor:
    """Return each sequence's mean loss over positions, (B,), in double precision."""
    return sequence_losses(prediction.double(), batch.targets.double()).mean(1)
