"""The analyses that a run on functions can add after training, each one entry of ``ANALYSES``."""

from typing import TYPE_CHECKING

import torch

from iclgd.analysis.every_position.optimal import DMMSE, optimal_learners
from iclgd.analysis.every_position.task_diversity import distances_of, task_diversity
from iclgd.data.function_datamodule import FunctionDataModule
from iclgd.models.function_transformer import FunctionTransformer
from iclgd.tracking.run_directory import RunDirectory

if TYPE_CHECKING:
    from iclgd.experiments.functions import Config

TASK_DIVERSITY = "task_diversity"  # the record's name, and the figure's


def distances_to_optimal(
    config: "Config", directory: RunDirectory, model: FunctionTransformer, data: FunctionDataModule
) -> dict[str, float]:
    """Write how far a model is from ridge and dMMSE, where the task defines both; return numbers for the summary."""
    learners = optimal_learners(config.task)
    if DMMSE not in learners:
        return {}
    dtype = torch.float64 if config.trainer.precision == "64-true" else torch.float32
    batches = {prefix: data.evaluation_batch(prefix, dtype) for prefix in data.evaluation_tasks()}
    record = task_diversity(model, learners, batches, config.seed, config.evaluation.num_resamples)
    directory.write_analysis(TASK_DIVERSITY, record, {})
    return distances_of(record)
