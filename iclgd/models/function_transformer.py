"""A GPT-2 that reads examples of a function and answers at every position: Garg et al. 2022, Raventós et al. 2023.

A prompt is the tokens x_0, y_0, x_1, y_1, ...; what is read at the token x_i is the prediction from examples 0 to i-1.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import GPT2Config, GPT2Model

from iclgd import checks
from iclgd.models.every_position.learner import EveryPositionLearner
from iclgd.models.faster_modules import use_onednn

FEWEST_WEIGHTS = (
    2**16
)  # of a map that oneDNN computes: those of width 256, of some thousand tokens, take 5/6 of the time
LAYOUTS = {
    "garg2022": "x as it is, y in the first of as many channels; read in and out with bias, PyTorch's first weights",
    "raventos2023": "y in a channel of its own before those of x; read in and out without bias, GPT-2's first weights",
}


@dataclass(frozen=True)
class FunctionTransformerConfig:
    """A GPT-2 over examples: by default the standard one of Garg et al. 2022, appendix A.1.

    Raises:
        ValueError: if a value is out of its range.
    """

    num_layers: int = 12
    """Number of layers."""
    num_heads: int = 8
    """Attention heads of each layer."""
    hidden_size: int = 256
    """Width of a token's hidden state."""
    layout: str = "garg2022"
    """How x and y become tokens."""
    num_points: int | None = None
    """Points of the longest prompt, for which there are positions; null: the task's."""
    init_scale: float = 0.02
    """Standard deviation of the first weights, as GPT-2's."""

    def __post_init__(self) -> None:
        checks.at_least(1, "model", self, "num_layers", most=1000)
        checks.at_least(1, "model", self, "num_heads", "hidden_size")
        checks.one_of(LAYOUTS, "model", self, "layout")
        checks.positive("model", self, "init_scale")
        if self.num_points is not None:
            checks.at_least(1, "model", self, "num_points")
        if self.hidden_size % self.num_heads:
            raise ValueError(f"model.hidden_size must be a multiple of {self.num_heads} heads, got {self.hidden_size}")

    def points_for(self, num_points: int) -> int:
        """Return the points of the longest prompt of a model for a task whose prompts have so many.

        Raises:
            ValueError: if the task's are longer.
        """
        if self.num_points is not None and self.num_points < num_points:
            raise ValueError(f"model.num_points must be at least task.num_points ({num_points}), got {self.num_points}")
        return self.num_points or num_points


class FunctionTransformer(nn.Module, EveryPositionLearner):
    """A GPT-2 without embeddings of words, dropout or ends of texts.

    It is a learner at every position, and a predictor ``(x, y, query) -> prediction``; both can be differentiated.

    Args:
        config: its size and layout.
        input_dim: D.
        num_points: of the longest prompt.
        generator: whose seed the weights depend on.

    Example:
        >>> config = FunctionTransformerConfig(num_layers=1, num_heads=2, hidden_size=4)
        >>> model = FunctionTransformer(config, input_dim=3, num_points=6, generator=torch.Generator())
        >>> model.at_every_position(torch.ones(2, 5, 3), torch.ones(2, 5)).shape
        torch.Size([2, 5])
        >>> model(torch.ones(2, 5, 3), torch.ones(2, 5, 1), torch.ones(2, 3)).shape
        torch.Size([2, 1])
    """

    def __init__(
        self, config: FunctionTransformerConfig, input_dim: int, num_points: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.config = config
        self.num_points = num_points
        is_garg = config.layout == "garg2022"
        with torch.random.fork_rng(devices=[]):  # both libraries draw from the global generator
            torch.manual_seed(generator.initial_seed())
            self.read_in = nn.Linear(input_dim + (not is_garg), config.hidden_size, bias=is_garg)
            self.backbone = GPT2Model(
                GPT2Config(
                    vocab_size=1,
                    n_positions=2 * num_points,
                    n_embd=config.hidden_size,
                    n_layer=config.num_layers,
                    n_head=config.num_heads,
                    initializer_range=config.init_scale,
                    activation_function="gelu_pytorch_tanh",  # GPT-2's own function, computed in one piece
                    resid_pdrop=0.0,
                    embd_pdrop=0.0,
                    attn_pdrop=0.0,
                    use_cache=False,
                    bos_token_id=None,
                    eos_token_id=None,
                    attn_implementation="sdpa",
                )
            )
            del self.backbone.wte  # tokens are read in
            use_onednn(self.backbone, FEWEST_WEIGHTS)
            self.read_out = nn.Linear(config.hidden_size, 1, bias=is_garg)
            if not is_garg:
                nn.init.normal_(self.read_in.weight, std=config.init_scale)
                nn.init.normal_(self.read_out.weight, std=config.init_scale)

    def forward(self, x: Tensor, y: Tensor, query: Tensor) -> Tensor:
        """Predict the query's target, (B, N, D), (B, N, O), (B, D) -> (B, O); each output by itself."""
        return EveryPositionLearner.__call__(self, x, y, query)

    def tokens(self, x: Tensor, y: Tensor) -> Tensor:
        """Return a prompt's tokens in turn, (B, N, D), (B, N) -> (B, 2 N, D or D + 1)."""
        return torch.stack([self._of_inputs(x), self._of_targets(y, x.shape[2])], 2).flatten(1, 2)

    def hidden_states(self, tokens: Tensor, order: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """Return what the last layer makes of tokens, (B, T, C).

        Args:
            tokens: (B, T, D or D + 1).
            order: places of the tokens in a prompt, (T,); those in which they are given if ``None``.
            mask: which tokens each attends to, (T, T); those before it and itself if ``None``.
        """
        states: Tensor = self.backbone(
            inputs_embeds=self.read_in(tokens),
            position_ids=None if order is None else order[None],
            attention_mask=None if mask is None else mask[None, None],
            use_cache=False,
        ).last_hidden_state
        return states

    def _predict(self, x: Tensor, y: Tensor, query: Tensor, positions: list[int]) -> Tensor:
        num_seen = max(positions, default=0)  # the examples that somebody sees
        if num_seen >= self.num_points:
            raise ValueError(
                f"the model has positions for {self.num_points} points of a prompt (model.num_points), "
                f"got {num_seen + 1}"
            )
        seen = self.tokens(x[:, :num_seen], y[:, :num_seen])
        if query is x:
            states = self.hidden_states(torch.cat([seen, self._of_inputs(x[:, num_seen : num_seen + 1])], 1))[:, ::2]
            chosen = states if positions == list(range(num_seen + 1)) else states[:, positions]
        else:
            asked = torch.tensor(positions, device=x.device)
            order, mask = _of_queries(asked, 2 * num_seen)
            tokens = torch.cat([seen, self._of_inputs(query[:, asked])], 1)
            chosen = self.hidden_states(tokens, order, mask)[:, 2 * num_seen :]
        prediction: Tensor = self.read_out(chosen).squeeze(-1)
        return prediction

    def _of_inputs(self, x: Tensor) -> Tensor:
        return x if self.config.layout == "garg2022" else nn.functional.pad(x, (1, 0))

    def _of_targets(self, y: Tensor, dim: int) -> Tensor:
        return nn.functional.pad(y[..., None], (0, dim - (self.config.layout == "garg2022")))


def _of_queries(asked: Tensor, num_seen: int) -> tuple[Tensor, Tensor]:
    """Return places and mask where queries follow all examples: each sees the tokens before its place, and itself.

    Args:
        asked: positions of the P queries, (P,).
        num_seen: tokens of examples, E.

    Returns:
        (E + P,), and (E + P, E + P), true where a token attends.
    """
    device = asked.device
    order = torch.cat([torch.arange(num_seen, device=device), 2 * asked])
    index = torch.arange(len(order), device=device)
    is_seen = (index < num_seen) & (index < order[:, None])
    return order, is_seen | (index == index[:, None])
