"""Sequences of dynamical systems, of which every next observation is asked."""

from iclgd.data.sequences.batch import SequenceBatch
from iclgd.data.sequences.linear_system import ContractingSystemTask, LinearSystemTask
from iclgd.data.sequences.nonlinear_system import NonlinearSystemTask
from iclgd.data.sequences.task import SequenceTask

SEQUENCE_TASKS: dict[str, type[SequenceTask]] = {
    "linear_system": LinearSystemTask,
    "contracting_system": ContractingSystemTask,
    "nonlinear_system": NonlinearSystemTask,
}

__all__ = [
    "SEQUENCE_TASKS",
    "ContractingSystemTask",
    "LinearSystemTask",
    "NonlinearSystemTask",
    "SequenceBatch",
    "SequenceTask",
]
