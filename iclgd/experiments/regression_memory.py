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
    """Return the needs of training, evaluation, model and analyses."""
    task, model, seeds = config.task, config.model, config.training.num_seeds
    dim, outputs, points = task.input_dim, task.output_dim, task.num_context
    number = DOUBLE if config.trainer.precision == "64-true" else SINGLE
    of_task = points * (dim + outputs) + dim + outputs
    width = model.in_projection or (dim + outputs if model.tokens == "joint" else dim)
    channels = width + model.positional_channels
    tokens = channels * ((points if model.tokens == "joint" else 2 * points) + 1)
    of_layer = 4 * model.num_heads * channels * (model.key_size or channels) + 8 * channels**2 * model.mlp
    stored = of_layer * (1 if model.recurrent else model.num_layers)
    batch, evaluated, analysis = config.training.batch_size, config.evaluation.num_tasks, config.analysis
    num_processes = config.trainer.devices * config.trainer.num_nodes
    # References are chosen in double precision, from each task's inputs, targets and D x D matrix with eigenvectors.
    of_reference = DOUBLE * (of_task + 2 * dim**2)
    needs = [
        Need(
            seeds * NUM_DRAWN_TOGETHER * batch * of_task * SINGLE
            + batch / num_processes * tokens * model.num_layers * number,
            f"a batch of {batch:,} tasks",
            "training.batch_size (or training.num_seeds, task.num_context, task.input_dim, model.num_layers)",
        ),
        Need(
            seeds * evaluated * of_task * number + evaluated * (tokens * number + of_reference),
            f"the evaluation on {evaluated:,} tasks",
            "evaluation.num_tasks (or task.num_context, task.input_dim, training.num_seeds)",
        ),
        Need(
            seeds * stored * number * NUM_COPIES,
            f"a model of {seeds * stored:,} parameters",
            "model.num_layers, model.num_heads, model.key_size, model.in_projection or training.num_seeds",
        ),
    ]
    if analysis.run:
        of_analysis = of_task * (SINGLE + DOUBLE) + tokens * number
        if "which_algorithm" in analysis.run:
            of_analysis += of_reference + 2 * DOUBLE * analysis.num_resamples
        needs.append(
            Need(
                analysis.num_tasks * of_analysis,
                f"analyses of {analysis.num_tasks:,} tasks",
                "analysis.num_tasks or analysis.num_resamples",
            )
        )
    return needs
