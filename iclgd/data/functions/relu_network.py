"""Two-layer ReLU networks."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from iclgd import checks
from iclgd.data.functions.drawn import Functions
from iclgd.data.functions.task import FunctionTask


@dataclass(frozen=True)
class ReluNetworks(Functions):
    r""":math:`y = \sqrt{2/H} \sum_k a_k \max(0, v_k x)`, without biases.

    Example:
        >>> ReluNetworks(torch.tensor([[[1.0, -1.0]]]), torch.tensor([[2.0, 3.0]]))(torch.tensor([[[1.0], [-1.0]]]))
        tensor([[2., 3.]])
    """

    first: Tensor  # v, (B, D, H)
    second: Tensor  # a, (B, H)

    def __call__(self, x: Tensor) -> Tensor:
        """Return the functions' values at their inputs, (B, N, D) -> (B, N)."""
        hidden = torch.bmm(x, self.first).relu()
        return torch.bmm(hidden, self.second[..., None]).squeeze(-1) * math.sqrt(2 / self.second.shape[1])


@dataclass(frozen=True)
class ReluNetworkTask(FunctionTask):
    """Two-layer ReLU networks with weights from N(0, 1); Garg et al. 2022, section 5."""

    name: str = "relu_network"
    hidden_size: int = 100
    """Hidden units of a function."""

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.at_least(1, "task", self, "hidden_size")

    @property
    def mean_square(self) -> int:
        """D: half of the hidden units' values are cut off."""
        return self.input_dim

    @property
    def baselines(self) -> tuple[str, ...]:
        """A trained network, and linear functions."""
        return ("two_layer_network", "least_squares", "nearest_neighbors")

    def _draw(self, num_functions: int, generator: torch.Generator) -> ReluNetworks:
        options = {"generator": generator, "device": generator.device, "dtype": torch.float32}
        first = torch.randn(num_functions, self.input_dim, self.hidden_size, **options)  # type: ignore[call-overload]
        second = torch.randn(num_functions, self.hidden_size, **options)  # type: ignore[call-overload]
        return ReluNetworks(first, second)
