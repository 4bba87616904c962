"""What a run on functions holds in memory at the least, from its config alone."""

from typing import TYPE_CHECKING

from iclgd.data.function_datamodule import NUM_EVALUATED_AT_ONCE
from iclgd.memory import Need

if TYPE_CHECKING:
    from iclgd.experiments.functions import Config

SINGLE, DOUBLE = 4, 8  # bytes of a number
NUM_COPIES = 4  # of a parameter: itself, its gradient and two moments
OF_TRAINING = 8  # hidden states of a token and layer that its gradient needs
OF_EVALUATION = 4  # those of one layer: its hidden units alone are as many


def memory_needs(config: "Config") -> list[Need]:
    """Return the needs of training, evaluation and model."""
    model, task = config.model, config.task
    number = DOUBLE if config.trainer.precision == "64-true" else SINGLE
    of_prompt = task.num_points * (task.input_dim + 1) * number
    of_state = (2 * task.num_points - 1) * model.hidden_size * number
    num_parameters = model.hidden_size * (
        12 * model.num_layers * model.hidden_size + task.input_dim + 2 * model.points_for(task.num_points)
    )
    batch, evaluated = config.training.batch_size, config.evaluation.num_prompts
    num_processes = config.trainer.devices * config.trainer.num_nodes
    pool = task.num_tasks * task.input_dim * SINGLE
    return [
        Need(
            batch * of_prompt + batch / num_processes * OF_TRAINING * model.num_layers * of_state,
            f"a batch of {batch:,} prompts",
            "training.batch_size (or task.num_points, model.num_layers, model.hidden_size)",
        ),
        Need(
            evaluated * of_prompt + min(evaluated, NUM_EVALUATED_AT_ONCE) * OF_EVALUATION * of_state,
            f"the evaluation on {evaluated:,} prompts",
            "evaluation.num_prompts (or task.num_points, task.input_dim)",
        ),
        Need(
            num_parameters * number * NUM_COPIES,
            f"a model of {num_parameters:,} parameters",
            "model.num_layers, model.hidden_size or model.num_points",
        ),
        Need(pool, f"a pool of {task.num_tasks:,} functions", "task.num_tasks"),
    ]
