"""The comparison as a careful user of Hugging Face's library writes it: in batches, and nothing is run twice.

The demonstrations are run once, and their cache is repeated for each batch of queries, which are sorted by length.
Attention is PyTorch's own (SDPA), logits are made at the tokens that predict the answers alone, hooks keep what
attention shows, and finetuning asks for no gradient but that of the projections it changes. Measures are computed for
whole batches, ranks by scipy, one query and layer after the other. GPT-2 only.
"""

import contextlib
import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.stats import kendalltau
from torch import Tensor
from torch.nn import functional as F
from transformers import DynamicCache

from benchmarks.peers.text_loop import (
    NUM_TOP_EXAMPLES,
    NUM_TOP_TOKENS,
    SETTINGS,
    Array,
    Values,
    array,
    cosine,
    rank_measures,
    softmax,
    unit,
)
from iclgd.data.prompts import Prompts


@dataclass
class Seen:
    """What hooks saw of one forward pass, one entry a layer: B prompts of T tokens, C channels.

    Args:
        inputs: of the attention block, (B, T, C).
        projected: its queries, keys and values, (B, T, 3 C).
        outputs: of the attention block, (B, T, C).
    """

    inputs: list[Tensor]
    projected: list[Tensor]
    outputs: list[Tensor]


@contextlib.contextmanager
def watch(model: Any) -> Iterator[Seen]:
    """Hook every attention layer within the block."""
    seen = Seen([], [], [])

    def keep_projection(module: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        seen.inputs.append(inputs[0].detach())
        seen.projected.append(output.detach())

    def keep_output(module: Any, inputs: Any, output: Any) -> None:
        seen.outputs.append(output[0].detach())

    attentions = [block.attn for block in model.transformer.h]
    hooks = [attention.c_attn.register_forward_hook(keep_projection) for attention in attentions]
    hooks += [attention.register_forward_hook(keep_output) for attention in attentions]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def sdpa_copy(model: Any) -> Any:
    """Return a copy of a model with PyTorch's own attention."""
    copied = copy.deepcopy(model)
    copied.set_attn_implementation("sdpa")
    return copied


def finetune(model: Any, prompts: Prompts, learning_rate: float) -> tuple[Any, list[Array]]:
    """Return a copy that took one step on each demonstration, and the queries of all their tokens.

    Args:
        model: as from :func:`sdpa_copy`.
        prompts: their demonstrations, in order.
        learning_rate: of plain gradient descent on key and value projections.

    Returns:
        the copy, and for each layer scaled queries (N, C), those of a demonstration before its step.
    """
    finetuned = copy.deepcopy(model).requires_grad_(False)
    size = finetuned.config.n_embd
    projections = [block.attn.c_attn for block in finetuned.transformer.h]
    parameters = [parameter.requires_grad_(True) for each in projections for parameter in (each.weight, each.bias)]
    queries: list[list[Tensor]] = [[] for _ in projections]
    for tokens in prompts.finetuning_examples:
        ids = torch.tensor([tokens], device=model.device)
        with watch(finetuned) as seen:
            hidden = finetuned.transformer(ids, use_cache=False)[0]
            loss = F.cross_entropy(finetuned.lm_head(hidden[0, :-1]), ids[0, 1:])
            gradients = torch.autograd.grad(loss, parameters)
        with torch.no_grad():
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter[..., size:] -= learning_rate * gradient[..., size:]
        for layer, projected in zip(queries, seen.projected, strict=True):
            layer.append(projected[0, len(prompts.start) :, :size])
    scale = (size // finetuned.config.n_head) ** -0.5
    return finetuned.requires_grad_(False), [array(torch.cat(layer) * scale) for layer in queries]


def batches(prompts: Prompts, batch_size: int) -> list[list[int]]:
    """Return which queries are run together: those of like length."""
    order = sorted(range(len(prompts.queries)), key=lambda query: len(prompts.queries[query]))
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]


@torch.no_grad()
def run_demonstrations(model: Any, prompts: Prompts) -> DynamicCache:
    """Return the cache of all demonstrations, of a batch of one."""
    cache = DynamicCache()
    model.transformer(torch.tensor([prompts.context], device=model.device), past_key_values=cache, use_cache=True)
    return cache


@torch.no_grad()
def answer(
    model: Any, queries: list[tuple[int, ...]], prompts: Prompts, cache: DynamicCache | None = None
) -> tuple[Array, Seen]:
    """Return the indices of the best answers to a batch of prompts, and what hooks saw of their forward pass.

    Args:
        model: base or finetuned.
        queries: of like length.
        prompts: with the answers.
        cache: of the demonstrations, of a batch of one; without it the prompts have the token of the beginning.
    """
    start = prompts.start if cache is None else ()
    lengths = torch.tensor([len(start + query) for query in queries])
    longest = int(lengths.max())

    def log_probabilities(ending: tuple[int, ...]) -> tuple[Tensor, Seen]:
        """Return those at each prompt's last token and at those of the ending, (B, 1 + its length, V)."""
        rows = [start + query + ending for query in queries]
        ids = [row + row[-1:] * (longest + len(ending) - len(row)) for row in rows]
        past = None
        if cache is not None:
            past = copy.deepcopy(cache)
            past.batch_repeat_interleave(len(queries))
        with watch(model) as seen:
            tokens = torch.tensor(ids, device=model.device)
            hidden = model.transformer(tokens, past_key_values=past, use_cache=past is not None)[0]
        places = lengths[:, None] - 1 + torch.arange(1 + len(ending))
        return model.lm_head(hidden[torch.arange(len(queries))[:, None], places]).log_softmax(-1), seen

    at_last, seen = log_probabilities(())
    scores = []
    for of_answer in prompts.answers:
        found = at_last if len(of_answer) == 1 else log_probabilities(of_answer[:-1])[0]
        scores.append(torch.stack([found[:, place, token] for place, token in enumerate(of_answer)]).mean(0))
    return array(torch.stack(scores, -1).argmax(-1)), seen


def compare(
    model: Any,
    finetuned: Any,
    training_queries: list[Array],
    cache: DynamicCache,
    prompts: Prompts,
    batch: list[int],
    noise: np.random.Generator | None,
) -> list[Values]:
    """Return all measures of each query of a batch.

    Args:
        model: as from :func:`sdpa_copy`.
        finetuned: as from :func:`finetune`.
        training_queries: likewise.
        cache: as from :func:`run_demonstrations`.
        prompts: demonstrations and queries.
        batch: which queries.
        noise: for the random baselines; ``None``: the published measures alone, without baselines.
    """
    queries = [prompts.queries[query] for query in batch]
    runs = {
        "zero_shot": answer(model, queries, prompts),
        "in_context": answer(model, queries, prompts, cache),
        "finetuned": answer(finetuned, queries, prompts),
    }
    starts = {name: 0 if name == "in_context" else len(prompts.start) for name in SETTINGS}
    lengths = np.array([len(query) for query in queries])
    num_heads, length, every = model.config.n_head, int(lengths.max()), np.arange(len(batch))
    is_own = np.arange(length) < lengths[:, None]
    shown = [place for start, stop in prompts.demonstration_spans for place in range(start, stop)]
    layers = []
    for layer, trained in enumerate(training_queries):
        last, keys, outputs = {}, {}, {}
        for name, (_, seen) in runs.items():
            query, key, _ = heads(seen.projected[layer], num_heads)
            last[name] = query[torch.arange(len(batch)), :, starts[name] + lengths - 1]
            keys[name] = key[:, :, starts[name] :]
            outputs[name] = unit(array(seen.outputs[layer][every, starts[name] + lengths - 1]))
        values = heads(runs["in_context"][1].projected[layer], num_heads)[2]
        maps = {
            name: array(torch.einsum("bhe,bhte->bht", last[name], keys[name])) * is_own[:, None] for name in SETTINGS
        }
        changes = {name: outputs[name] - outputs["zero_shot"] for name in SETTINGS}
        past = cache.layers[layer]
        scores = torch.einsum("bhe,hne->bhn", last["in_context"], past.keys[0][:, shown])
        prompted = softmax(array(scores.sum(1)))
        finetuning = softmax(array(last["finetuned"].flatten(1)) @ trained.T)
        of_layer = {
            "sim_aou": cosine(changes["in_context"], changes["finetuned"]),
            "sim_am": cosine(maps["in_context"], maps["finetuned"]).mean(-1),
            "sim_am_zero_shot": cosine(maps["in_context"], maps["zero_shot"]).mean(-1),
        }
        layers.append(of_layer)
        if noise is None:
            taus = [kendalltau(*each).statistic for each in zip(prompted, finetuning, strict=True)]
            of_layer["kendall"] = np.array(taus)
            continue
        of_layer |= ranks("kendall", "top_tokens", NUM_TOP_TOKENS, prompted, finetuning, noise)
        random = noise.standard_normal(changes["in_context"].shape)
        of_layer["sim_aou_random"] = cosine(changes["in_context"], random)
        differences = (maps[name] - maps["zero_shot"] for name in SETTINGS[1:])
        of_layer["sim_am_delta"] = cosine(*differences).mean(-1)
        ends = np.cumsum([0, *(len(demonstration) for demonstration in prompts.demonstrations)])[:-1]
        prompted, finetuning = (np.add.reduceat(each, ends, -1) for each in (prompted, finetuning))
        of_layer |= ranks("kendall_examples", "top_examples", NUM_TOP_EXAMPLES, prompted, finetuning, noise)

        context_update = torch.einsum("bhn,hne->bhe", scores, past.values[0][:, shown])
        changed = finetuned.transformer.h[layer].attn.c_attn(runs["in_context"][1].inputs[layer])
        own = torch.from_numpy(is_own)[:, None]
        updates = [
            torch.einsum("bht,bhte->bhe", torch.einsum("bhe,bhte->bht", last["in_context"], key) * own, value)
            for key, value in (heads(changed, num_heads)[1:], (keys["in_context"], values))
        ]
        of_layer["update_similarity"] = cosine(array(context_update), array(updates[0] - updates[1])).mean(-1)
    right = {
        f"accuracy/{name}": runs[name][0] == np.array([prompts.labels[query] for query in batch]) for name in SETTINGS
    }
    stacked = {name: np.stack([of_layer[name] for of_layer in layers], -1) for name in layers[0]}
    return [{name: of[place] for name, of in (right | stacked).items()} for place in range(len(batch))]


def ranks(
    kendall: str, recall: str, k: int, first: Array, second: Array, noise: np.random.Generator
) -> dict[str, Array]:
    """Return the measures of ranks for each query of a batch, (B,) each."""
    rows = [
        rank_measures(kendall, recall, k, *each, noise.random((first.shape[-1],)))
        for each in zip(first, second, strict=True)
    ]
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def heads(projected: Tensor, num_heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """Divide GPT-2's joint projection (B, T, 3 C) into scaled queries, keys and values of heads, (B, H, T, E) each."""
    query, key, value = projected.view(*projected.shape[:2], 3, num_heads, -1).permute(2, 0, 3, 1, 4)
    return query * query.shape[-1] ** -0.5, key, value
