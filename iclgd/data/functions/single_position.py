"""A function class asked at one position of its prompts: the regression task that learners of single queries know."""

from dataclasses import dataclass

import torch

from iclgd.data.functions.task import FunctionTask
from iclgd.data.regression import RegressionBatch, RegressionTask


@dataclass(frozen=True)
class SinglePosition(RegressionTask):
    """Regression problems with the examples before a position, and the query that is asked there.

    ``num_context`` is the position; see :func:`at_position`.
    """

    functions: FunctionTask = None  # type: ignore[assignment]  # the fields before it have defaults

    def sample(self, num_tasks: int, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> RegressionBatch:
        """Draw as many prompts, and ask each at the position."""
        prompts = self.functions.sample(num_tasks, generator, dtype, num_points=self.num_context + 1)
        return prompts.at(self.num_context)


def at_position(task: FunctionTask, position: int) -> SinglePosition:
    """Return a function class asked at one position.

    Args:
        task: which class.
        position: from 1 to the points of a prompt - 1: the number of examples.

    Raises:
        ValueError: for another position.

    Example:
        >>> from iclgd.data.functions import LinearFunctionTask
        >>> problem = at_position(LinearFunctionTask(num_points=6, input_dim=3), 4)
        >>> [tuple(tensor.shape) for tensor in problem.sample(5, torch.Generator())]
        [(5, 4, 3), (5, 4, 1), (5, 3), (5, 1)]
    """
    if not 1 <= position < task.num_points:
        raise ValueError(f"position must be from 1 to {task.num_points - 1} (task.num_points - 1), got {position}")
    return SinglePosition(
        task.name,
        num_context=position,
        input_dim=task.input_dim,
        weight_scale=task.weight_scale,
        functions=task,
    )
