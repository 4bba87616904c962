"""Learners that answer at every position of a prompt in one call, from the examples before it."""

from iclgd.models.every_position.averaging import Averaging
from iclgd.models.every_position.discrete_mmse import DiscreteMMSE
from iclgd.models.every_position.lasso import Lasso
from iclgd.models.every_position.learner import EveryPositionLearner
from iclgd.models.every_position.nearest_neighbors import NearestNeighbors
from iclgd.models.every_position.trees import BoostedTrees, GreedyTree
from iclgd.models.every_position.two_layer_network import TwoLayerNetwork

__all__ = [
    "Averaging",
    "BoostedTrees",
    "DiscreteMMSE",
    "EveryPositionLearner",
    "GreedyTree",
    "Lasso",
    "NearestNeighbors",
    "TwoLayerNetwork",
]
