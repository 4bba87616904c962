"""GPT-2 trained by nanoGPT's recipe (Karpathy 2022), written anew: a small model and a bare loop in plain PyTorch.

Its ideas are kept: one projection for queries, keys and values, fused attention, the head tied to the embeddings,
windows anywhere in a memory-mapped file of tokens, the next while the device computes, fused AdamW with two groups,
clipped gradients, bfloat16 by autocast, and next to nothing between two steps. GPT-2's biases and GELU are ours: it is
the same model.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import GPT2LMHeadModel

from iclgd.models.gpt import GPTConfig
from iclgd.modules.language_modeling import TrainingConfig


class Block(nn.Module):
    """Attention and a two-layer network, each behind a layer norm and added to its input."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        size = config.hidden_size
        self.num_heads = config.num_heads
        self.attention_norm, self.network_norm = nn.LayerNorm(size), nn.LayerNorm(size)
        self.projection, self.output = nn.Linear(size, 3 * size), nn.Linear(size, size)
        self.up, self.down = nn.Linear(size, 4 * size), nn.Linear(4 * size, size)

    def forward(self, hidden: Tensor) -> Tensor:
        """Return hidden states (B, T, C) from hidden states."""
        parts = self.projection(self.attention_norm(hidden)).chunk(3, -1)
        query, key, value = (part.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for part in parts)
        attended = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        hidden = hidden + self.output(attended.transpose(1, 2).flatten(2))
        hidden = hidden + self.down(F.gelu(self.up(self.network_norm(hidden)), approximate="tanh"))
        return hidden


class GPT(nn.Module):
    """GPT-2 without dropout, with the weights that its training begins with."""

    def __init__(self, config: GPTConfig, vocabulary_size: int) -> None:
        super().__init__()
        self.words = nn.Embedding(vocabulary_size, config.hidden_size)
        self.positions = nn.Embedding(config.context_length, config.hidden_size)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_layers))
        self.norm = nn.LayerNorm(config.hidden_size)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)
            if isinstance(module, Block):
                for linear in (module.output, module.down):
                    nn.init.normal_(linear.weight, std=0.02 / math.sqrt(2 * config.num_layers))

    def forward(self, tokens: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss of the tokens that follow, both (B, T)."""
        hidden = self.words(tokens) + self.positions(torch.arange(tokens.shape[1], device=tokens.device))
        for block in self.blocks:
            hidden = block(hidden)
        logits = F.linear(self.norm(hidden), self.words.weight)
        return F.cross_entropy(logits.float().flatten(0, 1), targets.flatten())

    def copy_from(self, model: GPT2LMHeadModel) -> None:
        """Take over the weights of transformers' GPT-2."""
        theirs = model.transformer
        pairs: list[tuple[Any, Any]] = [
            (self.words, theirs.wte),
            (self.positions, theirs.wpe),
            (self.norm, theirs.ln_f),
        ]
        blocks: list[Any] = list(self.blocks)
        for ours, block in zip(blocks, theirs.h, strict=True):
            pairs += [(ours.attention_norm, block.ln_1), (ours.network_norm, block.ln_2)]
            pairs += [(ours.projection, block.attn.c_attn), (ours.output, block.attn.c_proj)]
            pairs += [(ours.up, block.mlp.c_fc), (ours.down, block.mlp.c_proj)]
        with torch.no_grad():
            for own, other in pairs:
                # A Linear's weight is the transpose of that of transformers' Conv1D.
                own.weight.copy_(other.weight.T if isinstance(own, nn.Linear) else other.weight)
                if not isinstance(own, nn.Embedding):
                    own.bias.copy_(other.bias)


def windows(
    path: Path, length: int, batch_size: int, device: torch.device, seed: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield batches of tokens and of those that follow, (B, T), from anywhere in a file of 16-bit tokens."""
    generator = np.random.default_rng(seed)
    while True:
        tokens = np.memmap(path, dtype=np.uint16, mode="r")
        starts = generator.integers(len(tokens) - length, size=batch_size)
        drawn = torch.from_numpy(np.stack([tokens[start : start + length + 1] for start in starts]).astype(np.int64))
        if device.type == "cuda":
            drawn = drawn.pin_memory().to(device, non_blocking=True)
        yield drawn[:, :-1], drawn[:, 1:]


def optimizer_of(model: nn.Module, training: TrainingConfig) -> torch.optim.AdamW:
    """Return fused AdamW, which lets matrices and embeddings decay and nothing else."""
    parameters = list(model.parameters())
    groups = [
        {"params": [each for each in parameters if each.dim() >= 2], "weight_decay": training.weight_decay},
        {"params": [each for each in parameters if each.dim() < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=training.learning_rate, betas=(training.beta1, training.beta2), fused=True)


def steps(
    model: nn.Module, batches: Iterator[tuple[Tensor, Tensor]], training: TrainingConfig, num_steps: int, bfloat16: bool
) -> Iterator[Tensor]:
    """Take training steps; yield the loss of each, on the device.

    Args:
        model: a :class:`GPT`, compiled or not, on its device.
        batches: as from :func:`windows`.
        training: optimiser, schedule and clipping.
        num_steps: how many.
        bfloat16: whether matrix products are computed in it.
    """
    optimizer = optimizer_of(model, training)
    tokens, targets = next(batches)
    for step in range(num_steps):
        for group in optimizer.param_groups:
            group["lr"] = training.learning_rate_at(step, num_steps)
        with torch.autocast(tokens.device.type, torch.bfloat16, enabled=bfloat16):
            loss = model(tokens, targets)
        tokens, targets = next(batches)  # while a GPU is still at the forward pass
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), training.gradient_clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        yield loss.detach()
