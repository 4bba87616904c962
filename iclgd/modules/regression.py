"""Train a toy transformer on regression tasks and compare it with textbook learners on the way."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor, nn

from iclgd import checks
from iclgd.analysis.gradients import add_gradients, clip_by_global_norm, training_loss
from iclgd.analysis.references import GD_PLUS_PLUS
from iclgd.analysis.subject import Subject
from iclgd.data import RegressionBatch, RegressionTask
from iclgd.data.datamodules import SeedBatch
from iclgd.modules.finiteness import LossWatch
from iclgd.modules.optimizer_config import OptimizerConfig
from iclgd.modules.regression_evaluation import RegressionEvaluation


@dataclass(frozen=True, kw_only=True)
class TrainingConfig(OptimizerConfig):
    """How a toy transformer is trained: the published defaults for up to two layers.

    Raises:
        ValueError: if a value is out of its range.
    """

    learning_rate: float = 1e-3
    schedule: str = "constant"
    warmup_steps: int = 0
    batch_size: int = 2048
    """Tasks of a step, all devices together."""
    gradient_clip: float = 1e-3
    """Largest global norm of the gradient; its published value for more than 2 layers is 10."""
    weight_decay: float = 0.0
    num_seeds: int = 1
    """Models trained together, with seeds from the run's on: each as in a run of its own."""

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.at_least(1, "training", self, "num_seeds")


MOST_TUNING_STEPS = 1_000_000  # they come before training, where nobody sees how far they are


@dataclass(frozen=True)
class EvaluationConfig:
    """When and on what the transformer is compared with the learners.

    Raises:
        ValueError: if a value is out of its range.
    """

    every_num_steps: int = 100
    """Steps between two evaluations."""
    num_tasks: int = 10_000
    """Tasks of an evaluation."""
    ridge_lambda: float = 0.01
    """Ridge regression's weight of |W|^2 / 2 beside the summed loss."""
    gd_plus_plus: str = "trained"
    """How GD++, beside deep models, gets its learning rates and corrections."""
    gd_plus_plus_steps: int = 1000
    """Steps of GD++'s training; published: 1000 with shared weights, else 30000."""

    def __post_init__(self) -> None:
        checks.at_least(1, "evaluation", self, "every_num_steps", "num_tasks")
        checks.at_least(1, "evaluation", self, "gd_plus_plus_steps", most=MOST_TUNING_STEPS)
        checks.positive("evaluation", self, "ridge_lambda")
        checks.one_of(GD_PLUS_PLUS, "evaluation", self, "gd_plus_plus")


class RegressionModule(LightningModule):
    """Training of one or several transformers, each with its own seed and tasks, and their comparisons.

    Logs ``train/loss`` while training, and when evaluating what :class:`RegressionEvaluation` measures. Several seeds
    have their values under ``NAME/seed_S`` and the mean over seeds under ``NAME``.

    Args:
        comparisons: one for each seed.
        training: optimiser and clipping.
        seeds: of the comparisons.
    """

    def __init__(
        self, comparisons: Sequence[RegressionEvaluation], training: TrainingConfig, seeds: Sequence[int]
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.comparisons = nn.ModuleList(comparisons)
        self.training_config = training
        self.seeds = seeds
        self.loss_watch = LossWatch()

    def training_step(self, stream: Iterable[tuple[RegressionBatch, ...]], batch_idx: int) -> None:
        """Take one optimiser step on each element of a stream, which has a batch for each seed.

        Lightning's loop costs about as much per batch as a step of these models does, so that what it calls a batch is
        the whole stretch of steps between two evaluations.
        """
        optimizer, max_norm = self.optimizers(), self.training_config.gradient_clip
        assert isinstance(optimizer, LightningOptimizer)
        groups = list(self._trained().values())
        parameters = [list(model.parameters()) for models in groups for model in models]
        losses, steps_before = [], self.global_step
        for batches in stream:
            optimizer.zero_grad()
            if self.trainer.world_size > 1:  # whose gradients are only averaged once all models have theirs
                pairs = [pair for models in groups for pair in zip(models, batches, strict=True)]
                all_losses = torch.stack([training_loss(model, batch) for model, batch in pairs])
                self.manual_backward(all_losses.sum())
                losses.append(all_losses.detach())
            else:  # without Lightning's hooks, which would cost a twentieth of a step
                turns = [add_gradients(models, batches, torch.Tensor.backward) for models in groups]
                losses.append(turns[0] if len(turns) == 1 else torch.cat(turns))
            for each in parameters:
                clip_by_global_norm(each, max_norm)
            for group in optimizer.param_groups:
                group["lr"] = self.training_config.learning_rate_at(self.global_step, self.trainer.max_steps)
            optimizer.step()
        of_steps = torch.stack(losses)  # (P, models): the transformers of all seeds first
        if self.trainer.is_global_zero:
            self.loss_watch.look(of_steps, steps_before)
        self._log({"train/loss": of_steps[:, : len(self.seeds)].mean(0)}, sync_dist=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return AdamW as published (epsilon 1e-8)."""
        config = self.training_config
        return torch.optim.AdamW(
            [parameter for models in self._trained().values() for model in models for parameter in model.parameters()],
            lr=config.learning_rate,
            betas=(config.beta1, config.beta2),
            weight_decay=config.weight_decay,
            fused=True,
        )

    def validation_step(self, batch: SeedBatch, batch_idx: int) -> None:
        """Compare one seed's transformer with its references."""
        self._comparison(batch.model).update(batch.tasks, batch.part, is_last=False)

    def test_step(self, batch: SeedBatch, batch_idx: int) -> None:
        """Compare one seed's transformer with every learner."""
        self._comparison(batch.model).update(batch.tasks, batch.part, is_last=True)

    def on_validation_epoch_end(self) -> None:
        """Log what was measured."""
        values = [self._comparison(index).compute() for index in range(len(self.seeds))]
        self._log({name: torch.stack([each[name] for each in values]) for name in values[0]})

    on_test_epoch_end = on_validation_epoch_end

    def subjects(self, task: RegressionTask) -> list[Subject]:
        """Return each seed's models for analyses."""
        models = [(seed, self._comparison(index)) for index, seed in enumerate(self.seeds)]
        return [Subject(seed, task, each.transformer.eval(), dict(each.references.items())) for seed, each in models]

    def _log(self, values: dict[str, Tensor], sync_dist: bool = False) -> None:
        """Log values that have an entry for each seed."""
        for name, of_seeds in values.items():
            for full_name, value in over_seeds(name, of_seeds, self.seeds).items():
                self.log(full_name, value, logger=False, sync_dist=sync_dist)

    def _trained(self) -> dict[str, list[nn.Module]]:
        """Return the models to train by name, each a list over seeds."""
        names = self._comparison(0).trained()
        return {name: [self._comparison(i).trained()[name] for i in range(len(self.seeds))] for name in names}

    def _comparison(self, index: int) -> RegressionEvaluation:
        comparison = self.comparisons[index]
        assert isinstance(comparison, RegressionEvaluation)
        return comparison


def over_seeds(name: str, values: Tensor, seeds: Sequence[int]) -> dict[str, Tensor]:
    """Return the mean over seeds under a name, and of several seeds each one's value, (S,), under ``NAME/seed_S``."""
    of_seeds = {f"{name}/seed_{seed}": value for seed, value in zip(seeds, values, strict=True)}
    return {name: values.mean(), **(of_seeds if len(seeds) > 1 else {})}
