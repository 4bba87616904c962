"""What may surround attention: a two-layer MLP, a linear map and a normalisation of every token."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from iclgd.models.batched_matmul import mix_channels
from iclgd.models.initialization import truncated_normal_


class TokenLinear(nn.Module):
    """A linear map of every token, ``weight`` (C, C') acting from the right, with ``bias`` (C') or without.

    Args:
        num_inputs: C.
        num_outputs: C'.
        bias: whether there is a bias.
    """

    bias: Tensor | None

    def __init__(self, num_inputs: int, num_outputs: int, bias: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(num_inputs, num_outputs))
        self.register_parameter("bias", nn.Parameter(torch.zeros(num_outputs)) if bias else None)

    def initialize(self, scale: float, generator: torch.Generator) -> None:
        """Draw the weights with variance ``scale / C``; the bias is 0."""
        truncated_normal_(self.weight, scale / len(self.weight), generator)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens (T, C, B) to (T, C', B)."""
        mapped = mix_channels(self.weight.T, tokens)
        return mapped if self.bias is None else mapped + self.bias[:, None]


class MLP(nn.Module):
    """Two linear maps of every token with a GELU (its tanh approximation, as published) between them.

    Args:
        num_channels: C.
        widening: width of the hidden layer over C.
        bias: whether the maps have biases.
    """

    def __init__(self, num_channels: int, widening: int = 4, bias: bool = False) -> None:
        super().__init__()
        self.hidden = TokenLinear(num_channels, widening * num_channels, bias)
        self.output = TokenLinear(widening * num_channels, num_channels, bias)

    def initialize(self, scale: float, generator: torch.Generator) -> None:
        """Draw the weights with variance ``scale / fan_in``; biases are 0."""
        self.hidden.initialize(scale, generator)
        self.output.initialize(scale, generator)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens (T, C, B) to as many."""
        mapped: Tensor = self.output(F.gelu(self.hidden(tokens), approximate="tanh"))
        return mapped


class TokenNorm(nn.Module):
    """Layer normalisation of every token over its channels, with gain and offset (C).

    Args:
        num_channels: C.
    """

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(num_channels))
        self.offset = nn.Parameter(torch.zeros(num_channels))

    def forward(self, tokens: Tensor) -> Tensor:
        """Normalise tokens (T, C, B)."""
        centred = tokens - tokens.mean(1, keepdim=True)
        deviation = (centred.square().mean(1, keepdim=True) + 1e-5).sqrt()
        return centred / deviation * self.gain[:, None] + self.offset[:, None]
