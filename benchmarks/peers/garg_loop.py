"""Training on linear functions as Garg et al. 2022 publish it, written anew in plain PyTorch and transformers.

What costs time there is kept: a GPT-2 with its embeddings of words, attention that holds all weights, GELU in parts,
prompts that are drawn between two steps, Adam weight by weight, and a loss that is read in every step.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from transformers import GPT2Config, GPT2Model

from iclgd.models.function_transformer import FunctionTransformer


class Peer(nn.Module):
    """The published backbone."""

    def __init__(self, input_dim: int, num_points: int, num_layers: int, num_heads: int, hidden_size: int) -> None:
        super().__init__()
        self.read_in = nn.Linear(input_dim, hidden_size)
        self.backbone = GPT2Model(
            GPT2Config(
                n_positions=2 * num_points,
                n_embd=hidden_size,
                n_layer=num_layers,
                n_head=num_heads,
                resid_pdrop=0.0,
                embd_pdrop=0.0,
                attn_pdrop=0.0,
                use_cache=False,
                attn_implementation="eager",
            )
        )
        self.read_out = nn.Linear(hidden_size, 1)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Return predictions at every position, (B, N, D), (B, N) -> (B, N)."""
        wide = torch.cat([y[..., None], torch.zeros(*y.shape, x.shape[2] - 1, dtype=x.dtype)], 2)
        tokens = torch.stack([x, wide], 2).view(len(x), 2 * x.shape[1], x.shape[2])
        states = self.backbone(inputs_embeds=self.read_in(tokens)).last_hidden_state
        predictions: Tensor = self.read_out(states)[:, ::2, 0]
        return predictions

    def copy_from(self, model: FunctionTransformer) -> None:
        """Take over the weights of ours, which has no words."""
        missing, unexpected = self.load_state_dict(model.state_dict(), strict=False)
        assert (missing, unexpected) == (["backbone.wte.weight"], [])


def draw_linear(num_prompts: int, num_points: int, input_dim: int) -> tuple[Tensor, Tensor]:
    """Draw prompts of linear functions, (B, N, D) and (B, N)."""
    weight = torch.randn(num_prompts, input_dim, 1)
    x = torch.randn(num_prompts, num_points, input_dim)
    return x, (x @ weight)[:, :, 0]


def steps(model: Peer, draw: Callable[[], tuple[Tensor, Tensor]], learning_rate: float) -> Iterator[Tensor]:
    """Take a training step each time one is asked for; yield its loss."""
    optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate, foreach=False)
    while True:
        x, y = draw()
        optimizer.zero_grad()
        predictions = model(x, y)
        loss = (predictions - y).square().mean()
        loss.backward()
        optimizer.step()
        loss.item()
        yield loss.detach()
