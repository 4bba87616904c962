"""The experiments, each a straight line behind one typed protocol: see :class:`Experiment`."""

from typing import Any

from iclgd.experiments.protocol import Experiment as Experiment
from iclgd.experiments.protocol import ExperimentEntry as ExperimentEntry
from iclgd.experiments.protocol import RunContext as RunContext


def _regression() -> Experiment[Any, Any]:
    from iclgd.experiments.regression import EXPERIMENT

    return EXPERIMENT


def _text() -> Experiment[Any, Any]:
    from iclgd.experiments.text import EXPERIMENT

    return EXPERIMENT


def _few_shot() -> Experiment[Any, Any]:
    from iclgd.experiments.few_shot import EXPERIMENT

    return EXPERIMENT


def _language_modeling() -> Experiment[Any, Any]:
    from iclgd.experiments.language_modeling import EXPERIMENT

    return EXPERIMENT


def _functions() -> Experiment[Any, Any]:
    from iclgd.experiments.functions import EXPERIMENT

    return EXPERIMENT


def _sequences() -> Experiment[Any, Any]:
    from iclgd.experiments.sequences import EXPERIMENT

    return EXPERIMENT


EXPERIMENTS: dict[str, ExperimentEntry] = {
    "regression": ExperimentEntry(
        "in-context regression: train a toy transformer, compare it with gradient descent", _regression
    ),
    "text": ExperimentEntry("in-context learning against finetuning of a language model on text tasks", _text),
    "few_shot": ExperimentEntry("accuracy of a language model against the number of demonstrations", _few_shot),
    "language_modeling": ExperimentEntry("train a small language model that learns in context", _language_modeling),
    "functions": ExperimentEntry("train a transformer on function classes, evaluate it at every position", _functions),
    "sequences": ExperimentEntry("predict sequences of dynamical systems: mesa-optimisation", _sequences),
}
