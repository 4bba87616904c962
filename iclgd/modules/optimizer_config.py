"""What all trainings say about the course of their learning rate, and most about their optimiser, AdamW."""

import math
from dataclasses import dataclass

from iclgd import checks

SCHEDULES = {
    "constant": "the learning rate as it is, as published",
    "cosine": "the learning rate falls along half a cosine, to zero by default: no noise of the last steps remains",
    "triangle": "the learning rate rises in a line from zero, and after the warm-up falls in a line to zero",
}


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig:
    """Learning rate and batches; trainings have defaults of their own.

    Raises:
        ValueError: if a value is out of its range.
    """

    learning_rate: float
    """Learning rate of the optimiser."""
    schedule: str
    """Course of the learning rate."""
    final_share: float = 0.0
    """Share of the learning rate at which the cosine ends."""
    warmup_steps: int
    """Steps in which the learning rate rises from zero, as a factor of the schedule."""
    batch_size: int
    """Problems or sequences of a step, all devices together."""

    def __post_init__(self) -> None:
        checks.at_least(1, "training", self, "batch_size")
        checks.positive("training", self, "learning_rate")
        checks.one_of(SCHEDULES, "training", self, "schedule")
        checks.at_least(0, "training", self, "warmup_steps", "final_share")
        if self.final_share > 1:
            raise ValueError(f"training.final_share must be at most 1, got {self.final_share}")

    def learning_rate_at(self, step: int, num_steps: int) -> float:
        """Return the learning rate of a step, counted from 0, of a training of ``num_steps``."""
        if self.schedule == "triangle":  # at step 0 it is zero, as published, where there is a warm-up
            if step < self.warmup_steps:
                return self.learning_rate * step / self.warmup_steps
            return self.learning_rate * max(0.0, (num_steps - step) / max(1, num_steps - self.warmup_steps))
        rise = min(1.0, (step + 1) / self.warmup_steps) if self.warmup_steps else 1.0
        if self.schedule == "constant":
            return self.learning_rate * rise
        fall = 0.5 * (1 + math.cos(math.pi * step / num_steps))
        return self.learning_rate * rise * (self.final_share + (1 - self.final_share) * fall)


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig(ScheduleConfig):
    """The same and AdamW's settings; trainings have defaults of their own.

    Raises:
        ValueError: if a value is out of its range.
    """

    gradient_clip: float
    """Largest global norm of the gradient."""
    beta1: float = 0.9
    """Decay of AdamW's mean of gradients."""
    beta2: float = 0.98
    """Decay of AdamW's mean of squared gradients."""
    weight_decay: float
    """AdamW's weight decay."""

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.positive("training", self, "gradient_clip")
        checks.at_least(0, "training", self, "weight_decay", "beta1", "beta2")
        for key in ("beta1", "beta2"):
            if getattr(self, key) >= 1:
                raise ValueError(f"training.{key} must be below 1, got {getattr(self, key)}")
