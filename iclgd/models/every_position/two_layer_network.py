"""Two-layer networks trained on the examples of a prompt: all prompts and positions together."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from iclgd import checks
from iclgd.models.every_position.learner import EveryPositionLearner

MOST_NUMBERS = 2**21  # hidden units of all examples that are trained on together: 8 MiB
OPTIMIZERS: dict[str, type[torch.optim.Adam] | type[torch.optim.SGD]] = {
    "adam": torch.optim.Adam,
    "sgd": torch.optim.SGD,
}


class NetworkWeights(NamedTuple):
    """Networks with H hidden units, one for each of P positions and B prompts."""

    first: Tensor  # (P, B, H, D)
    first_bias: Tensor  # (P, B, H)
    second: Tensor  # (P, B, H)
    second_bias: Tensor  # (P, B)

    def __call__(self, x: Tensor) -> Tensor:
        """Return the networks' values at their inputs, (P, B, K, D) -> (P, B, K)."""
        hidden = (x @ self.first.mT + self.first_bias[:, :, None]).relu()
        return (hidden @ self.second[..., None]).squeeze(-1) + self.second_bias[..., None]


@dataclass(frozen=True)
class TwoLayerNetwork(EveryPositionLearner):
    """A two-layer ReLU network, trained from a new start at every position; Garg et al. 2022, section 5.

    The loss is the mean over all prompts and examples together, as published: with SGD a prompt's step depends on the
    number of prompts, with Adam hardly. Every step takes the same random examples of all prompts. Computed in the
    precision of x. Defaults are those of the published code; the paper says 5000 steps on 10 examples.

    Args:
        hidden_size: H.
        num_steps: of the optimiser.
        learning_rate: of the optimiser.
        batch_size: examples of a step; all, where there are fewer.
        optimizer: ``"adam"`` or ``"sgd"``.
        seed: of the start and of the examples that a step takes.

    Raises:
        ValueError: for an unknown optimizer, or a value out of range.

    Example:
        >>> x = torch.randn(1, 12, 2, generator=torch.Generator().manual_seed(0))
        >>> y = x.sum(-1)
        >>> TwoLayerNetwork(hidden_size=10).at_every_position(x, y, positions=[0, 11]).shape
        torch.Size([1, 2])
    """

    hidden_size: int = 100
    num_steps: int = 100
    learning_rate: float = 5e-3
    batch_size: int = 100
    optimizer: str = "adam"
    seed: int = 0

    def __post_init__(self) -> None:
        checks.at_least(1, "two_layer_network", self, "hidden_size", "num_steps", "batch_size")
        checks.positive("two_layer_network", self, "learning_rate")
        checks.one_of(OPTIMIZERS, "two_layer_network", self, "optimizer")

    def _predict(self, x: Tensor, y: Tensor, query: Tensor, positions: list[int]) -> Tensor:
        generator = torch.Generator().manual_seed(self.seed)
        counts = torch.tensor(positions)
        chosen = choose_examples(counts, y.shape[1], self.num_steps, self.batch_size, generator)
        start = draw_weights(len(positions), len(x), x.shape[2], self.hidden_size, generator)
        start = NetworkWeights(*(tensor.to(x) for tensor in start))
        predictions = torch.zeros(len(y), len(positions), dtype=x.dtype, device=x.device)
        size = max(1, MOST_NUMBERS // (len(y) * y.shape[1] * self.hidden_size))
        for part in torch.split(torch.arange(len(positions)), size):  # of positions, which know nothing of one another
            some = NetworkWeights(*(tensor[part.to(x.device)] for tensor in start))
            trained = train(x, y, some, chosen[part].to(x.device), self.learning_rate, self.optimizer)
            asked = query[:, counts[part].to(x.device)].transpose(0, 1)[:, :, None]
            predictions[:, part.to(x.device)] = trained(asked).squeeze(-1).T
        return predictions.masked_fill(counts.to(x.device) == 0, 0.0)


def choose_examples(
    positions: Tensor, num_points: int, num_steps: int, batch_size: int, generator: torch.Generator
) -> Tensor:
    """Draw which of the examples before each position a step takes: ``batch_size`` of them, or all if they are fewer.

    Returns:
        (P, S, N), true for the examples of a step.
    """
    order = torch.rand(len(positions), num_steps, num_points, generator=generator)
    order = order.masked_fill(torch.arange(num_points) >= positions[:, None, None], torch.inf)
    rank = order.argsort(-1).argsort(-1)
    return rank < positions.clamp(max=batch_size)[:, None, None]


def draw_weights(
    num_positions: int, num_prompts: int, dim: int, hidden_size: int, generator: torch.Generator
) -> NetworkWeights:
    """Draw the start of ``torch.nn.Linear``: uniform, within one over the root of the number of inputs of a unit."""

    def uniform(fan_in: int, *shape: int) -> Tensor:
        drawn = torch.rand(num_positions, num_prompts, *shape, generator=generator)
        return (2 * drawn - 1) / math.sqrt(fan_in)

    return NetworkWeights(
        uniform(dim, hidden_size, dim),
        uniform(dim, hidden_size),
        uniform(hidden_size, hidden_size),
        uniform(hidden_size),
    )


def train(
    x: Tensor, y: Tensor, start: NetworkWeights, chosen: Tensor, learning_rate: float, optimizer: str = "adam"
) -> NetworkWeights:
    """Train the networks of all positions and prompts; each position has a mean squared error of its own.

    Args:
        x: inputs, (B, N, D).
        y: targets, (B, N).
        start: of P positions.
        chosen: examples of each position and step, (P, S, N).
        learning_rate: of the optimiser, whose other settings are PyTorch's.
        optimizer: a name in ``OPTIMIZERS``.

    Returns:
        The trained networks, without gradients.
    """
    counts = chosen.sum(-1)  # (P, S)
    most = int(counts.max())
    index = chosen.byte().sort(dim=-1, descending=True, stable=True).indices[..., :most]  # the rest weighs nothing
    weights = chosen.gather(-1, index).to(x) / (len(y) * counts.clamp(min=1))[..., None]
    with torch.enable_grad():
        networks = NetworkWeights(*(tensor.detach().clone().requires_grad_() for tensor in start))
        step_taker = OPTIMIZERS[optimizer](list(networks), lr=learning_rate, fused=True)
        for examples, weight in zip(index.unbind(1), weights.unbind(1), strict=True):
            inputs, targets = x[:, examples].transpose(0, 1), y[:, examples].transpose(0, 1)  # (P, B, K, ...)
            loss = ((networks(inputs) - targets).square() * weight[:, None]).sum()
            step_taker.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            step_taker.step()
    return NetworkWeights(*(tensor.detach() for tensor in networks))
