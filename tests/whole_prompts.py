"""Every measure of a text run from an eager model with whole prompts: no cache, no batches, none of the package's code.

What a layer's mask hides is where the attention that transformers shows is zero.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.special import softmax
from scipy.stats import kendalltau
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.masking_utils import eager_mask

from iclgd.data.prompts import Prompts
from iclgd.measures.text import NUM_NEXT_TOKENS, NUM_TOP_EXAMPLES, NUM_TOP_TOKENS
from iclgd.metrics import random_scores
from tests import momentum

STATES = "states"  # the attention function that writes down what it is given


@dataclass
class Seen:
    """What one layer does at a prompt's last token; S tokens, H heads.

    Args:
        output: of the attention block, ``(C,)``.
        attention: that transformers shows, mean over heads, ``(S,)``.
        query: scaled, ``(H, E)``.
        keys: ``(H, S, E)``.
        values: likewise.
        all_queries: of all tokens, heads one after the other, ``(S, H * E)``.
        call: what the attention module was called with.
    """

    output: Tensor
    attention: Tensor
    query: Tensor
    keys: Tensor
    values: Tensor
    all_queries: Tensor
    call: tuple[tuple[Any, ...], dict[str, Any]]

    @property
    def visible(self) -> Tensor:
        return self.attention > 0

    @property
    def scores(self) -> Tensor:
        return torch.einsum("he,hse->hs", self.query, self.keys)


def attention_modules(model: nn.Module) -> list[nn.Module]:
    """Return the modules with a projection to keys, in order."""
    return [module for module in model.modules() if isinstance(getattr(module, "k_proj", None), nn.Linear)]


@contextmanager
def states(model: PreTrainedModel) -> Iterator[list[tuple[Tensor, Tensor, Tensor]]]:
    """Write down scaled queries, keys and values ``(1, H, S, E)`` of every attention layer that runs in the block."""
    written: list[tuple[Tensor, Tensor, Tensor]] = []
    if model.config.model_type == "gpt_neo":  # nothing happens between projections and scores
        with ExitStack() as stack:
            parts: list[Tensor] = []

            def note(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
                parts.append(output.view(*output.shape[:2], model.config.num_heads, -1).transpose(1, 2))
                if len(parts) == 3:
                    written.append((parts[0], parts[1], parts[2]))
                    parts.clear()

            for module in attention_modules(model):
                for name in ("q_proj", "k_proj", "v_proj"):
                    stack.callback(getattr(module, name).register_forward_hook(note).remove)
            yield written
        return

    def attend(
        module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, scaling: float, **_: Any
    ) -> tuple[Tensor, Tensor]:
        key, value = (part.repeat_interleave(query.shape[1] // part.shape[1], dim=1) for part in (key, value))
        written.append((query * scaling, key, value))
        weights = (query * scaling @ key.transpose(-1, -2) + mask).softmax(-1)
        result = weights @ value + momentum.sums(module, value, mask == 0)
        return result.transpose(1, 2).contiguous(), weights

    AttentionInterface.register(STATES, attend)
    AttentionMaskInterface.register(STATES, eager_mask)
    model.set_attn_implementation(STATES)
    try:
        yield written
    finally:
        momentum.set_eager(model)


@torch.no_grad()
def look(model: PreTrainedModel, tokens: Sequence[int]) -> tuple[Tensor, list[Seen]]:
    """Return the logits of the last token, and what every layer does there."""
    ids, modules = torch.tensor([tokens]), attention_modules(model)
    outputs: list[Tensor] = []
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
    with ExitStack() as stack:
        for module in modules:
            hook = module.register_forward_hook(lambda _module, _inputs, output: outputs.append(output[0][0, -1]))
            stack.callback(hook.remove)
        plain = model(input_ids=ids, use_cache=False, output_attentions=True)
    with ExitStack() as stack:
        written = stack.enter_context(states(model))
        for module in modules:
            stack.callback(
                module.register_forward_pre_hook(lambda _module, *call: calls.append(call), with_kwargs=True).remove
            )
        model(input_ids=ids, use_cache=False)
    seen = [
        Seen(output, shares[0, :, -1].mean(0), query[0, :, -1], key[0], value[0], _joined(query), call)
        for output, shares, (query, key, value), call in zip(outputs, plain.attentions, written, calls, strict=True)
    ]
    return plain.logits[0, -1], seen


def _joined(query: Tensor) -> Tensor:
    return query[0].transpose(0, 1).flatten(1)


def finetune(model: PreTrainedModel, shown: Prompts, rate: float) -> tuple[PreTrainedModel, list[Tensor]]:
    """Return the finetuned model, and each layer's queries of the demonstrations' tokens ``(N, H * E)``."""
    model, queries = copy.deepcopy(model), []
    for example in shown.finetuning_examples:
        projections = [part for module in attention_modules(model) for part in (module.k_proj, module.v_proj)]
        parameters = [parameter for part in projections for parameter in part.parameters()]
        ids = torch.tensor([example])
        with states(model) as written, torch.enable_grad():
            for parameter in parameters:
                parameter.requires_grad_(True)
            loss = F.cross_entropy(model(input_ids=ids, use_cache=False).logits[0, :-1], ids[0, 1:])
            gradients = torch.autograd.grad(loss, parameters)
        queries.append([_joined(query)[len(shown.start) :].detach() for query, _, _ in written])
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.requires_grad_(False)
            parameter.sub_(rate * gradient)
    return model, [torch.cat(of_layer) for of_layer in zip(*queries, strict=True)]


@torch.no_grad()
def measures(model: PreTrainedModel, shown: Prompts, rate: float, seed: int) -> dict[str, float]:
    """Return every measure of every layer, the mean over queries, under its summary name."""
    model = copy.deepcopy(model)
    if model.config.model_type != "gpt_neo":
        momentum.set_eager(model)
    trained, training_queries = finetune(model, shown, rate)
    positions = [position for start, stop in shown.demonstration_spans for position in range(start, stop)]
    examples = np.repeat(np.arange(len(shown.demonstrations)), [len(each) for each in shown.demonstrations])
    found: dict[str, list[float]] = {}
    whole: dict[str, list[float]] = {}  # of the model as a whole
    for index, query in enumerate(shown.queries):
        settings = {
            "zero_shot": look(model, shown.start + query),
            "in_context": look(model, shown.context + query),
            "finetuned": look(trained, shown.start + query),
        }
        for name, (logits, _) in settings.items():
            best = logits[[answer[0] for answer in shown.answers]].argmax().item()
            whole.setdefault(f"accuracy/{name}", []).append(best == shown.labels[index])
        for name, value in _next_token(*(logits for logits, _ in settings.values())).items():
            whole.setdefault(name, []).append(value)
        for layer, (zero_shot, in_context, finetuned) in enumerate(
            zip(*(seen for _, seen in settings.values()), strict=True)
        ):
            noise = random_scores(torch.tensor([index]), (len(training_queries), len(positions)), seed)[0, layer]
            values = {
                **_outputs_and_maps(zero_shot, in_context, finetuned, len(query)),
                **_rankings(in_context, finetuned, training_queries[layer], positions, examples, noise),
                **_attention(in_context, shown, positions, examples, shown.labels[index], len(query)),
                "update_similarity": _update_similarity(
                    in_context, attention_modules(trained)[layer], trained, positions, len(query)
                ),
            }
            for name, value in values.items():
                found.setdefault(f"{name}/layer_{layer:02d}", []).append(value)
    return {name: float(np.mean(values)) for name, values in (found | whole).items()}


def _next_token(zero_shot: Tensor, in_context: Tensor, finetuned: Tensor) -> dict[str, float]:
    shares = [softmax(logits.double().numpy()) for logits in (zero_shot, in_context, finetuned)]
    return {
        "next_token_overlap": _recall(shares[1], shares[2], NUM_NEXT_TOKENS),
        "next_token_overlap_zero_shot": _recall(shares[0], shares[2], NUM_NEXT_TOKENS),
        "next_token_total_variation": float(np.abs(shares[1] - shares[2]).sum() / 2),
        "next_token_total_variation_zero_shot": float(np.abs(shares[0] - shares[2]).sum() / 2),
    }


def _outputs_and_maps(zero_shot: Seen, in_context: Seen, finetuned: Seen, length: int) -> dict[str, float]:
    start, prompted, trained = (F.normalize(seen.output, dim=0) for seen in (zero_shot, in_context, finetuned))
    if not in_context.visible[:-length].any() and torch.allclose(prompted, start, rtol=0, atol=1e-6):
        prompted = start  # else the cosine would be that of rounding errors
    own = [seen.scores[:, -length:] for seen in (zero_shot, in_context, finetuned)]
    seen_by_all = torch.stack([seen.visible[-length:] for seen in (zero_shot, in_context, finetuned)]).all(0)
    own_zero_shot, own_in_context, own_finetuned = (scores[:, seen_by_all] for scores in own)
    return {
        "sim_aou": _cosine(prompted - start, trained - start),
        "sim_am": _cosine(own_in_context, own_finetuned),
        "sim_am_zero_shot": _cosine(own_in_context, own_zero_shot),
        "sim_am_delta": _cosine(own_in_context - own_zero_shot, own_finetuned - own_zero_shot),
    }


def _rankings(
    in_context: Seen, finetuned: Seen, queries: Tensor, positions: list[int], examples: Any, noise: Tensor
) -> dict[str, float]:
    kept = in_context.visible[positions].numpy()
    prompted = in_context.scores[:, positions].sum(0)[kept].softmax(-1).numpy()
    trained = (queries @ finetuned.query.flatten())[kept].softmax(-1).numpy()
    random, of = noise.numpy(), examples[kept]
    shown = np.unique(of)

    def summed(shares: Any) -> Any:
        return np.array([shares[of == example].sum() for example in shown])

    even, random_examples = summed(np.ones(len(of))), random[shown]
    by_example = summed(prompted)
    return {
        "kendall": _tau(prompted, trained),
        "kendall_random": _tau(prompted, random[kept]),
        "kendall_examples": _tau(by_example, summed(trained)),
        "kendall_examples_random": _tau(by_example, random_examples),
        "kendall_examples_length": _tau(by_example, even),
        "top_tokens": _recall(prompted, trained, NUM_TOP_TOKENS),
        "top_tokens_random": _recall(prompted, random[kept], NUM_TOP_TOKENS),
        "top_examples": _recall(by_example, summed(trained), NUM_TOP_EXAMPLES),
        "top_examples_random": _recall(by_example, random_examples, NUM_TOP_EXAMPLES),
    }


def _attention(
    in_context: Seen, shown: Prompts, positions: list[int], examples: Any, label: int, length: int
) -> dict[str, float]:
    paid, even = in_context.attention.double().numpy(), in_context.visible.numpy() / in_context.visible.sum().item()
    is_right = np.array(shown.demonstration_labels)[examples] == label

    def of_right(shares: Any) -> float:
        total = shares[positions].sum()
        return float(shares[positions][is_right].sum() / total) if total else 0.0

    return {
        "attention_demonstrations": float(paid[positions].sum()),
        "attention_demonstrations_even": float(even[positions].sum()),
        "attention_query": float(paid[-length:].sum()),
        "attention_start": float(paid[: positions[0]].sum()),
        "attention_right_label": of_right(paid),
        "attention_right_label_even": of_right(even),
        "attention_right_label_gain": of_right(paid) - of_right(even),
    }


def _update_similarity(
    in_context: Seen, changed: nn.Module, trained: PreTrainedModel, positions: list[int], length: int
) -> float:
    arguments, keywords = in_context.call
    with states(trained) as written:
        changed(*arguments, **keywords)
    ((_, new_keys, new_values),) = written
    shown = [position for position in positions if in_context.visible[position]]
    own = [place for place in range(len(in_context.visible))[-length:] if in_context.visible[place]]
    by_context = _applied(in_context, in_context.keys, in_context.values, shown)
    by_weights = _applied(in_context, new_keys[0], new_values[0], own)
    return _cosine(by_context, by_weights - _applied(in_context, in_context.keys, in_context.values, own))


def _applied(seen: Seen, keys: Tensor, values: Tensor, places: list[int]) -> Tensor:
    """Return sum of v (k . q) over some tokens, of each head."""
    matrices = torch.einsum("hse,hsf->hef", values[:, places], keys[:, places])
    return torch.einsum("hef,hf->he", matrices, seen.query)


def _cosine(one: Tensor, other: Tensor) -> float:
    return F.cosine_similarity(one.double(), other.double(), dim=-1, eps=1e-300).mean().item()


def _tau(one: Any, other: Any) -> float:
    """Return scipy's, and 0 where it has none."""
    return float(np.nan_to_num(kendalltau(one, other).statistic)) if len(one) > 1 else 0.0


def _recall(one: Any, other: Any, k: int) -> float:
    k = min(k, len(one))
    top: Callable[[Any], set[int]] = lambda values: set(np.argsort(-values)[:k].tolist())  # noqa: E731
    return len(top(one) & top(other)) / k if k else 0.0
