"""Function classes: prompts of examples of one function each, which ask at every position."""

from iclgd.data.functions.batch import FunctionBatch
from iclgd.data.functions.curriculum import Curriculum
from iclgd.data.functions.decision_tree import DecisionTrees, DecisionTreeTask
from iclgd.data.functions.drawn import Functions
from iclgd.data.functions.linear import (
    LinearFunctions,
    LinearFunctionTask,
    NoisyLinearFunctionTask,
    SparseLinearFunctionTask,
)
from iclgd.data.functions.quadratic import QuadraticFunctions, QuadraticFunctionTask
from iclgd.data.functions.relu_network import ReluNetworks, ReluNetworkTask
from iclgd.data.functions.single_position import SinglePosition, at_position
from iclgd.data.functions.task import FunctionTask

FUNCTION_TASKS: dict[str, type[FunctionTask]] = {
    "linear": LinearFunctionTask,
    "noisy_linear": NoisyLinearFunctionTask,
    "sparse_linear": SparseLinearFunctionTask,
    "quadratic": QuadraticFunctionTask,
    "relu_network": ReluNetworkTask,
    "decision_tree": DecisionTreeTask,
}

__all__ = [
    "FUNCTION_TASKS",
    "Curriculum",
    "DecisionTreeTask",
    "DecisionTrees",
    "FunctionBatch",
    "FunctionTask",
    "Functions",
    "LinearFunctionTask",
    "LinearFunctions",
    "NoisyLinearFunctionTask",
    "QuadraticFunctionTask",
    "QuadraticFunctions",
    "ReluNetworkTask",
    "ReluNetworks",
    "SinglePosition",
    "SparseLinearFunctionTask",
    "at_position",
]
