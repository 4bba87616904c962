"""Learners that answer at every position of a prompt in one call, from the examples before it."""

from iclgd.models.every_position.averaging import Averaging
from iclgd.models.every_position.discrete_mmse import DiscreteMMSE
from iclgd.models.every_position.lasso import Lasso
from iclgd.models.every_position.learner import EveryPositionLearner
from iclgd.models.every_position.nearest_neighbors import NearestNeighbors

__all__ = ["Averaging", "DiscreteMMSE", "EveryPositionLearner", "Lasso", "NearestNeighbors"]
