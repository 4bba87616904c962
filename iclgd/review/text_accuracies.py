"""What text runs have found of models that other runs have trained, as numbers of those other runs.

So the accuracy on a text task is over the seeds of training, and can be paired by them.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import PurePath

from iclgd.report.comparisons import SETTINGS
from iclgd.report.settings import by_setting, spread
from iclgd.review.gather import ReviewedRun
from iclgd.review.settings import is_setting, labels_of
from iclgd.tracking.run_directory import MODEL_FOLDER

MODEL = "model.name"


def of_trained_models(runs: Iterable[ReviewedRun]) -> list[ReviewedRun]:
    """Return the complete text runs of models that runs have trained."""
    return [run for run in runs if run.is_complete and _trained_in(run)]


def with_text_accuracies(trained: Sequence[ReviewedRun], texts: Sequence[ReviewedRun]) -> list[ReviewedRun]:
    """Return runs with the accuracies that text runs of their models have found, means over draws.

    The names are such as ``accuracy/in_context/sst2``: after the text run's config, and what tells it from other text
    runs with that config where there are such.

    Args:
        trained: runs that train models.
        texts: of :func:`of_trained_models`.
    """
    names = {run.name for run in trained}
    added: dict[str, dict[str, float]] = {}
    for config_name in dict.fromkeys(run.config_name for run in texts):
        ours = [run for run in texts if run.config_name == config_name and _trained_in(run) in names]
        configs = [
            {key: value for key, value in run.config.items() if is_setting(key) and key != MODEL} for run in ours
        ]
        alike = by_setting(zip(configs, ours, strict=True))
        for label, (_, runs) in zip(labels_of([setting for setting, _ in alike]), alike, strict=True):
            called = ", ".join(text for text in (config_name, label) if text)
            for name in {_trained_in(run) for run in runs}:
                of_model = [run.summary for run in runs if _trained_in(run) == name]
                for accuracy in SETTINGS:
                    if values := [summary[accuracy] for summary in of_model if accuracy in summary]:
                        added.setdefault(name, {})[f"{accuracy}/{called}"] = spread(values).mean
    return [_with(run, added[run.name]) if run.is_complete and run.name in added else run for run in trained]


def _trained_in(run: ReviewedRun) -> str:
    """Return the name of the run directory that a text run's model is in; nothing for any other model."""
    folder = PurePath(str(run.config.get(MODEL, "")))
    return folder.parent.name if run.experiment == "text" and folder.name == MODEL_FOLDER else ""


def _with(run: ReviewedRun, numbers: dict[str, float]) -> ReviewedRun:
    return replace(run, record=replace(run.record, summary={**run.summary, **numbers}))
