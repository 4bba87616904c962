"""Train a transformer to answer at every position of prompts of functions."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor

from iclgd import checks
from iclgd.analysis.function_baselines import BASELINES, squared_errors
from iclgd.data.function_datamodule import EvaluationPrompts
from iclgd.data.functions import Curriculum, FunctionBatch, FunctionTask
from iclgd.models.function_transformer import FunctionTransformer
from iclgd.modules.finiteness import LossWatch
from iclgd.modules.optimizer_config import ScheduleConfig


@dataclass(frozen=True, kw_only=True)
class TrainingConfig(ScheduleConfig):
    """How a model of functions is trained, with Adam: by default as Garg et al. 2022 do.

    Raises:
        ValueError: if a value is out of its range.
    """

    learning_rate: float = 1e-4
    schedule: str = "constant"
    warmup_steps: int = 0
    batch_size: int = 64
    """Prompts of a step, all devices together."""
    curriculum: Curriculum = field(default_factory=Curriculum)


@dataclass(frozen=True)
class EvaluationConfig:
    """When, on what and beside which learners the transformer is evaluated.

    Raises:
        ValueError: if a value is out of its range.
    """

    every_num_steps: int = 1000
    """Steps between two evaluations."""
    num_prompts: int = 1280
    """Prompts of an evaluation."""
    noiseless: bool = False
    """Compare with the function's value (Raventós et al.), not with the target, which may have noise (Garg et al.)."""
    num_resamples: int = 1000
    """Bootstrap resamples of the prompts, for the intervals of 90%."""
    baselines: list[str] = field(default_factory=list)
    """Learners beside the transformer at the end; none: those of the task's function class."""
    num_fitted_prompts: int = 64
    """Prompts for learners that are fitted anew to each prompt and position: networks and trees."""

    def __post_init__(self) -> None:
        checks.at_least(1, "evaluation", self, "every_num_steps")
        checks.at_least(2, "evaluation", self, "num_prompts", "num_fitted_prompts")
        checks.at_least(1, "evaluation", self, "num_resamples", most=1_000_000)
        checks.all_of(BASELINES, "evaluation", self, "baselines")

    def baselines_of(self, task: FunctionTask) -> list[str]:
        """Return the learners that stand beside the transformer at the end.

        Raises:
            ValueError: if the task cannot have one of them.
        """
        names = self.baselines or list(task.baselines)
        for name in names:
            if (reason := BASELINES[name].problem_with(task)) is not None:
                raise ValueError(f"evaluation.baselines: {name} {reason}")
        return names


class FunctionModule(LightningModule):
    """Training by the mean squared error at all positions, and evaluation position by position.

    Logs ``train/loss``, the mean since the last evaluation, and ``train/excess_loss``, the same over what least squares
    leaves of linear functions: comparable along a curriculum. When evaluating it logs ``error/transformer``, squared
    errors over the mean square of the functions, and ``error/transformer/at_NN`` after NN examples.

    Args:
        model: what to train.
        task: on what.
        training: optimiser and curriculum.
        is_noiseless: whether errors are of the function's value without noise.
    """

    def __init__(
        self, model: FunctionTransformer, task: FunctionTask, training: TrainingConfig, is_noiseless: bool = False
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.model = model
        self.task = task
        self.training_config = training
        self.is_noiseless = is_noiseless
        self.loss_watch = LossWatch()
        self.errors: dict[str, Tensor] = {}  # of the last evaluation: (B, N), by the beginning of names
        self._parts: dict[str, list[Tensor]] = {}

    def training_step(self, stream: Iterable[FunctionBatch], batch_idx: int) -> None:
        """Take an optimiser step on each element of a stream: all steps between two evaluations.

        Lightning's loop costs about as much per batch as a step of small models does.
        """
        optimizer, config = self.optimizers(), self.training_config
        assert isinstance(optimizer, LightningOptimizer)
        losses, excess, steps_before = [], [], self.global_step
        is_shared = self.trainer.world_size > 1
        for batch in stream:
            optimizer.zero_grad()
            step = self.global_step
            loss = squared_errors(self.model, batch).mean()
            if is_shared:
                self.manual_backward(loss)
            else:  # without Lightning's hooks
                loss.backward()  # type: ignore[no-untyped-call]
            for group in optimizer.param_groups:
                group["lr"] = config.learning_rate_at(step, self.trainer.max_steps)
            optimizer.step()
            losses.append(loss.detach())
            excess.append(loss.detach() / excess_scale(config.curriculum.at(step, self.task)))
        of_steps = torch.stack(losses)
        if self.trainer.is_global_zero:
            self.loss_watch.look(of_steps[:, None], steps_before)
        values = {"train/loss": of_steps.mean(), "train/excess_loss": torch.stack(excess).mean()}
        self.log_dict(values, logger=False, sync_dist=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return Adam as published: PyTorch's own settings, in one kernel."""
        return torch.optim.Adam(self.model.parameters(), lr=self.training_config.learning_rate, fused=True)

    def on_validation_epoch_start(self) -> None:
        """Forget the last evaluation."""
        self._parts = {}

    def validation_step(self, batch: EvaluationPrompts, batch_idx: int) -> None:
        """Measure the errors on some prompts."""
        with torch.no_grad():
            errors = squared_errors(self.model, batch.prompts, self.is_noiseless)
        self._parts.setdefault(batch.prefix, []).append(errors)

    def on_validation_epoch_end(self) -> None:
        """Log what was measured, over all processes."""
        parts = {prefix: torch.cat(errors) for prefix, errors in self._parts.items()}
        if self.trainer.world_size > 1:  # in the order of the prompts
            parts = {prefix: self._gathered(errors) for prefix, errors in parts.items()}
        self.errors = parts
        for prefix, errors in parts.items():
            of_positions = errors.double().mean(0) / self.task.mean_square
            values = {f"{prefix}error/transformer": of_positions.mean()}
            for position in shown_positions(self.task):
                values[error_at(f"{prefix}error/transformer", position)] = of_positions[position]
            self.log_dict({name: value.float() for name, value in values.items()}, logger=False)

    on_test_epoch_start, test_step, on_test_epoch_end = (
        on_validation_epoch_start,
        validation_step,
        on_validation_epoch_end,
    )

    def _gathered(self, errors: Tensor) -> Tensor:
        gathered = self.all_gather(errors)
        assert isinstance(gathered, Tensor)
        return gathered.flatten(0, 1)


def excess_scale(size: tuple[int, int]) -> float:
    """Return by what a loss is divided for the excess loss: the mean over positions i of D - i, where it is positive.

    Least squares on linear functions leaves that much, as after i examples D - i directions of the weight are unknown;
    as published it is taken for all function classes.

    Args:
        size: D and the number of points.

    Example:
        >>> excess_scale((2, 4))
        0.75
    """
    num_dims, num_points = size
    return sum(max(num_dims - position, 0) for position in range(num_points)) / num_points


def shown_positions(task: FunctionTask) -> list[int]:
    """Return the numbers of examples after which errors have a name: D, 2 D and the most, as far as prompts have them.

    Example:
        >>> from iclgd.data.functions import LinearFunctionTask
        >>> shown_positions(LinearFunctionTask(input_dim=20, num_points=101))
        [20, 40, 100]
    """
    last = task.num_points - 1
    return sorted({position for position in (task.input_dim, 2 * task.input_dim) if position < last} | {last})


def error_at(name: str, position: int) -> str:
    """Return the name of an error after so many examples.

    Example:
        >>> error_at("error/transformer", 5)
        'error/transformer/at_05'
    """
    return f"{name}/at_{position:02}"
