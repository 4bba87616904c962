"""Training that begins with inputs of few dimensions and short prompts; Garg et al. 2022, appendix A.2."""

from dataclasses import dataclass
from typing import NamedTuple

from iclgd import checks
from iclgd.data.functions.task import FunctionTask

GROUP = "training.curriculum"  # of the config


def scheduled(step: int, start: int, end: int, increment: int, interval: int) -> int:
    """Return what a quantity is at a training step, counted from 0: it grows every ``interval`` steps up to ``end``.

    As published, step 0 has ``start`` even if that is above ``end``.

    Example:
        >>> [scheduled(step, start=3, end=8, increment=2, interval=4) for step in (0, 3, 4, 8, 12, 99)]
        [3, 3, 5, 7, 8, 8]
    """
    return start if step == 0 else min(start + increment * (step // interval), end)


class PromptSize(NamedTuple):
    """Sizes of the prompts of a training step, for :meth:`FunctionTask.sample`."""

    num_dims: int
    num_points: int


@dataclass(frozen=True)
class Curriculum:
    """From few dimensions and points to those of the task; without a start, the task's from the first step on.

    Raises:
        ValueError: if a value is out of its range.

    Example:
        >>> from iclgd.data.functions import LinearFunctionTask
        >>> Curriculum(start_dims=5, start_points=11).at(4000, LinearFunctionTask())
        PromptSize(num_dims=7, num_points=15)
        >>> Curriculum().at(0, LinearFunctionTask())
        PromptSize(num_dims=20, num_points=41)
    """

    start_dims: int | None = None
    """Dimensions of the inputs at the first step, published 5; the task's number ends the growth; null: always all."""
    dims_increment: int = 1
    """By how much they grow."""
    dims_interval: int = 2000
    """After how many steps each time."""
    start_points: int | None = None
    """Points of a prompt at the first step, published 11; the task's number ends the growth; null: always all."""
    points_increment: int = 2
    """By how much they grow."""
    points_interval: int = 2000
    """After how many steps each time."""

    def __post_init__(self) -> None:
        starts = [key for key in ("start_dims", "start_points") if getattr(self, key) is not None]
        checks.at_least(1, GROUP, self, "dims_interval", "points_interval", *starts)
        checks.at_least(0, GROUP, self, "dims_increment", "points_increment")

    def check(self, task: FunctionTask) -> None:
        """Refuse to start above a task's sizes.

        Raises:
            ValueError: if the curriculum does.
        """
        for key, most, of in (
            ("start_dims", task.input_dim, "input_dim"),
            ("start_points", task.num_points, "num_points"),
        ):
            if (start := getattr(self, key)) is not None and start > most:
                raise ValueError(f"{GROUP}.{key} must be at most task.{of} ({most}), got {start}")

    def at(self, step: int, task: FunctionTask) -> PromptSize:
        """Return the sizes at a training step, counted from 0."""
        dims, points = task.input_dim, task.num_points
        if self.start_dims is not None:
            dims = scheduled(step, self.start_dims, dims, self.dims_increment, self.dims_interval)
        if self.start_points is not None:
            points = scheduled(step, self.start_points, points, self.points_increment, self.points_interval)
        return PromptSize(dims, points)
