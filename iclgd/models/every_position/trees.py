"""Greedy decision trees and boosted trees: scikit-learn's and XGBoost's, one fit for each prompt and position.

Both come with ``pip install "iclgd[baselines]"`` and are imported when they are first used.
"""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from iclgd import checks
from iclgd.models.every_position.learner import EveryPositionLearner


@dataclass(frozen=True)
class TreeLearner(EveryPositionLearner):
    """What both share: a new fit for every prompt and position.

    Args:
        signs: learn from the inputs' signs alone; Garg et al. 2022, appendix A.3.
        seed: of the choices between equally good splits.
    """

    signs: bool = False
    seed: int = 0

    @abstractmethod
    def _new_model(self) -> Callable[[], Any]:
        """Return what makes a model with ``fit`` and ``predict``.

        Raises:
            ImportError: in one line that says what to install.
        """

    def _predict(self, x: Tensor, y: Tensor, query: Tensor, positions: list[int]) -> Tensor:
        new_model = self._new_model()
        seen, asked = (tensor.sign() if self.signs else tensor for tensor in (x, query))
        inputs, queries, targets = (tensor.detach().cpu().numpy() for tensor in (seen, asked, y))
        predictions = np.zeros((len(targets), len(positions)))
        # Positions first, as published: the choices between equally good splits are drawn in this order.
        for column, position in enumerate(positions):
            for prompt in range(len(targets) if position else 0):
                model = new_model().fit(inputs[prompt, :position], targets[prompt, :position])
                predictions[prompt, column] = model.predict(queries[prompt, position : position + 1])[0]
        return torch.from_numpy(predictions).to(x.device)


@dataclass(frozen=True)
class GreedyTree(TreeLearner):
    """A regression tree that takes the best split at every node; Garg et al. 2022, section 5.

    Args:
        max_depth: questions from the root to a leaf; ``None`` for as many as there are differences. The published
            code has 4 and ``None``, the paper 2 (and 4 on signs).

    Raises:
        ValueError: if max_depth is below 1.
    """

    max_depth: int | None = 4

    def __post_init__(self) -> None:
        if self.max_depth is not None:
            checks.at_least(1, "greedy_tree", self, "max_depth")

    def _new_model(self) -> Callable[[], Any]:
        try:
            from sklearn.tree import DecisionTreeRegressor
        except ImportError as error:
            raise ImportError('greedy trees need scikit-learn: pip install "iclgd[baselines]"') from error
        # One stream for all fits. scikit-learn takes no other generators.
        state = np.random.RandomState(self.seed)
        return lambda: DecisionTreeRegressor(max_depth=self.max_depth, random_state=state)


@dataclass(frozen=True)
class BoostedTrees(TreeLearner):
    """XGBoost; Garg et al. 2022, section 5.

    Defaults are XGBoost's own, as in the published code: they changed between versions. The paper's are 50 rounds of
    depth 4 at rate 0.1; those of version 1.6.1, which it ran, ``base_score=0.5, tree_method="exact"``.

    Args:
        num_rounds: trees.
        max_depth: of a tree.
        learning_rate: what multiplies each tree.
        base_score: prediction before the first tree; ``None`` for the version's own.
        tree_method: how splits are found; ``None`` for the version's own.

    Raises:
        ValueError: if a value is out of its range.
    """

    num_rounds: int = 100
    max_depth: int = 6
    learning_rate: float = 0.3
    base_score: float | None = None
    tree_method: str | None = None

    def __post_init__(self) -> None:
        checks.at_least(1, "boosted_trees", self, "num_rounds", "max_depth")
        checks.positive("boosted_trees", self, "learning_rate")

    def _new_model(self) -> Callable[[], Any]:
        try:
            from xgboost import XGBRegressor
        except ImportError as error:
            raise ImportError('boosted trees need XGBoost: pip install "iclgd[baselines]"') from error
        return lambda: XGBRegressor(
            n_estimators=self.num_rounds,
            max_depth=self.max_depth,
            learning_rate=self.learning_rate,
            base_score=self.base_score,
            tree_method=self.tree_method,
            random_state=self.seed,
            n_jobs=1,  # a prompt is too small to share
        )
