"""The toy transformer of [vO]: attention layers with residual connections, nothing else yet."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from iclgd import checks
from iclgd.models.attention import ATTENTIONS, SelfAttention
from iclgd.models.tokens import joint_tokens


@dataclass(frozen=True)
class TransformerConfig:
    """Architecture and initial weights of a toy transformer.

    Raises:
        ValueError: if a value is out of its range.
    """

    num_layers: int = 1
    num_heads: int = 1
    recurrent: bool = False  # one set of weights for all layers
    attention: str = "linear"
    init_scale: float = 0.002  # initial variance times fan-in times num_layers, as in [vO]'s code

    def __post_init__(self) -> None:
        checks.at_least(1, "model", self, "num_layers", "num_heads")
        checks.one_of(ATTENTIONS, "model", self, "attention")
        checks.positive("model", self, "init_scale")


class Transformer(nn.Module):
    """Self-attention layers over joint tokens; the prediction is *minus* the query token's last channels.

    Args:
        config: the architecture.
        input_dim: D.
        output_dim: O.
        initial_weight: W0 (O, D) of the learner that a construction imitates; ``None`` is zero.
    """

    initial_weight: Tensor | None

    def __init__(
        self,
        config: TransformerConfig,
        input_dim: int,
        output_dim: int = 1,
        initial_weight: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.input_dim = input_dim
        self.output_dim = output_dim
        num_stored = 1 if config.recurrent else config.num_layers
        self.layers = nn.ModuleList(
            SelfAttention(input_dim + output_dim, config.num_heads, config.attention) for _ in range(num_stored)
        )
        self.register_buffer("initial_weight", initial_weight)

    def initialize(self, generator: torch.Generator) -> "Transformer":
        """Draw all weights as the published code does; return self."""
        for layer in self.layers:
            assert isinstance(layer, SelfAttention)
            layer.initialize(self.config.init_scale / self.config.num_layers, generator)
        return self

    def forward(self, x: Tensor, y: Tensor, query: Tensor) -> Tensor:
        """Predict the query's target, (B, O), computing only what the query's last layer can see."""
        context, query_token = joint_tokens(x, y, query, self.initial_weight)
        *earlier, last = self.sequence()
        for layer in earlier:
            hidden = torch.cat([context, query_token[None]])
            hidden = hidden + layer(hidden)
            context, query_token = hidden[:-1], hidden[-1]
        update = last.read_out(context, query_token, self.output_dim)
        return -(query_token[-self.output_dim :] + update).T

    def hidden(self, x: Tensor, y: Tensor, query: Tensor) -> Tensor:
        """Return all tokens after the last layer, (N + 1, D + O, B): the plain computation behind :meth:`forward`."""
        context, query_token = joint_tokens(x, y, query, self.initial_weight)
        hidden = torch.cat([context, query_token[None]])
        for layer in self.sequence():
            hidden = hidden + layer(hidden)
        return hidden

    def sequence(self) -> list[SelfAttention]:
        """Return the layers in the order in which they are applied (one layer several times if recurrent)."""
        repeats = self.config.num_layers if self.config.recurrent else 1
        return [layer for layer in self.layers for _ in range(repeats)]  # type: ignore[misc]
