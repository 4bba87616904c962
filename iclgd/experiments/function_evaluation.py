"""The end of a run on functions: errors at every position of the transformer and of the learners beside it."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from iclgd.analysis.function_baselines import BASELINES, squared_errors
from iclgd.data.function_datamodule import FunctionDataModule
from iclgd.data.seeding import named_generator
from iclgd.experiments.protocol import Record
from iclgd.metrics.positions import draw_prompts, summarize_positions
from iclgd.modules.functions import error_at, shown_positions

if TYPE_CHECKING:
    from iclgd.experiments.functions import Config

ERROR_BY_POSITION = "error_by_position"  # the record's name, and the figure's


def error_by_position(config: "Config", data: FunctionDataModule, transformer: Mapping[str, Tensor]) -> Record:
    """Evaluate the learners on the prompts of the last evaluation, and summarise all errors over prompts.

    Args:
        config: the run's.
        data: its prompts.
        transformer: the transformer's squared errors on each evaluation set, (B, N), by the beginning of names.

    Returns:
        ``positions``, ``divisor``, ``num_resamples``; and of every evaluation set (``prefix``) and ``learner`` a curve
        in ``curves``, with its ``num_prompts`` and over positions ``mean``, ``std``, and the interval's ``low`` and
        ``high``; all over the divisor.
    """
    dtype = torch.float64 if config.trainer.precision == "64-true" else torch.float32
    curves: list[Record] = []
    for prefix in data.evaluation_tasks():
        batch = data.evaluation_batch(prefix, dtype)
        curves.append(_curve(config, prefix, "transformer", transformer[prefix].cpu()))
        for name in config.evaluation.baselines_of(config.task):
            baseline = BASELINES[name]
            number = config.evaluation.num_fitted_prompts if baseline.is_fitted else len(batch.y)
            with torch.no_grad():
                errors = squared_errors(
                    baseline.make(config.task), batch.part(slice(number)), config.evaluation.noiseless
                )
            curves.append(_curve(config, prefix, name, errors))
    return {
        "positions": list(range(config.task.num_points)),
        "divisor": config.task.mean_square,
        "num_resamples": config.evaluation.num_resamples,
        "curves": curves,
    }


def _curve(config: "Config", prefix: str, learner: str, errors: Tensor) -> Record:
    # The same resamples for all learners that have the same prompts.
    generator = named_generator(config.seed, f"{prefix}resamples")
    drawn = draw_prompts(config.evaluation.num_resamples, len(errors), generator)
    summary = summarize_positions(errors, drawn, config.task.mean_square)
    numbers = {name: values.tolist() for name, values in summary._asdict().items()}
    return {"prefix": prefix, "learner": learner, "num_prompts": len(errors), **numbers}


def summary_of(config: "Config", record: Record) -> dict[str, float]:
    """Return the numbers of a record that the summary has: the mean over positions, and D, 2 D and the last of them.

    Args:
        config: the run's.
        record: see :func:`error_by_position`.

    Returns:
        ``error/LEARNER``, ``error/LEARNER/at_NN``, and of the latter the intervals' ends.
    """
    summary: dict[str, float] = {}
    for curve in record["curves"]:
        name = f"{curve['prefix']}error/{curve['learner']}"
        summary[name] = sum(curve["mean"]) / len(curve["mean"])
        for position in shown_positions(config.task):
            at = error_at(name, position)
            ends = {f"{at}_low": curve["low"][position], f"{at}_high": curve["high"][position]}
            summary |= {at: curve["mean"][position], **ends}
    return summary
