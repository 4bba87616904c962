"""Train a toy transformer on regression tasks and compare it with textbook learners on the way."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor, nn
from torchmetrics import Metric

from iclgd import checks
from iclgd.analysis.sensitivity import predict_with_sensitivity
from iclgd.data import RegressionBatch
from iclgd.metrics import HalfMeanSquaredError, PredictionL2, SensitivityCosine, SensitivityL2
from iclgd.models import LeastSquares, Predictor, Ridge
from iclgd.models.constructions import interpolate
from iclgd.models.transformer import Transformer


@dataclass(frozen=True)
class TrainingConfig:
    """How a toy transformer is trained: the published defaults for up to two layers.

    Raises:
        ValueError: if a value is out of its range.
    """

    learning_rate: float = 1e-3
    batch_size: int = 2048  # tasks per step, all devices together
    gradient_clip: float = 1e-3  # largest global norm of the gradient; its published value for more than 2 layers is 10
    beta1: float = 0.9
    beta2: float = 0.98
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        checks.at_least(1, "training", self, "batch_size")
        checks.positive("training", self, "learning_rate", "gradient_clip")
        checks.at_least(0, "training", self, "weight_decay", "beta1", "beta2")
        for key in ("beta1", "beta2"):
            if getattr(self, key) >= 1:
                raise ValueError(f"training.{key} must be below 1, got {getattr(self, key)}")


@dataclass(frozen=True)
class EvaluationConfig:
    """When and on what the transformer is compared with the learners.

    Raises:
        ValueError: if a value is out of its range.
    """

    every_num_steps: int = 100
    num_tasks: int = 10_000
    ridge_lambda: float = 0.01  # weight of |W|^2 / 2 beside the summed loss

    def __post_init__(self) -> None:
        checks.at_least(1, "evaluation", self, "every_num_steps", "num_tasks")
        checks.positive("evaluation", self, "ridge_lambda")


class RegressionModule(LightningModule):
    """Training of ``transformer``, and its comparison with ``construction`` (one gradient step per layer).

    Logs ``train/loss`` while training; when evaluating ``loss/NAME`` for every learner and the alignment of transformer
    and construction; when testing the costlier learners too.

    Args:
        transformer: what is trained.
        construction: what it is compared with.
        training: optimiser and clipping.
        ridge_lambda: regularisation of the ridge learner.
    """

    def __init__(
        self,
        transformer: Transformer,
        construction: Transformer,
        training: TrainingConfig,
        ridge_lambda: float = 0.01,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.transformer = transformer
        self.construction = construction
        self.training_config = training
        self.closed_form: dict[str, Predictor] = {
            "ridge": Ridge(ridge_lambda),
            "least_squares": LeastSquares(),
        }
        names = ["transformer", "gd", "interpolated", *self.closed_form]
        self.losses = nn.ModuleDict({name: HalfMeanSquaredError() for name in names})
        self.sensitivity_cosine = SensitivityCosine()
        self.sensitivity_l2 = SensitivityL2()
        self.prediction_l2 = PredictionL2()

    def training_step(self, stream: Iterable[RegressionBatch], batch_idx: int) -> None:
        """Take one optimiser step on each batch of a stream.

        Lightning's loop costs about as much per batch as a step of these models does, so that what it calls a batch is
        the whole stretch of steps between two evaluations.
        """
        optimizer, transformer = self.optimizers(), self.transformer
        assert isinstance(optimizer, LightningOptimizer)
        parameters, max_norm = list(transformer.parameters()), self.training_config.gradient_clip
        # Lightning's hooks around backward only matter to several processes, and cost a twentieth of a step.
        backward = self.manual_backward if self.trainer.world_size > 1 else torch.Tensor.backward
        losses = []
        for batch in stream:
            prediction = transformer(batch.x, batch.y, batch.query)
            loss = 0.5 * (batch.target - prediction).square().sum(-1).mean()
            optimizer.zero_grad()
            backward(loss)
            clip_by_global_norm(parameters, max_norm)
            optimizer.step()
            losses.append(loss.detach())
        self.log("train/loss", torch.stack(losses).mean(), logger=False, sync_dist=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return AdamW as published (epsilon 1e-8)."""
        config = self.training_config
        return torch.optim.AdamW(
            self.transformer.parameters(),
            lr=config.learning_rate,
            betas=(config.beta1, config.beta2),
            weight_decay=config.weight_decay,
            fused=True,
        )

    def validation_step(self, batch: RegressionBatch, batch_idx: int) -> None:
        """Compare the transformer with the construction."""
        self._compare(batch)

    def test_step(self, batch: RegressionBatch, batch_idx: int) -> None:
        """Compare the transformer with every learner."""
        self._compare(batch)
        for name, predictor in self.closed_form.items():
            self._add_loss(name, predictor(batch.x, batch.y, batch.query), batch.target)

    def _compare(self, batch: RegressionBatch) -> None:
        problem = (batch.x, batch.y, batch.query)
        prediction, sensitivity = predict_with_sensitivity(self.transformer, *problem)
        gd_prediction, gd_sensitivity = predict_with_sensitivity(self.construction, *problem)
        self._add_loss("transformer", prediction, batch.target)
        self._add_loss("gd", gd_prediction, batch.target)
        self._add("alignment/sensitivity_cosine", self.sensitivity_cosine, sensitivity, gd_sensitivity)
        self._add("alignment/sensitivity_l2", self.sensitivity_l2, sensitivity, gd_sensitivity)
        self._add("alignment/prediction_l2", self.prediction_l2, prediction, gd_prediction)
        if self.transformer.config.num_heads == 1:  # several heads have no common scale to interpolate
            mixture = interpolate(self.transformer, self.construction)
            self._add_loss("interpolated", mixture(*problem), batch.target)

    def _add_loss(self, name: str, prediction: Tensor, target: Tensor) -> None:
        metric = self.losses[name]
        assert isinstance(metric, Metric)
        self._add(f"loss/{name}", metric, prediction, target)

    def _add(self, name: str, metric: Metric, preds: Tensor, target: Tensor) -> None:
        metric.update(preds, target)
        self.log(name, metric, on_step=False, on_epoch=True, logger=False, batch_size=len(target))


def clip_by_global_norm(parameters: list[nn.Parameter], max_norm: float) -> None:
    """Scale all gradients by ``max_norm / norm`` if their common norm exceeds ``max_norm``.

    Unlike :func:`torch.nn.utils.clip_grad_norm_` nothing is added to the norm, which would matter here: the published
    ``max_norm`` of 0.001 is only 1000 times the 1e-6 that PyTorch adds.
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
    torch._foreach_mul_(gradients, (max_norm / norm).clamp_max(1.0))
