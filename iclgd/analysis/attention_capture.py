"""What the attention of one forward pass shows; hooks never outlive it."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from iclgd.analysis.kv_context import Context, run_context
from iclgd.analysis.precision import at_least_single
from iclgd.analysis.scoring import Scoring
from iclgd.analysis.watching import block_output, is_registered, watch
from iclgd.messages import all_lines
from iclgd.models.attention_layers import AttentionLayer
from iclgd.models.language import LanguageModel, LanguageModelError
from iclgd.models.projection_precision import HALF, unrounded

# The score of a token that is not attended to, as in transformers' own masks; sums over heads are finite.
HIDDEN_SCORE = torch.finfo(torch.float32).min


@dataclass
class Captured:
    """What one forward pass showed, one entry a layer.

    B prompts of at most T tokens, a context of N tokens, H heads of size E, hidden size C. "Last" is the position
    that was asked for, for each prompt. Scores are scaled and before the softmax, with soft caps, and with linear
    biases by the distance from the last position (:mod:`iclgd.analysis.scoring`): ``HIDDEN_SCORE`` where the mask
    that the model itself used hides a token from the last one, such as one outside a sliding window. What stands behind
    the last position is not to be looked at.

    Args:
        outputs: the attention block's output, before the residual, at the last position, shape ``(B, C)``.
        queries: scaled query vectors of the last position, heads one after the other, shape ``(B, H * E)``.
        scores: of the last position with the prompt's own tokens, shape ``(B, H, T)``.
        context_scores: of the last position with the context's tokens, shape ``(B, H, N)``.
        visible: which of the prompt's own tokens the last position may attend to, shape ``(B, T)``.
        context_visible: which of the context's, shape ``(B, N)``.
        context_updates: dW_ICL q of each head, see :func:`capture`, shape ``(B, H, E)``.
        weight_updates: dW_FT q of each head, likewise.

    Example:
        >>> Captured().outputs  # filled in by a forward pass, see capture
        []
    """

    outputs: list[Tensor] = field(default_factory=list)
    queries: list[Tensor] = field(default_factory=list)
    scores: list[Tensor] = field(default_factory=list)
    context_scores: list[Tensor] = field(default_factory=list)
    visible: list[Tensor] = field(default_factory=list)
    context_visible: list[Tensor] = field(default_factory=list)
    context_updates: list[Tensor] = field(default_factory=list)
    weight_updates: list[Tensor] = field(default_factory=list)


@contextlib.contextmanager
def capture(
    model: LanguageModel,
    last: Tensor,
    context: Context | None = None,
    finetuned: list[dict[str, Tensor]] | None = None,
    demonstration_tokens: Tensor | None = None,
) -> Iterator[Captured]:
    r"""Capture the attention of the one forward pass within the block.

    With ``finetuned`` it also computes the two updates of the linearised dual form, Dai et al. 2023 section 3: for each
    head, with the query :math:`q` of the last position, the layer's input :math:`X` (the prompt's own tokens) and the
    demonstrations' keys and values :math:`k_i, v_i`,

    .. math:: \Delta W_{ICL}\, q = \sum_i v_i (k_i \cdot q), \qquad
        \Delta W_{FT}\, q = \sum_{x \in X} \left[ v'_x (k'_x \cdot q) - v_x (k_x \cdot q) \right]

    where the primed keys and values are those that the finetuned projections make of the same inputs. Both changes
    are made to one layer, at one input and one query: those of the in-context pass. Both sums are over the tokens that
    the layer's mask lets the last position see, and :math:`k \cdot q` is without soft caps and linear biases.

    Args:
        model: in whose forward pass to look.
        last: the position to look at, of each prompt, shape ``(B,)``.
        context: what the prompts follow; give its ``cache`` (see :meth:`Context.cache`) to the forward pass too.
        finetuned: for each layer, its finetuned parameters by their names in its module; needs a context.
        demonstration_tokens: which tokens of the context are the demonstrations' own, shape ``(num,)``; default: all.

    Raises:
        LanguageModelError: if the model's attention cannot be seen.

    Example:
        >>> from iclgd.models import load_language_model, wrap
        >>> model = wrap("embedded", load_language_model("embedded")[0])
        >>> tokens = torch.tensor([[5, 6, 7], [8, 9, 9]])  # the second prompt is padded: its last token is at 1
        >>> with torch.no_grad(), capture(model, last=torch.tensor([2, 1])) as seen:
        ...     _ = model.model(input_ids=tokens)
        >>> len(seen.scores), seen.scores[0].shape
        (4, torch.Size([2, 4, 3]))
    """
    observer = _Observer(model, last, context, finetuned, demonstration_tokens)
    with contextlib.ExitStack() as stack:
        for index, layer in enumerate(model.layers):
            stack.callback(block_output(layer.module).register_forward_hook(observer.keep_output).remove)
            if finetuned is not None:
                stack.callback(layer.module.register_forward_hook(observer.repeat(index), with_kwargs=True).remove)
        stack.enter_context(watch(model, observer))
        yield observer.captured
    _check(model, observer.captured.queries)


@contextlib.contextmanager
def capture_queries(model: LanguageModel) -> Iterator[list[Tensor]]:
    """Capture nothing but the scaled query vectors of the one forward pass within the block, at all positions.

    Yields:
        one entry a layer, heads one after the other, shape ``(B, T, H * E)``.

    Raises:
        LanguageModelError: if the model's attention cannot be seen.

    Example:
        >>> from iclgd.models import load_language_model, wrap
        >>> model = wrap("embedded", load_language_model("embedded")[0])
        >>> with torch.no_grad(), capture_queries(model) as queries:
        ...     _ = model.model(input_ids=torch.tensor([[5, 6, 7]]))
        >>> len(queries), queries[0].shape
        (4, torch.Size([1, 3, 128]))
    """
    observer = _QueryObserver()
    with watch(model, observer):
        yield observer.queries
    _check(model, observer.queries)


def check_capture(model: LanguageModel) -> None:
    """Refuse a model whose attention cannot be captured, before anything expensive is done with it.

    Raises:
        LanguageModelError: if it cannot.
    """
    tokens = torch.arange(2, device=model.device)[None]  # not alike: the padding token's embedding may be zero
    kind = type(model.model).__name__
    try:
        with torch.no_grad(), capture_queries(model):
            model.model(input_ids=tokens, use_cache=False)
        _check_projections(model, tokens)
        context = run_context(model, (0, 0))
        past = context.cache(is_joined=not is_registered(model))
        with torch.no_grad(), capture(model, torch.zeros_like(tokens[:, 0]), context) as captured:
            model.model(input_ids=tokens, past_key_values=past, use_cache=True)
    except LanguageModelError:
        raise
    except Exception as error:  # models of any origin can fail in any way
        reason = all_lines(error)[:200]
        raise LanguageModelError(f"model.name={model.name}: {kind} cannot be run as is needed ({reason})") from None
    if any(visible[:, 1].any() for visible in captured.visible):
        raise LanguageModelError(f"model.name={model.name}: attention to later tokens cannot be captured")


@torch.no_grad()
def _check_projections(model: LanguageModel, tokens: Tensor) -> None:
    """Refuse key and value projections that are not what we take them for: without them, queries must be the same."""
    observer = _StatesObserver()

    def repeat(layer: AttentionLayer) -> Any:
        def hook(module: nn.Module, inputs: tuple[Any, ...], kwargs: dict[str, Any], _output: Any) -> None:
            without = {part.name: part.parameter.clone() for part in layer.projections}
            for part in layer.projections:
                part.part(without[part.name]).zero_()
            with contextlib.suppress(_SeenEnoughError), observer.repeated():
                functional_call(module, without, inputs, kwargs)

        return hook

    with contextlib.ExitStack() as stack:
        for layer in model.layers:
            stack.callback(layer.module.register_forward_hook(repeat(layer), with_kwargs=True).remove)
        stack.enter_context(watch(model, observer))
        model.model(input_ids=tokens, use_cache=False)
    for (query, *states), (same, *others) in zip(observer.first, observer.second, strict=True):
        is_changed = all(not torch.equal(state, other) for state, other in zip(states, others, strict=True))
        reason = None
        if query.shape[1] != model.num_heads:
            reason = f"layers of {query.shape[1]} heads, and its config has {model.num_heads}"
        elif not (is_changed and torch.allclose(query, same, equal_nan=True)):
            reason = "no key and value projections where we take them to be"
        if reason is not None:
            raise LanguageModelError(f"model.name={model.name}: {type(model.model).__name__} has {reason}")


def _check(model: LanguageModel, seen: list[Tensor]) -> None:
    if len(seen) != model.num_layers:
        reason = "its attention does not go through transformers' registry of attention functions"
        if seen:
            reason = f"its {model.num_layers} attention layers call transformers' attention functions {len(seen)} times"
        raise LanguageModelError(f"model.name={model.name}: {type(model.model).__name__} cannot be watched: {reason}")


class _QueryObserver:
    """Keeps the queries of every attention layer."""

    def __init__(self) -> None:
        self.queries: list[Tensor] = []

    def context_of(self, module: nn.Module) -> None:
        """See :class:`iclgd.analysis.attention.Observer`."""

    def see(
        self, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scoring: Scoring
    ) -> None:
        """See :class:`iclgd.analysis.attention.Observer`."""
        self.queries.append(query.detach().transpose(1, 2).flatten(2))


class _StatesObserver:
    """Keeps queries, keys and values of every attention layer, and those of its second run."""

    def __init__(self) -> None:
        self.first: list[tuple[Tensor, Tensor, Tensor]] = []
        self.second: list[tuple[Tensor, Tensor, Tensor]] = []
        self.is_repeated = False

    @contextlib.contextmanager
    def repeated(self) -> Iterator[None]:
        """Take what is seen within the block for a second run."""
        self.is_repeated = True
        try:
            yield
        finally:
            self.is_repeated = False

    def context_of(self, module: nn.Module) -> None:
        """See :class:`iclgd.analysis.attention.Observer`."""

    def see(
        self, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scoring: Scoring
    ) -> None:
        """See :class:`iclgd.analysis.attention.Observer`."""
        (self.second if self.is_repeated else self.first).append((query, key, value))
        if self.is_repeated:
            raise _SeenEnoughError


class _SeenEnoughError(Exception):
    """Ends a layer's second run, of which only keys and values are needed."""


class _Observer:
    """Takes notes at every attention layer."""

    def __init__(
        self,
        model: LanguageModel,
        last: Tensor,
        context: Context | None,
        finetuned: list[dict[str, Tensor]] | None,
        demonstration_tokens: Tensor | None,
    ) -> None:
        self.captured = Captured()
        self.index = {id(layer.module): index for index, layer in enumerate(model.layers)}
        self.num_heads = model.num_heads
        self.last = last
        self.context = context
        self.finetuned = finetuned
        self.demonstration_tokens = demonstration_tokens
        self.is_rounded = model.dtype in HALF
        self.is_repeated = False  # whether a layer is being run again, with other projections perhaps
        # Of the layer that is being run:
        self.last_query = self.base_attention = self.repeated_attention = self.visible = torch.empty(0)

    def context_of(self, module: nn.Module) -> tuple[Tensor, Tensor] | None:
        """See :class:`iclgd.analysis.attention.Observer`."""
        if self.context is None:
            return None
        index = self.index[id(module)]
        return self.context.keys[index], self.context.values[index]

    def see(
        self, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scoring: Scoring
    ) -> None:
        """See :class:`iclgd.analysis.attention.Observer`."""
        key, value = self._of_heads(key.detach()), self._of_heads(value.detach())
        if self.is_repeated:
            self.repeated_attention = self._linear_attention(self.last_query, key, value)
            raise _SeenEnoughError
        self.last = self.last.to(query.device)  # layers may be on several devices
        rows = torch.arange(len(query), device=query.device)
        last = self.last_query = at_least_single(query.detach()[rows, :, self.last])  # (B, H, E)
        self.captured.queries.append(last.flatten(1))
        self.visible, context_visible = self._what_is_visible(mask, key.shape[2])
        self.captured.visible.append(self.visible)
        is_behind = torch.arange(key.shape[2], device=key.device) > self.last[:, None]
        num_context = 0 if self.context is None else self.context.length
        scores = scoring.capped(torch.einsum("bhe,bhte->bht", last, key))
        scores = scoring.biased(scores, num_context + self.last, num_context)
        self.captured.scores.append(_without_hidden(scores, self.visible | is_behind, HIDDEN_SCORE))
        if self.context is not None:
            self._see_context(self.index[id(module)], last, context_visible, scoring)
        if self.finetuned is not None:
            self.base_attention = self._linear_attention(last, key, value)

    def keep_output(self, _module: nn.Module, _inputs: tuple[Any, ...], output: Any) -> None:
        """Take note of an attention block's output: the hook that runs after it."""
        hidden = (output[0] if isinstance(output, tuple) else output).detach()
        last = self.last.to(hidden.device)
        self.captured.outputs.append(hidden[torch.arange(len(hidden), device=hidden.device), last])

    def repeat(self, index: int) -> Any:
        """Return the hook that runs a layer's attention again, with finetuned projections."""
        assert self.finetuned is not None
        parameters = self.finetuned[index]

        def hook(module: nn.Module, inputs: tuple[Any, ...], kwargs: dict[str, Any], _output: Any) -> None:
            base = self.base_attention
            if self.is_rounded:  # a small change may be less than the rounding of keys and values
                base = self._repeated(module, {}, inputs, kwargs)
            self.captured.weight_updates.append(self._repeated(module, parameters, inputs, kwargs) - base)

        return hook

    def _repeated(
        self, module: nn.Module, parameters: dict[str, Tensor], inputs: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Tensor:
        """Return the linear attention of a layer that has other parameters, to the same tokens."""
        self.is_repeated = True
        try:
            with contextlib.suppress(_SeenEnoughError), unrounded():
                functional_call(module, parameters, inputs, kwargs)
        finally:
            self.is_repeated = False
        return self.repeated_attention

    def _what_is_visible(self, mask: Tensor | None, length: int) -> tuple[Tensor, Tensor]:
        """Return which own tokens ``(B, T)`` and which of the context ``(B, N)`` the last position may attend to."""
        batch, num_context = len(self.last), 0 if self.context is None else self.context.length
        if mask is not None:
            rows = mask.expand(batch, -1, -1, -1)[torch.arange(batch, device=mask.device), 0, self.last]
            return rows[:, num_context:], rows[:, :num_context]
        own = torch.arange(length, device=self.last.device) <= self.last[:, None]
        return own, own.new_ones(batch, num_context)

    def _see_context(self, index: int, last: Tensor, visible: Tensor, scoring: Scoring) -> None:
        assert self.context is not None
        keys, values = (self._of_heads(part[index]) for part in (self.context.keys, self.context.values))
        scores = torch.einsum("bhe,hne->bhn", last, keys[0])
        self.captured.context_visible.append(visible)
        of_softmax = scoring.biased(scoring.capped(scores), self.context.length + self.last, 0)
        self.captured.context_scores.append(_without_hidden(of_softmax, visible, HIDDEN_SCORE))
        if self.finetuned is not None:
            scores = _without_hidden(scores, visible, 0.0)
            if self.demonstration_tokens is not None:
                chosen = self.demonstration_tokens.to(scores.device)
                scores, values = scores[..., chosen], values[:, :, chosen]
            self.captured.context_updates.append(torch.einsum("bhn,hne->bhe", scores, values[0]))

    def _linear_attention(self, last: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Return the sum over a prompt's own visible tokens of value times (key . query), shape ``(B, H, E)``."""
        scores = torch.einsum("bhe,bhte->bht", last, key)
        return torch.einsum("bht,bhte->bhe", scores * self.visible[:, None], value)

    def _of_heads(self, states: Tensor) -> Tensor:
        """Repeat key or value heads for all query heads that share them; bfloat16 would make ties of scores."""
        return at_least_single(states.repeat_interleave(self.num_heads // states.shape[1], dim=1))


def _without_hidden(scores: Tensor, visible: Tensor, value: float) -> Tensor:
    """Set scores ``(B, H, T)`` to a value where nothing is visible ``(B, T)``; mostly everything is."""
    scores = at_least_single(scores)  # bf16-mixed makes bfloat16 of them again, which does not know the value
    return scores if visible.all() else scores.masked_fill(~visible[:, None], value)
