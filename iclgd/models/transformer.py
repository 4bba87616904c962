"""The toy transformers of [vO]: from one bare attention layer to the usual architecture."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from iclgd import checks
from iclgd.models.attention import ATTENTIONS, SelfAttention
from iclgd.models.blocks import MLP, TokenLinear, TokenNorm
from iclgd.models.tokens import POSITIONAL_ENCODINGS, TOKENS, joint_tokens, positional_encoding, separate_tokens

MOST_LAYERS = 1000  # gradient descent's best rate is a root of a polynomial of twice that degree
SCALES = (1e-15, 1e15)  # of factors: squares and products of them are numbers in single precision


@dataclass(frozen=True)
class TransformerConfig:
    """Architecture and initial weights of a toy transformer.

    Raises:
        ValueError: if a value is out of its range, or two of them do not go together.

    Example:
        >>> TransformerConfig(num_layers=2, attention="softmax").num_heads
        1
    """

    num_layers: int = 1
    """Number of attention layers."""
    num_heads: int = 1
    """Attention heads of each layer."""
    recurrent: bool = False
    """Whether all layers share one set of weights."""
    attention: str = "linear"
    """Kind of attention."""
    first_attention: str | None = None
    """Kind of attention of the first layer, if it differs from the others'."""
    key_size: int | None = None
    """Width of a head's queries, keys and values; the width of a token if null."""
    bias: bool = False
    """Whether attention's and MLPs' linear maps have biases."""
    layer_norm: bool = False
    """Layer normalisation before attention and MLP; with separate weights not before the first attention."""
    mlp: bool = False
    """Whether an MLP follows each attention."""
    tokens: str = "joint"
    """How an example becomes tokens."""
    positional_encoding: str = "none"
    """How tokens are told their position."""
    positional_channels: int = 0
    """Channels of a concatenated positional encoding."""
    in_projection: int | None = None
    """Width to which a linear map brings each token first; no such map if null."""
    input_mlp: bool = False
    """Whether an MLP acts on each token before the first layer."""
    out_projection: bool = False
    """Whether a linear map acts on the last hidden state."""
    dampening: float = 1.0
    """Factor of every layer's update."""
    clip: float = 0.0
    """After each layer all activations are clamped to [-clip, clip]; 0: they are not."""
    update_targets_only: bool = False
    """Whether attention changes nothing but the target channels, as gradient descent does."""
    momentum: float = 0.0
    """From the second layer on, every token also moves on by this times its last change."""
    learn_momentum: bool = False
    """Whether model.momentum is but where training begins: each layer's own, one if they share their weights."""
    init_scale: float = 0.002
    """Initial variance times fan-in times num_layers, as in [vO]'s code."""

    def __post_init__(self) -> None:
        checks.at_least(1, "model", self, "num_layers", most=MOST_LAYERS)
        checks.at_least(1, "model", self, "num_heads")
        checks.one_of(ATTENTIONS, "model", self, "attention")
        checks.one_of(TOKENS, "model", self, "tokens")
        checks.one_of(POSITIONAL_ENCODINGS, "model", self, "positional_encoding")
        checks.positive("model", self, "init_scale", "dampening", between=SCALES)
        checks.at_least(0, "model", self, "clip", "positional_channels")
        if 0 < self.clip < SCALES[0]:
            raise ValueError(f"model.clip must be 0 or at least {SCALES[0]}, got {self.clip}")
        for key in ("key_size", "in_projection"):
            if getattr(self, key) is not None:
                checks.at_least(1, "model", self, key)
        checks.one_of(ATTENTIONS, "model", self, "first_attention", optional=True)
        if self.first_attention is not None and (self.recurrent or self.num_layers == 1):
            raise ValueError("model.first_attention needs model.recurrent=false and more than one model.num_layers")
        if self.clip and self.num_layers == 1:
            raise ValueError("model.clip acts between layers: it must be 0 with model.num_layers=1")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"model.momentum must be at least 0 and below 1, got {self.momentum}")
        if self.has_momentum and self.num_layers == 1:
            raise ValueError(
                "model.momentum acts from the second layer on: with model.num_layers=1 it must be 0 and "
                "model.learn_momentum false"
            )
        if self.positional_encoding != "none" and self.tokens == "joint":
            raise ValueError(
                "model.positional_encoding must be none with model.tokens=joint: "
                "the examples of a context have no order (model.tokens=separate has one)"
            )
        if (self.positional_encoding == "concatenate") != (self.positional_channels > 0):
            raise ValueError(
                "model.positional_channels must be positive with model.positional_encoding=concatenate, else 0"
            )
        if self.positional_channels % 2:
            raise ValueError(f"model.positional_channels must be even, got {self.positional_channels}")

    @property
    def has_momentum(self) -> bool:
        """Whether layers have momentum, fixed or learned."""
        return self.momentum != 0 or self.learn_momentum

    @property
    def is_plain(self) -> bool:
        """Whether the model is nothing but single-head linear attention over joint tokens, with momentum or without."""
        same = TransformerConfig(
            self.num_layers,
            recurrent=self.recurrent,
            init_scale=self.init_scale,
            clip=self.clip,
            update_targets_only=self.update_targets_only,
            momentum=self.momentum,
            learn_momentum=self.learn_momentum,
        )
        return self == same


class TransformerLayer(nn.Module):
    r"""Attention and perhaps an MLP, each with a residual connection; token tensors are (T, C, B).

    With momentum :math:`\beta` the tokens also move on as they did in the layer before (cf. Sander et al. 2021, arXiv
    2102.07870, whose residual connections have momentum), in the form of the heavy ball (Polyak 1964):

    .. math:: e^{(k+1)} = \mathrm{layer}(e^{(k)}) + \beta \, (e^{(k)} - e^{(k-1)})

    before the MLP, if there is one, and before activations are clamped.

    Args:
        config: the architecture.
        num_channels: width C of a token.
        output_dim: number O of target channels, which come last.
        is_first: whether it is the first of layers with separate weights.
    """

    def __init__(self, config: TransformerConfig, num_channels: int, output_dim: int, is_first: bool) -> None:
        super().__init__()
        self.dampening, self.clip = config.dampening, config.clip
        self.num_updated = output_dim if config.update_targets_only else num_channels
        kind = config.first_attention if is_first and config.first_attention else config.attention
        self.attention = SelfAttention(num_channels, config.num_heads, kind, config.key_size, config.bias)
        self.momentum: Tensor | float = 0.0 if is_first else config.momentum
        if config.learn_momentum and not is_first:  # the first has no change before it, and so nothing to learn
            self.momentum = nn.Parameter(torch.tensor(config.momentum))
        self.norm = TokenNorm(num_channels) if config.layer_norm and not is_first else None
        # An MLP and its norm; files of weights have them under these names.
        self.perceptron = MLP(num_channels, bias=config.bias) if config.mlp else None
        self.perceptron_norm = TokenNorm(num_channels) if config.mlp and config.layer_norm else None

    def initialize(self, scale: float, generator: torch.Generator) -> None:
        """Draw the weights with variance ``scale / fan_in``."""
        self.attention.initialize(scale, generator)
        if self.perceptron is not None:
            self.perceptron.initialize(scale, generator)

    def forward(self, hidden: Tensor, previous: Tensor | None = None, only_query: bool = False) -> Tensor:
        """Return all tokens after this layer, or the last one alone.

        Args:
            hidden: the tokens before this layer.
            previous: those before the layer before, of which momentum needs the change; ``None`` before the first.
            only_query: whether to return the last one alone.
        """
        seen = hidden if self.norm is None else self.norm(hidden)
        if only_query:
            hidden, previous = hidden[-1:], None if previous is None else previous[-1:]
        context, tokens = seen[:-1], seen[-1:] if only_query else seen
        hidden = self._move_on(hidden, previous)
        if self.num_updated == hidden.shape[1] and self.dampening == 1:
            hidden = self._clamp(self.attention(context, tokens, start=hidden))
        else:
            update = self.attention(context, tokens)[:, -self.num_updated :]
            update = F.pad(update, (0, 0, hidden.shape[1] - self.num_updated, 0))
            hidden = self._clamp(hidden + self._dampen(update))
        if self.perceptron is not None:
            seen = hidden if self.perceptron_norm is None else self.perceptron_norm(hidden)
            hidden = self._clamp(hidden + self._dampen(self.perceptron(seen)))
        return hidden

    def read_out(self, hidden: Tensor, num_outputs: int, previous: Tensor | None = None) -> Tensor:
        """Return only the last channels of the last token after this layer, (O, B); arguments as in :meth:`forward`."""
        if self.perceptron is not None or num_outputs > self.num_updated:
            return self(hidden, previous, only_query=True)[-1, -num_outputs:]  # type: ignore[no-any-return]
        seen = hidden if self.norm is None else self.norm(hidden)
        update = self.attention.read_out(seen[:-1], seen[-1], num_outputs)
        target = self._move_on(hidden[-1, -num_outputs:], None if previous is None else previous[-1, -num_outputs:])
        return self._clamp(target + self._dampen(update))

    def _move_on(self, hidden: Tensor, previous: Tensor | None) -> Tensor:
        """Add the momentum of the last change."""
        if previous is None or (isinstance(self.momentum, float) and self.momentum == 0):
            return hidden
        return hidden + self.momentum * (hidden - previous)

    def _dampen(self, update: Tensor) -> Tensor:
        return update if self.dampening == 1 else self.dampening * update

    def _clamp(self, hidden: Tensor) -> Tensor:
        # The same as clamp, whose backward pass takes longer: a tenth of a step of five layers.
        return F.hardtanh(hidden, -self.clip, self.clip) if self.clip else hidden


class Transformer(nn.Module):
    """Layers over the tokens of a regression problem; the prediction is *minus* the query token's last channels.

    Args:
        config: the architecture.
        input_dim: D.
        output_dim: O.
        initial_weight: W0 (O, D) of the learner that a construction imitates; ``None`` is zero.

    Raises:
        ValueError: if the tokens cannot hold the outputs or the positional encoding.

    Example:
        >>> transformer = Transformer(TransformerConfig(), input_dim=3).initialize(torch.Generator())
        >>> transformer(torch.ones(5, 4, 3), torch.ones(5, 4, 1), torch.ones(5, 3)).shape
        torch.Size([5, 1])
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
        num_channels = self._token_width()
        self.in_projection = None
        if config.in_projection is not None:
            self.in_projection = TokenLinear(num_channels, config.in_projection, config.bias)
            num_channels = config.in_projection
        self.input_mlp = MLP(num_channels, bias=True) if config.input_mlp else None
        if config.positional_encoding == "add" and num_channels % 2:
            raise ValueError(f"model.positional_encoding=add needs tokens of an even width, got {num_channels}")
        num_channels += config.positional_channels
        num_stored = 1 if config.recurrent else config.num_layers
        self.layers = nn.ModuleList(
            TransformerLayer(config, num_channels, output_dim, is_first=index == 0 and not config.recurrent)
            for index in range(num_stored)
        )
        self.out_projection = TokenLinear(num_channels, output_dim, bias=True) if config.out_projection else None
        self.register_buffer("initial_weight", initial_weight)

    def initialize(self, generator: torch.Generator) -> "Transformer":
        """Draw all weights as the published code does; return self."""
        scale = self.config.init_scale / self.config.num_layers
        for layer in self.sequence(1 if self.config.recurrent else None):
            layer.initialize(scale, generator)
        for part in (self.in_projection, self.input_mlp):
            if part is not None:
                part.initialize(scale, generator)
        if self.out_projection is not None:
            self.out_projection.initialize(1.0, generator)
        return self

    def forward(self, x: Tensor, y: Tensor, query: Tensor, num_layers: int | None = None) -> Tensor:
        """Predict the query's target, (B, O), computing only what the query's last layer can see.

        Args:
            x: context inputs, (B, N, D).
            y: context targets, (B, N, O).
            query: query inputs, (B, D).
            num_layers: after how many layers to read the prediction; all if ``None``.
        """
        hidden = self.embed(self.tokens(x, y, query))
        layers = self.sequence(num_layers)
        previous = None
        if self.out_projection is not None or not layers:
            for layer in layers:
                previous, hidden = hidden, layer(hidden, previous)
            return self.predict(hidden)
        for layer in layers[:-1]:
            previous, hidden = hidden, layer(hidden, previous)
        return -layers[-1].read_out(hidden, self.output_dim, previous).T

    def hidden_states(self, x: Tensor, y: Tensor, query: Tensor) -> list[Tensor]:
        """Return all tokens before the first and after each layer, (T, C, B): the plain computation."""
        states = [self.embed(self.tokens(x, y, query))]
        for layer in self.sequence():
            states.append(layer(states[-1], states[-2] if len(states) > 1 else None))
        return states

    def layer_predictions(self, x: Tensor, y: Tensor, query: Tensor) -> Tensor:
        """Return the predictions before the first and after each layer, (L + 1, B, O)."""
        return torch.stack([self.predict(hidden) for hidden in self.hidden_states(x, y, query)])

    def tokens(self, x: Tensor, y: Tensor, query: Tensor) -> Tensor:
        """Return the tokens of a problem, (T, D + O, B), or (T, D, B) where inputs and targets are separate."""
        if self.config.tokens == "joint":
            return joint_tokens(x, y, query, self.initial_weight)
        return separate_tokens(x, y, query)

    def embed(self, tokens: Tensor) -> Tensor:
        """Return what the first layer sees of the tokens, (T, C, B): projected, with their places."""
        hidden = tokens if self.in_projection is None else self.in_projection(tokens)
        if self.input_mlp is not None:
            hidden = hidden + self.input_mlp(hidden)
        if self.config.positional_encoding == "none":
            return hidden
        num_tokens, num_channels, num_tasks = hidden.shape
        encoding = positional_encoding(num_tokens, self.config.positional_channels or num_channels)[..., None].to(
            hidden
        )
        if self.config.positional_encoding == "add":
            return hidden + encoding
        return torch.cat([hidden, encoding.expand(-1, -1, num_tasks)], dim=1)

    def sequence(self, num_layers: int | None = None) -> list[TransformerLayer]:
        """Return the layers in the order in which they are applied (one layer several times if recurrent)."""
        repeats = self.config.num_layers if self.config.recurrent else 1
        layers: list[TransformerLayer] = [layer for layer in self.layers for _ in range(repeats)]  # type: ignore[misc]
        return layers[:num_layers]

    def predict(self, hidden: Tensor) -> Tensor:
        """Read the prediction, (B, O), out of all tokens or the last one, (T, C, B)."""
        read = hidden[-1:] if self.out_projection is None else self.out_projection(hidden[-1:])
        return -read[0, -self.output_dim :].T

    def _token_width(self) -> int:
        if self.config.tokens == "joint":
            return self.input_dim + self.output_dim
        if self.output_dim > self.input_dim:
            raise ValueError(
                f"task.output_dim must be at most task.input_dim ({self.input_dim}) with model.tokens=separate, "
                f"got {self.output_dim}"
            )
        return self.input_dim
