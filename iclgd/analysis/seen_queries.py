"""A batch of queries as seen in the three settings, and what measures take of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from iclgd import metrics
from iclgd.analysis.calibration import calibrated
from iclgd.analysis.observe import Observation
from iclgd.data.text_datamodule import QueryBatch

NUM_OTHER_PARTS = 2  # of a context, beside its demonstrations: the start, and all separators
NUM_ROUNDINGS = 16  # so many rounding errors are taken for no update, where a layer shows nothing of the context


@dataclass(frozen=True)
class FinetuningAttention:
    """What the finetuning pass leaves to compare in-context attention with.

    Args:
        queries: scaled queries of the demonstrations' tokens, shape ``(L, N, H * E)``.
        positions: of the same tokens in the context, shape ``(N,)``.
        lengths: number of tokens of each demonstration.
        labels: of each demonstration, integers, shape ``(K,)``; ``None`` where they do not mean what the queries' do.
    """

    queries: Tensor
    positions: Tensor
    lengths: list[int]
    labels: Tensor | None = None

    @property
    def num_parts(self) -> int:
        """Return how many parts a context has."""
        return NUM_OTHER_PARTS + len(self.lengths)

    def parts(self, num_context: int) -> Tensor:
        """Return to which part each of the context's tokens belongs, integers, shape ``(num_context,)``.

        0 is what stands before the first demonstration, 1 all separators, and then come the demonstrations.
        """
        places = torch.arange(num_context, device=self.positions.device)
        parts = (places >= self.positions[0]).long()
        each = torch.tensor(
            [NUM_OTHER_PARTS + number for number, length in enumerate(self.lengths) for _ in range(length)]
        )
        return parts.index_copy(0, self.positions, each.to(parts.device))


class Attended(NamedTuple):
    """Attention to N demonstration tokens, or demonstrations, each ``(B, L, N)``.

    Args:
        in_context: of the query after the demonstrations.
        finetuned: that which finetuning pays.
        random: numbers to compare with.
        visible: which of the N any attention is possible to; ``None`` for all.
    """

    in_context: Tensor
    finetuned: Tensor
    random: Tensor
    visible: Tensor | None


class Shares(NamedTuple):
    """What the parts of the prompt get of the last token's attention; together 1.

    Args:
        start: what stands before the first demonstration, ``(B, L)``.
        separators: what follows each demonstration, likewise.
        demonstrations: their own tokens, ``(B, L, K)``.
        query: the query's own tokens, ``(B, L)``.
    """

    start: Tensor
    separators: Tensor
    demonstrations: Tensor
    query: Tensor

    @classmethod
    def parted(cls, shares: Tensor) -> "Shares":
        """Return the shares of :meth:`FinetuningAttention.parts`, and then the query, ``(..., K + 3)``, by name."""
        return cls(shares[..., 0], shares[..., 1], shares[..., NUM_OTHER_PARTS:-1], shares[..., -1])


class Reordered(NamedTuple):
    """What is left of a setting after another order of the demonstrations.

    Args:
        next_token: log-probabilities of the whole vocabulary, ``(B, V)``.
        choices: the index of the best answer, ``NO_ANSWER`` if there is none, ``(B,)``.
    """

    next_token: Tensor
    choices: Tensor


@dataclass(frozen=True, eq=False)
class SeenQueries:
    """A batch of queries in the three settings; what measures take of it is computed once, when first asked for.

    Shapes: B queries, L layers, C channels, H heads of size E, T tokens of a query.

    Args:
        batch: the queries.
        zero_shot: what they show without demonstrations.
        in_context: after the demonstrations.
        finetuned: with the finetuned weights.
        attention: of the finetuning pass.
        seed: of random baselines.
        random_updates: kind of the random updates, see :func:`iclgd.metrics.random_updates`.
        orders: after each of the other P - 1 orders of the demonstrations, ``in_context`` and ``finetuned``.
        content_free: answers' scores without any content in each setting, ``(number of answers,)``; none unless scores
            are calibrated.
    """

    batch: QueryBatch
    zero_shot: Observation
    in_context: Observation
    finetuned: Observation
    attention: FinetuningAttention
    seed: int
    random_updates: str
    orders: Sequence[Mapping[str, Reordered]] = ()
    content_free: Mapping[str, Tensor] = field(default_factory=dict)

    @cached_property
    def correct(self) -> tuple[Tensor, Tensor, Tensor]:
        """Whether answers are right, zero-shot, in-context and finetuned: 1, 0 or NaN, each ``(B,)``."""
        settings = self.zero_shot, self.in_context, self.finetuned
        zero_shot, in_context, finetuned = (seen.correct(self.batch.labels) for seen in settings)
        return zero_shot, in_context, finetuned

    @cached_property
    def correct_calibrated(self) -> tuple[Tensor, Tensor, Tensor]:
        """The same of calibrated scores, Zhao et al. 2021."""

        def correct(setting: str, seen: Observation) -> Tensor:
            scores = calibrated(seen.answer_scores, self.content_free[setting])
            return replace(seen, answer_scores=scores).correct(self.batch.labels)

        return (
            correct("zero_shot", self.zero_shot),
            correct("in_context", self.in_context),
            correct("finetuned", self.finetuned),
        )

    @cached_property
    def put_right(self) -> Tensor:
        """Whether finetuning puts each query right: 1, 0 or NaN, ``(B,)``."""
        return metrics.put_right(self.correct[0], self.correct[2])

    @cached_property
    def outputs(self) -> tuple[Tensor, Tensor, Tensor]:
        """The attention blocks' outputs, zero-shot, in-context and finetuned, each ``(B, L, C)``."""
        return self.zero_shot.outputs, _changed_outputs(self.zero_shot, self.in_context), self.finetuned.outputs

    @cached_property
    def random_outputs(self) -> Tensor:
        """Random updates of outputs, ``(B, L, C)``."""
        shape = self.zero_shot.outputs.shape[1:]
        return metrics.random_updates(self.batch.indices, shape, self.seed, self.random_updates)

    @cached_property
    def visible(self) -> Tensor:
        """Which of the query's own tokens all three passes see, ``(B, L, T)``.

        Chunks begin at other tokens of a query with a context before it: maps are compared where all are seen.
        """
        return self.zero_shot.visible & self.in_context.visible & self.finetuned.visible

    @property
    def weight_updates(self) -> tuple[Tensor, Tensor]:
        """What demonstrations, and finetuning, add to the heads' outputs, each ``(B, L, H, E)``."""
        assert self.in_context.context_updates is not None
        assert self.in_context.weight_updates is not None
        return self.in_context.context_updates, self.in_context.weight_updates

    @cached_property
    def tokens(self) -> Attended:
        """Attention to the demonstrations' tokens."""
        assert self.in_context.context_scores is not None
        shown = self._shown
        visible = None if shown.all() else shown
        # Double precision from before the softmax on: in single precision wide scores underflow to ties.
        summed = self.in_context.context_scores[..., self.attention.positions].double().sum(2)  # over heads: (B, L, N)
        prompted = metrics.demonstration_attention(summed, visible)
        in_training = metrics.finetuned_scores(self.attention.queries, self.finetuned.queries)
        trained = metrics.demonstration_attention(in_training, visible)
        noise = metrics.random_scores(self.batch.indices, prompted.shape[1:], self.seed).to(prompted)
        return Attended(prompted, trained, noise, visible)

    @cached_property
    def examples(self) -> Attended:
        """Attention to whole demonstrations."""
        tokens, lengths = self.tokens, self.attention.lengths
        prompted, trained = (metrics.example_sums(shares, lengths) for shares in tokens[:2])
        visible = None if tokens.visible is None else self.example_lengths > 0
        return Attended(prompted, trained, tokens.random[..., : len(lengths)], visible)

    @cached_property
    def example_lengths(self) -> Tensor:
        """How many of each demonstration's tokens are visible, ``(B, L, K)``.

        Where attention is even, the longest examples get most: what equal attention to all tokens would give.
        """
        return metrics.example_sums(self._shown, self.attention.lengths)

    @cached_property
    def all_shares(self) -> tuple[Tensor, Tensor]:
        """What each part of the prompt gets of the last token's attention, and if it were even, ``(B, L, K + 3)``."""
        seen = self.in_context
        assert seen.context_scores is not None
        assert seen.context_visible is not None
        parts, num_parts = self.attention.parts(seen.context_visible.shape[-1]), self.attention.num_parts
        visible = seen.context_visible, seen.visible
        return (
            metrics.attention_shares(seen.context_scores, seen.scores, *visible, parts, num_parts),
            metrics.even_shares(*visible, parts, num_parts),
        )

    @property
    def shares(self) -> Shares:
        """What the parts of the prompt get of the last token's attention in context."""
        return Shares.parted(self.all_shares[0])

    @property
    def even_shares(self) -> Shares:
        """What they would get if all visible tokens got the same."""
        return Shares.parted(self.all_shares[1])

    @cached_property
    def right_label(self) -> tuple[Tensor, Tensor]:
        """Share of demonstrations with the query's label in the attention to all, and if that were even, ``(B, L)``."""
        assert self.attention.labels is not None
        is_right = self.attention.labels == self.batch.labels[:, None]
        paid, even = (metrics.share_of(is_right, of.demonstrations) for of in (self.shares, self.even_shares))
        return paid, even

    @cached_property
    def all_orders(self) -> dict[str, Reordered]:
        """``in_context`` and ``finetuned`` after all orders, ``(B, P, V)`` and ``(B, P)``."""
        found = {}
        for setting, own in (("in_context", self.in_context), ("finetuned", self.finetuned)):
            each = [Reordered(own.next_token, own.predictions), *(order[setting] for order in self.orders)]
            found[setting] = Reordered(*(torch.stack(parts, 1) for parts in zip(*each, strict=True)))
        return found

    @cached_property
    def _shown(self) -> Tensor:
        """What a layer's mask does not hide from a query; mostly everything. What is hidden is in neither ranking."""
        assert self.in_context.context_visible is not None
        return self.in_context.context_visible[..., self.attention.positions]


def _changed_outputs(zero_shot: Observation, in_context: Observation) -> Tensor:
    """Return the in-context outputs, but the zero-shot ones where they differ by rounding alone, ``(B, L, C)``.

    A layer that hides the whole context from the last token may do there what it does without one, at other positions.
    The direction of such an update is that of rounding errors: it has to be zero.
    """
    assert in_context.context_visible is not None
    is_unseen = ~in_context.context_visible.any(-1)
    before, after = zero_shot.outputs, in_context.outputs
    if not is_unseen.any():
        return after
    rounding = NUM_ROUNDINGS * max(torch.finfo(dtype).eps for dtype in (after.dtype, torch.float32))
    is_same = (after - before).double().norm(dim=-1) <= rounding * before.double().norm(dim=-1)
    return torch.where((is_unseen & is_same)[..., None], before, after)
