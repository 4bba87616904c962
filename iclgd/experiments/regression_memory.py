"""What a regression run holds in memory at the least, from its config alone.

Shapes as in ``iclgd/data/regression.py``; T tokens of C channels, L layers, S seeds.
"""

from typing import TYPE_CHECKING

from iclgd.data.datamodules import NUM_DRAWN_TOGETHER
from iclgd.memory import Need

if TYPE_CHECKING:
    from iclgd.experiments.regression import Config

SINGLE, DOUBLE = 4, 8  # bytes of a number
NUM_COPIES = 4  # of a parameter: itself, its gradient and two moments


def memory_needs(config: "Config") -> list[Need]:
    """Return the needs of training, evaluation and model; those of analyses come later, see :func:`analysis_needs`."""
    model, seeds, number = config.model, config.training.num_seeds, _bytes_of_number(config)
    of_task, channels, tokens = _sizes(config)
    of_layer = 4 * model.num_heads * channels * (model.key_size or channels) + 8 * channels**2 * model.mlp
    stored = of_layer * (1 if model.recurrent else model.num_layers)
    batch, evaluated = config.training.batch_size, config.evaluation.num_tasks
    num_processes = config.trainer.devices * config.trainer.num_nodes
    return [
        Need(
            seeds * NUM_DRAWN_TOGETHER * batch * of_task * SINGLE
            + batch / num_processes * tokens * model.num_layers * number,
            f"a batch of {batch:,} tasks",
            "training.batch_size (or training.num_seeds, task.num_context, task.input_dim, model.num_layers)",
        ),
        Need(
            seeds * evaluated * of_task * number + evaluated * (tokens * number + _of_reference(config, of_task)),
            f"the evaluation on {evaluated:,} tasks",
            "evaluation.num_tasks (or task.num_context, task.input_dim, training.num_seeds)",
        ),
        Need(
            seeds * stored * number * NUM_COPIES,
            f"a model of {seeds * stored:,} parameters",
            "model.num_layers, model.num_heads, model.key_size, model.in_projection or training.num_seeds",
        ),
    ]


def analysis_needs(config: "Config", of_task_beside: float) -> list[Need]:
    """Return the needs of one analysis, which has so many bytes for each task beside the task and its tokens.

    Asked when its turn comes: one that cannot be made is no reason to throw away a training.
    """
    of_task, _, tokens = _sizes(config)
    of_analysis = of_task * (SINGLE + DOUBLE) + tokens * _bytes_of_number(config) + of_task_beside
    num_tasks = config.analysis.num_tasks
    return [
        Need(num_tasks * of_analysis, f"an analysis of {num_tasks:,} tasks", "analysis.num_tasks"),
    ]


def of_which_algorithm(config: "Config") -> float:
    """Return the bytes of a task that which_algorithm holds beside it: candidates' fits and resamples."""
    of_task, _, _ = _sizes(config)
    return _of_reference(config, of_task) + 2 * DOUBLE * config.analysis.num_resamples


def _sizes(config: "Config") -> tuple[int, int, int]:
    """Return the numbers in a task, the channels of a token, and the numbers in all tokens of a task."""
    task, model = config.task, config.model
    width = model.in_projection or (task.input_dim + task.output_dim * (model.tokens == "joint"))
    channels = width + model.positional_channels
    num_tokens = task.num_context * (1 if model.tokens == "joint" else 2) + 1
    return (task.num_context + 1) * (task.input_dim + task.output_dim), channels, channels * num_tokens


def _bytes_of_number(config: "Config") -> int:
    return DOUBLE if config.trainer.precision == "64-true" else SINGLE


def _of_reference(config: "Config", of_task: int) -> int:
    """Return the bytes of a task from which references are chosen: in double precision, with a D x D eigensystem."""
    return DOUBLE * (of_task + 2 * config.task.input_dim**2)
