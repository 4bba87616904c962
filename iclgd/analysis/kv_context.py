"""The keys and values of a prompt's beginning, computed once and shared by all that may follow."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import Cache, DynamicCache

from iclgd.models.language import LanguageModel
from iclgd.vendors.transformers import FilledLayer, keys_and_values


@dataclass(frozen=True)
class Context:
    """What the attention layers keep of the demonstrations.

    Args:
        keys: for each layer, after rotary embedding, shape ``(1, num_key_value_heads, N, head_size)``.
        values: likewise.

    Example:
        >>> Context([torch.zeros(1, 4, 7, 8)], [torch.zeros(1, 4, 7, 8)]).length
        7
    """

    keys: list[Tensor]
    values: list[Tensor]

    @property
    def length(self) -> int:
        """Return the number N of its tokens."""
        return self.keys[0].shape[-2]

    def first(self, length: int) -> "Context":
        """Return its first tokens alone, a view: under a causal mask they are what they would be by themselves.

        Args:
            length: their number.

        Example:
            >>> Context([torch.zeros(1, 4, 7, 8)], [torch.zeros(1, 4, 7, 8)]).first(3).length
            3
        """
        return Context(*([each[..., :length, :] for each in part] for part in (self.keys, self.values)))

    def cache(self, is_joined: bool) -> Cache:
        """Return it as the past of a batch of any size; using it does not change it.

        Args:
            is_joined: whether layers get the context's keys joined to their own; else the attention function adds them.
        """
        layers = zip(self.keys, self.values, strict=True)
        return Cache(layers=[_ContextLayer(keys, values, is_joined) for keys, values in layers])


class _ContextLayer(FilledLayer):
    """A layer of transformers' cache that is read and never written."""

    def __init__(self, keys: Tensor, values: Tensor, is_joined: bool) -> None:
        super().__init__(keys, values)
        self.is_joined = is_joined

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Return the keys and values to attend to."""
        if not self.is_joined:
            return key_states, value_states
        batch = key_states.shape[0]
        keys, values = (
            torch.cat([past.expand(batch, -1, -1, -1), own], dim=-2)
            for past, own in ((self.keys, key_states), (self.values, value_states))
        )
        return keys, values


@torch.no_grad()
def run_context(model: LanguageModel, tokens: tuple[int, ...]) -> Context:
    """Run the demonstrations once.

    Args:
        model: any language model.
        tokens: of the whole context, the beginning-of-sequence token included.

    Example:
        >>> from iclgd.models import load_language_model, wrap
        >>> model = wrap("embedded", load_language_model("embedded")[0])
        >>> context = run_context(model, (5, 6, 7))
        >>> past = context.cache(is_joined=True)
        >>> model.model(input_ids=torch.tensor([[8]]), past_key_values=past).logits.shape[:2]
        torch.Size([1, 1])
    """
    cache = (
        DynamicCache()
    )  # without the config: it would drop what lies outside a sliding window, where queries may still look
    ids = torch.tensor([tokens], device=model.device)
    model.model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
    keys, values = zip(*keys_and_values(cache), strict=True)
    return Context(list(keys), list(values))
