"""A small GPT-2 with fresh weights."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel
from transformers import PreTrainedTokenizerBase as Tokenizer

from iclgd import checks
from iclgd.models.language_mesa import MesaConfig, add_mesa
from iclgd.models.momentum import ATTENTIONS, MomentumConfig, add_momentum
from iclgd.vendors.transformers import gpt2_positions, gpt2_queries_and_keys

TRAINED_ATTENTIONS = {
    **ATTENTIONS,
    "mesa": "least squares of the values on the keys so far, von Oswald et al. 2023b",
}


@dataclass(frozen=True)
class GPTConfig:
    """The size of a GPT-2.

    Raises:
        ValueError: if a value is out of its range.
    """

    num_layers: int = 4
    """Number of layers."""
    num_heads: int = 4
    """Attention heads of each layer."""
    hidden_size: int = 128
    """Width of a token's hidden state."""
    context_length: int = 512
    """Tokens of the longest sequence."""
    init_scale: float = 0.07
    """Standard deviation of the first weights; GPT-2's own 0.02 suits wider models."""
    attention: str = "softmax"
    """What layers attend with: softmax; momentum, which adds a decayed sum of the values before; or the mesa layer."""
    momentum: float = 0.9
    """With attention=momentum: eta, from 0 to below 1."""
    learn_momentum: bool = False
    """With attention=momentum: whether each head learns its own eta, beginning with model.momentum."""
    mesa_strength: float = 1.0
    """With attention=mesa: lambda with which heads begin, the larger the closer they fit the context."""

    def __post_init__(self) -> None:
        checks.at_least(1, "model", self, "num_layers", most=1000)
        checks.at_least(1, "model", self, "num_heads", "hidden_size", "context_length")
        checks.positive("model", self, "init_scale")
        checks.one_of(TRAINED_ATTENTIONS, "model", self, "attention")
        MomentumConfig(self.momentum, self.learn_momentum)
        MesaConfig(self.mesa_strength)
        if self.learn_momentum and self.attention != "momentum":
            raise ValueError("model.learn_momentum=true needs model.attention=momentum")
        for divisor in (self.num_heads, 2):
            if self.hidden_size % divisor:
                raise ValueError(f"model.hidden_size must be a multiple of {divisor}, got {self.hidden_size}")


def build_gpt(config: GPTConfig, vocabulary_size: int, generator: torch.Generator) -> GPT2LMHeadModel:
    """Return a GPT-2 without dropout: generated text never repeats.

    Two things do not start as in GPT-2, as a model of this size would
    then need several times as many steps until it learns in context: positions are sinusoids, so that "the word before"
    looks the same everywhere, and keys equal queries, so that tokens attend to similar ones.

    Args:
        config: its size.
        vocabulary_size: how many tokens there are.
        generator: whose seed the weights depend on.

    Example:
        >>> config = GPTConfig(num_layers=1, num_heads=2, hidden_size=4, context_length=8)
        >>> build_gpt(config, 5, torch.Generator())(torch.tensor([[0, 3, 4]])).logits.shape
        torch.Size([1, 3, 5])
    """
    with torch.random.fork_rng(devices=[]):  # transformers draws from the global generator
        torch.manual_seed(generator.initial_seed())
        model = GPT2LMHeadModel(
            GPT2Config(
                vocab_size=vocabulary_size,
                n_positions=config.context_length,
                n_embd=config.hidden_size,
                n_layer=config.num_layers,
                n_head=config.num_heads,
                initializer_range=config.init_scale,
                activation_function="gelu_pytorch_tanh",  # GPT-2's own function, computed in one piece
                resid_pdrop=0.0,
                embd_pdrop=0.0,
                attn_pdrop=0.0,
                bos_token_id=None,
                eos_token_id=None,
            )
        )
    with torch.no_grad():
        positions = gpt2_positions(model)
        positions.copy_(sinusoids(*positions.shape) * config.init_scale * math.sqrt(2))
        for query, key in gpt2_queries_and_keys(model):
            key.copy_(query)
    if config.attention == "momentum":
        add_momentum(model, MomentumConfig(config.momentum, config.learn_momentum))
    if config.attention == "mesa":
        add_mesa(model, MesaConfig(config.mesa_strength))
    return model


def name_special_tokens(model: GPT2LMHeadModel, tokenizer: Tokenizer) -> None:
    """Let a model know which tokens of a tokenizer begin, end and fill a text."""
    for config in (model.config, model.generation_config):
        for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
            setattr(config, name, getattr(tokenizer, name))


def sinusoids(num_positions: int, size: int) -> Tensor:
    """Return sines and cosines of the positions, (T, C), at wavelengths from 2 pi to four times 2 pi T.

    Example:
        >>> sinusoids(2, 2)
        tensor([[0.0000, 1.0000],
                [0.8415, 0.5403]])
    """
    frequencies = (4 * num_positions) ** -(torch.arange(size // 2) / (size // 2))
    angles = torch.arange(num_positions)[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], 1)
