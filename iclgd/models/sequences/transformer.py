"""A transformer over sequences of observations that predicts the next one at every position."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from iclgd import checks
from iclgd.models.sequences.attention import ATTENTIONS, MESA_SOLVERS, NORMALIZATIONS, SequenceAttention
from iclgd.models.sequences.tokens import TOKENS, constructed_tokens, lagged_tokens
from iclgd.models.tokens import positional_encoding

NORM_EPSILON = 1e-6
POSITIONAL_ENCODINGS = {"none": "positions are not told", "add": "sinusoids are added to the tokens"}
MOST_LAYERS = 1000


@dataclass(frozen=True)
class SequenceTransformerConfig:
    """The architecture of a transformer over sequences.

    Raises:
        ValueError: if a value is out of its range, or two do not go together.
    """

    tokens: str = "constructed"
    """How observations become tokens."""
    num_lags: int = 1
    """With tokens=lagged: observations of a token."""
    num_layers: int = 1
    """Number of layers."""
    num_heads: int = 1
    """Attention heads of each layer."""
    attention: str = "mesa"
    """What layers attend with."""
    first_attention: str | None = None
    """What the first layer attends with, if not the same: a hybrid."""
    key_size: int | None = None
    """Channels of a head; null: the width of a token divided by the heads."""
    in_projection: int | None = None
    """Width to which tokens are embedded, and from which predictions are read; null: tokens as they are."""
    positional_encoding: str = "none"
    """How positions are told."""
    mlp_width: int = 0
    """Hidden units of the MLP after each attention; 0: there is none."""
    layer_norm: bool = False
    """Whether attention and MLP see normalised tokens."""
    clip: float = 0.0
    """After each layer all activations are clamped to [-clip, clip]; 0: they are not."""
    mesa_solver: str = "exact"
    """How the mesa layer solves least squares."""
    mesa_steps: int = 10
    """Steps of mesa solvers that take a fixed number."""
    normalize: str = "none"
    """What the mesa layer normalises of its heads."""
    init_scale: float = 0.3
    """Standard deviation of the first weights times the root of the fan-in."""

    def __post_init__(self) -> None:
        checks.one_of(TOKENS, "model", self, "tokens")
        checks.at_least(1, "model", self, "num_layers", most=MOST_LAYERS)
        checks.at_least(1, "model", self, "num_heads", "num_lags", "mesa_steps")
        checks.at_least(0, "model", self, "mlp_width", "clip")
        checks.one_of(ATTENTIONS, "model", self, "attention")
        checks.one_of(ATTENTIONS, "model", self, "first_attention", optional=True)
        for key in ("key_size", "in_projection"):
            if getattr(self, key) is not None:
                checks.at_least(1, "model", self, key)
        checks.one_of(POSITIONAL_ENCODINGS, "model", self, "positional_encoding")
        checks.one_of(MESA_SOLVERS, "model", self, "mesa_solver")
        checks.one_of(NORMALIZATIONS, "model", self, "normalize")
        checks.positive("model", self, "init_scale")
        if self.num_lags > 1 and self.tokens != "lagged":
            raise ValueError(f"model.num_lags needs model.tokens=lagged, got model.tokens={self.tokens}")
        if self.first_attention is not None and self.num_layers == 1:
            raise ValueError("model.first_attention needs more than one of model.num_layers")
        if "mesa" not in (self.attention, self.first_attention) and self.normalize != "none":
            raise ValueError("model.normalize needs a mesa layer: model.attention=mesa")

    def width(self, observed_size: int) -> int:
        """Return the channels of a token inside, for observations of so many coordinates."""
        blocks = {"observations": 1, "constructed": 4, "lagged": self.num_lags}[self.tokens]
        return self.in_projection or blocks * observed_size

    def check(self, observed_size: int) -> None:
        """Refuse observations that do not fit.

        Raises:
            ValueError: with the reason.
        """
        width = self.width(observed_size)
        if self.key_size is None and width % self.num_heads:
            raise ValueError(
                f"model.num_heads must divide the width of tokens ({width}) unless model.key_size is given, "
                f"got {self.num_heads}"
            )
        if self.positional_encoding == "add" and width % 2:
            raise ValueError(f"model.positional_encoding=add needs tokens of an even width, got {width}")


class SequenceLayer(nn.Module):
    """Attention and perhaps an MLP, each with a residual connection; tokens are (B, T, C).

    Args:
        config: the architecture.
        width: C.
        is_first: whether it is the first of all layers.
    """

    def __init__(self, config: SequenceTransformerConfig, width: int, is_first: bool) -> None:
        super().__init__()
        kind = config.first_attention if is_first and config.first_attention else config.attention
        self.attention = SequenceAttention(
            width,
            config.num_heads,
            kind,
            config.key_size or width // config.num_heads,
            config.mesa_solver,
            config.mesa_steps,
            config.normalize,
        )
        self.norm = nn.LayerNorm(width, eps=NORM_EPSILON) if config.layer_norm else nn.Identity()
        self.mlp = self.mlp_norm = None
        if config.mlp_width:
            self.mlp = nn.Sequential(
                nn.Linear(width, config.mlp_width, bias=False),
                nn.GELU(approximate="tanh"),
                nn.Linear(config.mlp_width, width, bias=False),
            )
            self.mlp_norm = nn.LayerNorm(width, eps=NORM_EPSILON) if config.layer_norm else nn.Identity()
        self.clip = config.clip

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the tokens after this layer."""
        tokens = tokens + self.attention(self.norm(tokens))
        if self.mlp is not None and self.mlp_norm is not None:
            tokens = tokens + self.mlp(self.mlp_norm(tokens))
        return F.hardtanh(tokens, -self.clip, self.clip) if self.clip else tokens


class SequenceTransformer(nn.Module):
    """Layers over a sequence; the prediction is read from the tokens' first channels.

    Args:
        config: the architecture.
        observed_size: coordinates N of an observation.

    Raises:
        ValueError: if the observations do not fit the architecture.

    Example:
        >>> model = SequenceTransformer(SequenceTransformerConfig(), observed_size=3)
        >>> model.initialize(torch.Generator())(torch.ones(5, 7, 3)).shape
        torch.Size([5, 7, 3])
    """

    def __init__(self, config: SequenceTransformerConfig, observed_size: int) -> None:
        super().__init__()
        config.check(observed_size)
        self.config, self.observed_size = config, observed_size
        width = config.width(observed_size)
        num_channels = self.tokens(torch.zeros(1, 1, observed_size)).shape[-1]
        self.in_projection = self.out_projection = None
        if config.in_projection is not None:
            self.in_projection = nn.Linear(num_channels, width, bias=False)
            self.out_projection = nn.Linear(width, observed_size, bias=False)
        self.layers = nn.ModuleList(
            SequenceLayer(config, width, is_first=index == 0) for index in range(config.num_layers)
        )

    def initialize(self, generator: torch.Generator) -> "SequenceTransformer":
        """Draw all matrices from normal distributions, smaller ones where layers are many; return self."""
        with torch.no_grad():
            for name, weight in self.named_parameters():
                if weight.dim() < 2:
                    continue
                std = self.config.init_scale / math.sqrt(weight.shape[1])
                if name.startswith("layers."):
                    std /= math.sqrt(self.config.num_layers)
                weight.copy_(std * torch.randn(weight.shape, generator=generator))
        return self

    def forward(self, observations: Tensor) -> Tensor:
        """Predict the next observation at every position, (B, T, N) -> (B, T, N)."""
        hidden = self.embed(observations)
        for layer in self.layers:
            hidden = layer(hidden)
        return self.read_out(hidden)

    def hidden_states(self, observations: Tensor) -> list[Tensor]:
        """Return the tokens before the first and after each layer, (B, T, C) each."""
        states = [self.embed(observations)]
        for layer in self.layers:
            states.append(layer(states[-1]))
        return states

    def strengths(self) -> dict[int, Tensor]:
        """Return lambda of the heads of each mesa layer, (H,), by the layer's number from 1 on."""
        attentions = [module for module in self.modules() if isinstance(module, SequenceAttention)]
        return {
            number: attention.log_strength.detach().exp()
            for number, attention in enumerate(attentions, start=1)
            if attention.log_strength is not None
        }

    def tokens(self, observations: Tensor) -> Tensor:
        """Return the tokens of observations, before they are embedded."""
        if self.config.tokens == "constructed":
            return constructed_tokens(observations)
        if self.config.tokens == "lagged":
            return lagged_tokens(observations, self.config.num_lags)
        return observations

    def embed(self, observations: Tensor) -> Tensor:
        """Return what the first layer sees, (B, T, C)."""
        tokens = self.tokens(observations)
        hidden = tokens if self.in_projection is None else self.in_projection(tokens)
        if self.config.positional_encoding == "add":
            hidden = hidden + positional_encoding(*hidden.shape[1:]).to(hidden)
        return hidden

    def read_out(self, hidden: Tensor) -> Tensor:
        """Read predictions from tokens, (B, T, C) -> (B, T, N)."""
        if self.out_projection is not None:
            return self.out_projection(hidden)  # type: ignore[no-any-return]
        return hidden[..., : self.observed_size]
