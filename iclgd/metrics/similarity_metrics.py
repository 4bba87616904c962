r"""Metrics over :mod:`iclgd.metrics.similarity`: means over queries; [Dai], [Deutch].

``compute`` of each returns the mean over queries of every layer, shape ``(L,)``, see :class:`iclgd.metrics.QueryMean`;
NaN without queries. :class:`iclgd.metrics.Bootstrap` adds the mean over layers and intervals.
"""

from torch import Tensor

from iclgd.metrics import similarity
from iclgd.metrics.mean import QueryMean


class SimAOU(QueryMean):
    r"""Similarity of attention output updates of in-context learning and finetuning, [Dai] section 4.

    .. math:: \frac{1}{B} \sum_b \cos(\bar h_\text{ICL} - \bar h_\text{ZSL},\; \bar h_\text{FT} - \bar h_\text{ZSL}),
        \quad \bar h = h / |h|

    As input to ``update`` the metric accepts

    - ``zero_shot`` (:class:`~torch.Tensor`): outputs of the attention blocks, shape ``(B, L, C)``
    - ``in_context`` (:class:`~torch.Tensor`): the same with demonstrations, shape ``(B, L, C)``
    - ``finetuned`` (:class:`~torch.Tensor`): the same after finetuning, shape ``(B, L, C)``

    As output of ``compute``: cosines in [-1, 1], shape ``(L,)``.

    Args:
        num_layers: L.

    Raises:
        ValueError: if shapes do not fit.

    Example:
        >>> import torch
        >>> metric = SimAOU(num_layers=2)
        >>> metric.update(*torch.eye(3)[:, None, None].expand(3, 5, 2, 3))
        >>> metric.compute()
        tensor([0.5000, 0.5000], dtype=torch.float64)
    """

    higher_is_better = True

    def values(self, zero_shot: Tensor, in_context: Tensor, finetuned: Tensor) -> Tensor:
        """Return :func:`iclgd.metrics.sim_aou`."""
        self.check("B L C", zero_shot=zero_shot, in_context=in_context, finetuned=finetuned)
        return similarity.sim_aou(zero_shot, in_context, finetuned)


class RandomSimAOU(QueryMean):
    r"""Similarity of the in-context update with a random one, the baseline of :class:`SimAOU`; [Dai] section 4.

    .. math:: \frac{1}{B} \sum_b \cos(\bar h_\text{ICL} - \bar h_\text{ZSL},\; u), \quad \bar h = h / |h|

    As input to ``update`` the metric accepts

    - ``zero_shot`` (:class:`~torch.Tensor`): outputs of the attention blocks, shape ``(B, L, C)``
    - ``in_context`` (:class:`~torch.Tensor`): the same with demonstrations, shape ``(B, L, C)``
    - ``updates`` (:class:`~torch.Tensor`): see :func:`iclgd.metrics.random_updates`, shape ``(B, L, C)``

    As output of ``compute``: cosines in [-1, 1], shape ``(L,)``.

    Args:
        num_layers: L.

    Raises:
        ValueError: if shapes do not fit.

    Example:
        >>> import torch
        >>> metric = RandomSimAOU(num_layers=1)
        >>> metric.update(*torch.eye(2)[:, None, None], torch.tensor([[[0.0, 3.0]]]))
        >>> metric.compute()
        tensor(0.7071, dtype=torch.float64)
    """

    def values(self, zero_shot: Tensor, in_context: Tensor, updates: Tensor) -> Tensor:
        """Return :func:`iclgd.metrics.random_sim_aou`."""
        self.check("B L C", zero_shot=zero_shot, in_context=in_context, updates=updates)
        return similarity.random_sim_aou(zero_shot, in_context, updates)


class SimAM(QueryMean):
    r"""Similarity of the attention maps of two passes, [Dai] section 4.

    .. math:: \frac{1}{BH} \sum_{bh} \cos(m_{bh}, m'_{bh})

    In-context against finetuned is the measure, in-context against zero-shot its baseline.

    As input to ``update`` the metric accepts

    - ``first`` (:class:`~torch.Tensor`): scores before the softmax, shape ``(B, L, H, T)``
    - ``second`` (:class:`~torch.Tensor`): those of the other pass, shape ``(B, L, H, T)``
    - ``mask`` (:class:`~torch.Tensor`): true at the query's own tokens, boolean, shape ``(B, T)``; or ``(B, L, T)``, at
      those that the layer's mask shows to all passes

    As output of ``compute``: cosines in [-1, 1], shape ``(L,)``.

    Args:
        num_layers: L.

    Raises:
        ValueError: if shapes do not fit or the mask is not boolean.

    Example:
        >>> import torch
        >>> metric = SimAM(num_layers=1)
        >>> first, second = torch.tensor([[1.0, 0.0], [1.0, 1.0]]).view(2, 1, 1, 1, 2)
        >>> metric.update(first, second, torch.tensor([[True, True]]))
        >>> metric.compute()
        tensor(0.7071, dtype=torch.float64)
    """

    higher_is_better = True

    def values(self, first: Tensor, second: Tensor, mask: Tensor) -> Tensor:
        """Return :func:`iclgd.metrics.sim_am`."""
        self.check("B L H T", first=first, second=second)
        return similarity.sim_am(first, second, mask)


class SimAMDelta(QueryMean):
    r"""Similarity of the changes of attention maps by in-context learning and finetuning, [Deutch].

    .. math:: \frac{1}{BH} \sum_{bh}
        \cos(m_{\text{ICL},bh} - m_{\text{ZSL},bh},\; m_{\text{FT},bh} - m_{\text{ZSL},bh})

    As input to ``update`` the metric accepts

    - ``zero_shot`` (:class:`~torch.Tensor`): scores before the softmax, shape ``(B, L, H, T)``
    - ``in_context`` (:class:`~torch.Tensor`): the same with demonstrations, shape ``(B, L, H, T)``
    - ``finetuned`` (:class:`~torch.Tensor`): the same after finetuning, shape ``(B, L, H, T)``
    - ``mask`` (:class:`~torch.Tensor`): true at the query's own tokens, boolean, shape ``(B, T)``; or ``(B, L, T)``, at
      those that the layer's mask shows to all passes

    As output of ``compute``: cosines in [-1, 1], shape ``(L,)``.

    Args:
        num_layers: L.

    Raises:
        ValueError: if shapes do not fit or the mask is not boolean.

    Example:
        >>> import torch
        >>> metric = SimAMDelta(num_layers=1)
        >>> maps = torch.tensor([[9.0, 9.0], [9.0, 8.0], [8.0, 8.0]]).view(3, 1, 1, 1, 2)
        >>> metric.update(*maps, torch.tensor([[True, True]]))
        >>> metric.compute()
        tensor(0.7071, dtype=torch.float64)
    """

    higher_is_better = True

    def values(self, zero_shot: Tensor, in_context: Tensor, finetuned: Tensor, mask: Tensor) -> Tensor:
        """Return :func:`iclgd.metrics.sim_am_delta`."""
        self.check("B L H T", zero_shot=zero_shot, in_context=in_context, finetuned=finetuned)
        return similarity.sim_am_delta(zero_shot, in_context, finetuned, mask)


class UpdateSimilarity(QueryMean):
    r"""Similarity of the weight updates of in-context learning and finetuning as the query sees them; [Dai] section 3.

    .. math:: \frac{1}{BH} \sum_{bh} \cos(\Delta W_{\text{ICL},h}\, q_b,\; \Delta W_{\text{FT},h}\, q_b)

    As input to ``update`` the metric accepts

    - ``in_context`` (:class:`~torch.Tensor`): what demonstrations add to heads' outputs, shape ``(B, L, H, E)``
    - ``finetuned`` (:class:`~torch.Tensor`): what finetuning adds to them, shape ``(B, L, H, E)``

    As output of ``compute``: cosines in [-1, 1], shape ``(L,)``.

    Args:
        num_layers: L.

    Raises:
        ValueError: if shapes do not fit.

    Example:
        >>> import torch
        >>> metric = UpdateSimilarity(num_layers=1)
        >>> metric.update(torch.ones(1, 1, 1, 2), torch.tensor([[[[0.0, 3.0]]]]))
        >>> metric.compute()
        tensor(0.7071, dtype=torch.float64)
    """

    higher_is_better = True

    def values(self, in_context: Tensor, finetuned: Tensor) -> Tensor:
        """Return :func:`iclgd.metrics.update_similarity`."""
        self.check("B L H E", in_context=in_context, finetuned=finetuned)
        return similarity.update_similarity(in_context, finetuned)
