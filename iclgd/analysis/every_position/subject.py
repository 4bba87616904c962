"""What an analysis looks at: a model that answers at every position, and what it was trained on."""

from typing import NamedTuple

from iclgd.data.functions import FunctionTask
from iclgd.models.every_position import EveryPositionLearner

MODEL = "transformer"  # a trained model's name in records, beside the learners'


class FunctionSubject(NamedTuple):
    """A trained model; in evaluation mode, on the CPU."""

    seed: int
    task: FunctionTask  # what it was trained on
    model: EveryPositionLearner
