"""Small models and tasks of the tests beside this file."""

import torch

from iclgd.analysis.every_position.optimal import optimal_learners
from iclgd.data.functions import LinearFunctionTask, NoisyLinearFunctionTask
from iclgd.models.every_position import EveryPositionLearner
from iclgd.models.function_transformer import FunctionTransformer, FunctionTransformerConfig
from iclgd.models.learners import LeastSquares

POOL = NoisyLinearFunctionTask(num_points=7, input_dim=3, noise_std=0.5, num_tasks=6)
CLEAN = LinearFunctionTask(num_points=7, input_dim=3)


def transformer() -> FunctionTransformer:
    """Return an untrained model in double precision."""
    config = FunctionTransformerConfig(num_layers=1, num_heads=1, hidden_size=4)
    return FunctionTransformer(config, input_dim=3, num_points=7, generator=torch.Generator()).double()


def own(name: str) -> EveryPositionLearner:
    """Return a learner of ``POOL``."""
    return optimal_learners(POOL)[name] if name != "least_squares" else LeastSquares()
