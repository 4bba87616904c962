r"""How the attention of a prompt's last token is divided among the parts of the prompt.

Shapes: B queries, L layers, H heads, N tokens of a context, T of the padded query, P parts of the context. Everything
is computed in double precision; the last of the P + 1 shares is that of the query's own tokens.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from iclgd.metrics.mean import QueryMean, RunningMean
from iclgd.metrics.shapes import check_layout


def attention_shares(
    context: Tensor, own: Tensor, context_visible: Tensor, own_visible: Tensor, parts: Tensor, num_parts: int
) -> Tensor:
    r"""Return how much of the last token's attention each part of the prompt gets, a mean over heads.

    .. math:: \frac{1}{H} \sum_h \sum_{i \in p} \frac{e^{s_{hi}}}{\sum_j e^{s_{hj}}}

    with the sum over j over all that is visible. Layers are taken one after the other: no more than one layer's weights
    of all tokens is ever there.

    Args:
        context: scores of the last token with the context's tokens, before the softmax, (B, L, H, N).
        own: scores with the query's own tokens, (B, L, H, T).
        context_visible: which of the context's tokens the layer's mask shows, boolean, (B, L, N).
        own_visible: likewise, (B, L, T); nothing behind the last token, which is always there.
        parts: the number of the part that each of the context's tokens belongs to, integers, (N,).
        num_parts: P.

    Returns:
        float64, (B, L, P + 1), with sum 1.

    Raises:
        ValueError: if shapes do not fit.

    Example:
        >>> even, everything = torch.zeros(1, 1, 2, 3), torch.ones(1, 1, 3, dtype=torch.bool)
        >>> attention_shares(even, even, everything, everything, torch.tensor([0, 1, 1]), num_parts=2)
        tensor([[[0.1667, 0.3333, 0.5000]]], dtype=torch.float64)
    """
    sizes = check_layout("B L H N", {}, context=context)
    check_layout("B L H T", sizes, own=own)
    membership = _membership(parts, num_parts, own.shape[-1])
    visible = _visible(context_visible, own_visible, context, own)
    shares = []
    for layer in range(context.shape[1]):
        scores = torch.cat([context[:, layer], own[:, layer]], dim=-1).double()
        weights = scores.masked_fill(~visible[:, layer, None], -math.inf).softmax(-1)
        shares.append(weights.mean(1) @ membership)
    return torch.stack(shares, dim=1)


def even_shares(context_visible: Tensor, own_visible: Tensor, parts: Tensor, num_parts: int) -> Tensor:
    """Return what :func:`attention_shares` would be if all visible tokens got the same attention.

    Args:
        context_visible: boolean, (B, L, N).
        own_visible: boolean, (B, L, T).
        parts: integers, (N,).
        num_parts: P.

    Returns:
        float64, (B, L, P + 1), with sum 1.

    Example:
        >>> seen = torch.tensor([[[False, True, True]]])
        >>> even_shares(seen, seen, torch.tensor([0, 0, 1]), num_parts=2)
        tensor([[[0.2500, 0.2500, 0.5000]]], dtype=torch.float64)
    """
    visible = _visible(context_visible, own_visible, context_visible, own_visible).double()
    return visible @ _membership(parts, num_parts, own_visible.shape[-1]) / visible.sum(-1, keepdim=True)


def share_of(chosen: Tensor, shares: Tensor) -> Tensor:
    r"""Return what chosen parts have of that which all of them have, 0 where they have nothing.

    .. math:: \sum_{p \in C} a_p \Big/ \sum_p a_p

    Args:
        chosen: boolean, (B, P).
        shares: (B, L, P).

    Returns:
        (B, L).

    Example:
        >>> share_of(torch.tensor([[True, False]]), torch.tensor([[[0.1, 0.3], [0.0, 0.0]]]))
        tensor([[0.2500, 0.0000]])
    """
    check_layout("B P", check_layout("B L P", {}, shares=shares), chosen=chosen)
    total = shares.sum(-1)
    return (shares * chosen[:, None]).sum(-1) / torch.where(total == 0, 1.0, total)


def _membership(parts: Tensor, num_parts: int, num_own: int) -> Tensor:
    """Return which part each token belongs to, (N + T, P + 1)."""
    own = parts.new_full((num_own,), num_parts)
    return F.one_hot(torch.cat([parts, own]), num_parts + 1).double()


def _visible(context_visible: Tensor, own_visible: Tensor, context: Tensor, own: Tensor) -> Tensor:
    sizes = {"B": context.shape[0], "L": context.shape[1], "N": context.shape[-1], "T": own.shape[-1]}
    check_layout("B L N", sizes, context_visible=context_visible)
    check_layout("B L T", sizes, own_visible=own_visible)
    return torch.cat([context_visible, own_visible], dim=-1)


class AttentionShare(QueryMean):
    r"""What some part of the prompt gets of the last token's attention, a mean over queries.

    .. math:: \frac{1}{B} \sum_b a_b

    As input to ``update`` the metric accepts

    - ``share`` (:class:`~torch.Tensor`): see :func:`iclgd.metrics.attention_shares`, shape ``(B, L)``

    As output of ``compute``: shape ``(L,)``.

    Args:
        num_layers: L.
        variant: what tells two metrics of this class apart that do not measure the same.

    Raises:
        ValueError: if shapes do not fit.

    Example:
        >>> metric = AttentionShare(num_layers=2)
        >>> metric.update(torch.tensor([[0.2, 0.4], [0.4, 0.4]]))
        >>> metric.compute()
        tensor([0.3000, 0.4000], dtype=torch.float64)
    """

    def values(self, share: Tensor) -> Tensor:
        """Return the shares; NaN where they are not finite."""
        self.check("B L", share=share)
        return share.double().masked_fill(~share.isfinite(), math.nan)


class PromptAttention(RunningMean):
    r"""The last token's attention to every part of the prompt in every layer, a mean over queries.

    As input to ``update`` the metric accepts

    - ``shares`` (:class:`~torch.Tensor`): see :func:`iclgd.metrics.attention_shares`, shape ``(B, L, P + 1)``
    - ``even`` (:class:`~torch.Tensor`): see :func:`iclgd.metrics.even_shares`, likewise

    As output of ``compute``: both means, shape ``(2, L, P + 1)``, float64.

    Args:
        num_layers: L.
        num_parts: P.

    Raises:
        ValueError: if shapes do not fit.

    Example:
        >>> metric = PromptAttention(num_layers=1, num_parts=1)
        >>> metric.update(torch.tensor([[[0.25, 0.75]], [[0.75, 0.25]]]), torch.tensor([[[0.5, 0.5]], [[0.5, 0.5]]]))
        >>> metric.compute()
        tensor([[[0.5000, 0.5000]],
        <BLANKLINE>
                [[0.5000, 0.5000]]], dtype=torch.float64)
    """

    def __init__(self, num_layers: int, num_parts: int, **kwargs: Any) -> None:
        super().__init__(torch.zeros(2, num_layers, num_parts + 1, dtype=torch.float64), **kwargs)

    def update(self, shares: Tensor, even: Tensor) -> None:
        """Add a batch."""
        _, num_layers, num_shares = self.total.shape
        check_layout(("B", "L", "P + 1"), {"L": num_layers, "P + 1": num_shares}, shares=shares, even=even)
        self._add(torch.stack([shares, even]).double().sum(1), len(shares))
