"""Finetuning of GPT-2 in plain transformers and PyTorch: none of the package's code."""

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import GPT2LMHeadModel


def layer_causal_loss(model: GPT2LMHeadModel, ids: Tensor) -> Tensor:
    """Return the sum of the losses that all layers' outputs have when they are read out; inputs are constants."""
    hidden = model.transformer.wte(ids) + model.transformer.wpe(torch.arange(ids.shape[1]))
    losses = []
    for block in model.transformer.h:
        hidden = block(hidden.detach())
        hidden = hidden[0] if isinstance(hidden, tuple) else hidden
        losses.append(F.cross_entropy(model.lm_head(model.transformer.ln_f(hidden))[0, :-1], ids[0, 1:]))
    return torch.stack(losses).sum()


LOSSES: dict[str, Callable[[GPT2LMHeadModel, Tensor], Tensor]] = {
    "gradient_descent": lambda model, ids: F.cross_entropy(model(input_ids=ids).logits[0, :-1], ids[0, 1:]),
    "layer_causal": layer_causal_loss,
}


def finetuned(
    model: GPT2LMHeadModel, examples: Sequence[Tensor], rate: float, method: str = "gradient_descent"
) -> GPT2LMHeadModel:
    """Return a copy after one step on each example, ``(1, T)``, of the keys' and values' part of fused projections."""
    model, width = copy.deepcopy(model), model.config.n_embd
    parts = [each for block in model.transformer.h for each in (block.attn.c_attn.weight, block.attn.c_attn.bias)]
    for ids in examples:
        for part in parts:
            part.requires_grad_(True)
        gradients = torch.autograd.grad(LOSSES[method](model, ids), parts)
        for part, gradient in zip(parts, gradients, strict=True):
            part.requires_grad_(False)[..., width:] -= rate * gradient[..., width:]
    return model
