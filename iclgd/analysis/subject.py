"""What an analysis looks at: one seed's trained transformer and its references."""

from typing import NamedTuple

import torch
from torch import nn

from iclgd.data import RegressionTask
from iclgd.models.transformer import Transformer


class Subject(NamedTuple):
    """One seed's models."""

    seed: int
    task: RegressionTask  # what it was trained on
    transformer: Transformer
    references: dict[str, nn.Module]  # predictors, by name

    @property
    def dtype(self) -> torch.dtype:
        """Return the precision of the models; their tasks are drawn in single precision and converted to it."""
        return next(self.transformer.parameters()).dtype
