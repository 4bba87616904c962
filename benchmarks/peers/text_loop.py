"""The comparison of in-context learning with finetuning as a loop over queries, as a researcher would write it today.

Every query is run three times, each time the whole prompt: zero-shot, after all demonstrations, and zero-shot through a
finetuned copy of the model, with eager attention and ``output_attentions=True`` as in the published recipe (Dai et al.
2023). Scores before the softmax cannot be had from attention weights, so hooks keep
queries, keys and values. GPT-2 only.
"""

import contextlib
import copy
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import kendalltau
from torch import Tensor
from torch.nn import functional as F

from iclgd.data.prompts import Prompts

NUM_TOP_TOKENS, NUM_TOP_EXAMPLES = 100, 5
SETTINGS = ("zero_shot", "in_context", "finetuned")

Array: TypeAlias = NDArray[np.floating[Any]]
Values: TypeAlias = dict[str, Any]  # of one query: an array over layers for each measure, and the answers


@dataclass
class Seen:
    """What hooks saw of one forward pass, one entry a layer: T tokens, C channels.

    Args:
        inputs: of the attention block, (T, C).
        projected: its queries, keys and values, (T, 3 C).
        outputs: of the attention block, (T, C).
    """

    inputs: list[Tensor]
    projected: list[Tensor]
    outputs: list[Tensor]


@contextlib.contextmanager
def watch(model: Any) -> Iterator[Seen]:
    """Hook every attention layer within the block."""
    seen = Seen([], [], [])

    def keep_projection(module: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        seen.inputs.append(inputs[0][0].detach())
        seen.projected.append(output[0].detach())

    def keep_output(module: Any, inputs: Any, output: Any) -> None:
        seen.outputs.append(output[0][0].detach())

    attentions = [block.attn for block in model.transformer.h]
    hooks = [attention.c_attn.register_forward_hook(keep_projection) for attention in attentions]
    hooks += [attention.register_forward_hook(keep_output) for attention in attentions]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def eager_copy(model: Any) -> Any:
    """Return a copy of a model that returns its attention weights."""
    copied = copy.deepcopy(model)
    copied.set_attn_implementation("eager")
    return copied


def finetune(model: Any, prompts: Prompts, learning_rate: float) -> tuple[Any, list[Array]]:
    """Return a copy that took one step on each demonstration, and the queries of all their tokens.

    Args:
        model: as from :func:`eager_copy`.
        prompts: their demonstrations, in order.
        learning_rate: of plain gradient descent on key and value projections.

    Returns:
        the copy, and for each layer scaled queries (N, C), those of a demonstration before its step.
    """
    finetuned = copy.deepcopy(model).requires_grad_(False)
    size = finetuned.config.n_embd
    parameters = []
    for block in finetuned.transformer.h:
        for parameter in (block.attn.c_attn.weight, block.attn.c_attn.bias):
            parameter.requires_grad_(True)
            is_key_or_value = torch.arange(parameter.shape[-1], device=parameter.device) >= size
            parameter.register_hook(lambda gradient, kept=is_key_or_value: gradient * kept)
            parameters.append(parameter)
    optimizer = torch.optim.SGD(parameters, lr=learning_rate)
    queries: list[list[Tensor]] = [[] for _ in finetuned.transformer.h]
    for tokens in prompts.finetuning_examples:
        ids = torch.tensor([tokens], device=model.device)
        optimizer.zero_grad()
        with watch(finetuned) as seen:
            F.cross_entropy(finetuned(ids).logits[0, :-1], ids[0, 1:]).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        for layer, projected in zip(queries, seen.projected, strict=True):
            layer.append(projected[len(prompts.start) :, :size])
    scale = (size // finetuned.config.n_head) ** -0.5
    return finetuned.requires_grad_(False), [array(torch.cat(layer) * scale) for layer in queries]


def answer(model: Any, tokens: tuple[int, ...], answers: tuple[tuple[int, ...], ...]) -> tuple[int, Seen]:
    """Return the index of the best answer to one prompt, and what hooks saw of its forward pass."""
    with torch.no_grad(), watch(model) as seen:
        output = model(torch.tensor([tokens], device=model.device), output_attentions=True)
    scores = []
    for of_answer in answers:
        logits = output.logits
        if len(of_answer) > 1:
            with torch.no_grad():
                logits = model(torch.tensor([tokens + of_answer[:-1]], device=model.device)).logits
        log_probabilities = logits[0, len(tokens) - 1 :].log_softmax(-1)
        scores.append(np.mean([log_probabilities[place, token].item() for place, token in enumerate(of_answer)]))
    return int(np.argmax(scores)), seen


def compare(
    model: Any, finetuned: Any, training_queries: list[Array], prompts: Prompts, query: int, noise: np.random.Generator
) -> Values:
    """Return all measures of one query.

    Args:
        model: as from :func:`eager_copy`.
        finetuned: as from :func:`finetune`.
        training_queries: likewise.
        prompts: demonstrations and queries.
        query: which.
        noise: for the random baselines.
    """
    tokens = prompts.queries[query]
    runs = {
        "zero_shot": answer(model, prompts.start + tokens, prompts.answers),
        "in_context": answer(model, prompts.context + tokens, prompts.answers),
        "finetuned": answer(finetuned, prompts.start + tokens, prompts.answers),
    }
    values: Values = {f"accuracy/{name}": runs[name][0] == prompts.labels[query] for name in SETTINGS}
    shown = [place for start, stop in prompts.demonstration_spans for place in range(start, stop)]
    lengths = [len(demonstration) for demonstration in prompts.demonstrations]
    by_layer = []
    for layer, trained in enumerate(training_queries):
        seen = {name: split(run[1], layer, model.config.n_head) for name, run in runs.items()}
        num_context, num_start = len(prompts.context), len(prompts.start)
        keys = {name: part[1][:, num_start:] for name, part in seen.items()} | {
            "in_context": seen["in_context"][1][:, num_context:]
        }
        last = {name: part[0][:, -1] for name, part in seen.items()}  # (H, E)
        maps = {name: np.einsum("he,hte->ht", last[name], keys[name]) for name in SETTINGS}
        outputs = {name: unit(array(run[1].outputs[layer][-1])) for name, run in runs.items()}
        changes = {name: outputs[name] - outputs["zero_shot"] for name in SETTINGS}
        of_layer = {
            "sim_aou": cosine(changes["in_context"], changes["finetuned"]),
            "sim_aou_random": cosine(changes["in_context"], noise.standard_normal(len(outputs["zero_shot"]))),
            "sim_am": cosine(maps["in_context"], maps["finetuned"]).mean(),
            "sim_am_zero_shot": cosine(maps["in_context"], maps["zero_shot"]).mean(),
            "sim_am_delta": cosine(
                maps["in_context"] - maps["zero_shot"], maps["finetuned"] - maps["zero_shot"]
            ).mean(),
        }
        scores = np.einsum("he,hne->hn", last["in_context"], seen["in_context"][1][:, shown])
        prompted, finetuning = softmax(scores.sum(0)), softmax(trained @ last["finetuned"].reshape(-1))
        random = noise.random(len(shown))
        of_layer |= rank_measures("kendall", "top_tokens", NUM_TOP_TOKENS, prompted, finetuning, random)
        ends = np.cumsum(lengths)[:-1]
        prompted, finetuning = (
            np.array([part.sum() for part in np.split(each, ends)]) for each in (prompted, finetuning)
        )
        random = noise.random(len(lengths))
        of_layer |= rank_measures("kendall_examples", "top_examples", NUM_TOP_EXAMPLES, prompted, finetuning, random)

        context_update = np.einsum("hn,hne->he", scores, seen["in_context"][2][:, shown])
        inputs = runs["in_context"][1].inputs[layer][num_context:]
        with torch.no_grad():
            changed = finetuned.transformer.h[layer].attn.c_attn(inputs[None])[0]
        base = seen["in_context"][1][:, num_context:], seen["in_context"][2][:, num_context:]
        updates = [
            np.einsum("ht,hte->he", np.einsum("he,hte->ht", last["in_context"], key), value)
            for key, value in (heads(changed, model.config.n_head)[1:], base)
        ]
        of_layer["update_similarity"] = cosine(context_update, updates[0] - updates[1]).mean()
        by_layer.append(of_layer)
    return values | {name: np.array([layer[name] for layer in by_layer]) for name in by_layer[0]}


def summarize(queries: Iterable[Values]) -> dict[str, float]:
    """Return the means over queries under the names of our summary, the random baselines' too."""
    queries = list(queries)
    zero_shot, in_context, finetuned = (
        np.array([values[f"accuracy/{name}"] for values in queries]) for name in SETTINGS
    )
    put_right = ~zero_shot & finetuned
    numbers = {"rec2ftp": 100.0 * float(in_context[put_right].mean()) if put_right.any() else float("nan")}
    for name in queries[0]:
        mean = np.mean([values[name] for values in queries], axis=0)
        numbers[name] = float(mean.mean())
        numbers |= {
            f"{name}/layer_{layer:02d}": float(value) for layer, value in enumerate(np.ravel(mean)) if mean.ndim
        }
    return numbers


def rank_measures(kendall: str, recall: str, k: int, first: Array, second: Array, random: Array) -> dict[str, Any]:
    """Return rank correlation and recall of the k largest, each also with random numbers."""
    measures = {}
    for ending, other in (("", second), ("_random", random)):
        measures[f"{kendall}{ending}"] = kendalltau(first, other).statistic
        largest = set(np.argsort(-first)[:k]) & set(np.argsort(-other)[:k])
        measures[f"{recall}{ending}"] = len(largest) / min(k, len(first))
    return measures


def split(seen: Seen, layer: int, num_heads: int) -> tuple[Array, Array, Array]:
    """Return one layer's scaled queries, keys and values, (H, T, E) each."""
    return heads(seen.projected[layer], num_heads)


def heads(projected: Tensor, num_heads: int) -> tuple[Array, Array, Array]:
    """Divide GPT-2's joint projection (T, 3 C) into scaled queries, keys and values of heads, (H, T, E) each."""
    query, key, value = array(projected).reshape(len(projected), 3, num_heads, -1).transpose(1, 2, 0, 3)
    return query * query.shape[-1] ** -0.5, key, value


def array(tensor: Tensor) -> Array:
    """Return numbers in the precision they have."""
    numbers: Array = tensor.cpu().numpy()
    return numbers


def unit(vectors: Array) -> Array:
    """Bring vectors to length 1, in double precision."""
    vectors = vectors.astype(np.float64)
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    result: Array = np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 0)
    return result


def cosine(first: Array, second: Array) -> Any:
    """Return the cosine along the last axis."""
    return (unit(first) * unit(second)).sum(-1)


def softmax(scores: Array) -> Array:
    """Return the softmax along the last axis, in double precision: in single one wide scores underflow to ties."""
    scores = scores.astype(np.float64)
    shares: Array = np.exp(scores - scores.max(-1, keepdims=True))
    shares /= shares.sum(-1, keepdims=True)
    return shares
