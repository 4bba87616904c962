"""What a complete regression run measured on each evaluation task, computed again from its weights."""

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from iclgd.analysis.learners import make_baselines
from iclgd.analysis.sensitivity import predict_with_sensitivity
from iclgd.experiments.regression_models import make_data, reference_setting, trained_subjects
from iclgd.measures import ALIGNMENTS, ERRORS, Learned
from iclgd.models import Predictor
from iclgd.models.constructions import interpolated
from iclgd.tracking.run_directory import RunDirectory

if TYPE_CHECKING:
    from iclgd.experiments.regression import Config

TASKS_AT_ONCE = 2048  # which bounds the memory


def per_task(config: "Config", directory: RunDirectory) -> dict[str, NDArray[Any]]:
    """Return each number of the summary that is a mean over evaluation tasks, task by task; of a run of one seed.

    Args:
        config: the run's.
        directory: the run's.

    Returns:
        By summary name, ``(num_tasks,)``, float64; nothing of a run of several seeds.

    Raises:
        RunDirectoryError: if the weights cannot be used.
    """
    if config.training.num_seeds > 1:
        return {}
    data = make_data(config)
    (subject,) = trained_subjects(config, directory)
    baselines = make_baselines(reference_setting(config, data, subject.seed))
    mixture = interpolated(subject.transformer, subject.references)
    others: dict[str, Predictor] = {**baselines, **({"interpolated": mixture} if mixture is not None else {})}
    all_tasks = data.evaluation_batch(subject.seed, subject.dtype)
    parts: dict[str, list[NDArray[Any]]] = {}

    def add(name: str, metric: Any, value: Tensor, reference: Tensor) -> None:
        parts.setdefault(name, []).append(_each(metric, value, reference))

    for start in range(0, len(all_tasks.target), TASKS_AT_ONCE):
        x, y, query, target = (
            each[start : start + TASKS_AT_ONCE]
            for each in (all_tasks.x, all_tasks.y, all_tasks.query, all_tasks.target)
        )
        learned = Learned(*predict_with_sensitivity(subject.transformer, x, y, query))
        predictions = {"transformer": learned.prediction}
        for position, (name, reference) in enumerate(subject.references.items()):
            of_reference = Learned(*predict_with_sensitivity(reference, x, y, query))
            predictions[name] = of_reference.prediction
            for measure, alignment in ALIGNMENTS.items():
                full_name = f"alignment/{measure}" + (f"_{name}" if position else "")
                add(full_name, alignment.metric(), alignment.of(learned), alignment.of(of_reference))
        with torch.no_grad():
            predictions |= {name: predictor(x, y, query) for name, predictor in others.items()}
        for name, prediction in predictions.items():
            for error, entry in ERRORS.items():
                add(f"{error}/{name}", entry.metric(), prediction, target)
    return {name: np.concatenate(values) for name, values in parts.items()}


def _each(metric: Any, value: Tensor, reference: Tensor) -> NDArray[Any]:
    """Return what a metric, a mean over tasks, is on each of them."""
    _, count = metric.summed(value[:1], reference[:1])
    of_one = torch.func.vmap(lambda one, other: metric.summed(one[None], other[None])[0])
    numbers: NDArray[Any] = (of_one(value.detach(), reference.detach()) / count).double().numpy()
    return numbers
