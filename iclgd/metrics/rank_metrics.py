r"""Metrics over :mod:`iclgd.metrics.rank`: means over queries; [Dai] section 4.

Both take attention to N kept demonstration tokens (:func:`iclgd.metrics.demonstration_attention`) or to N
demonstrations (:func:`iclgd.metrics.example_sums` of it), so that a caller computes either once for both. The random
baseline of each is an instance that gets :func:`iclgd.metrics.random_scores` for ``finetuned``.

``compute`` of each returns the mean over queries of every layer, shape ``(L,)``, see :class:`iclgd.metrics.QueryMean`;
NaN without queries. :class:`iclgd.metrics.Bootstrap` adds the mean over layers and intervals.
"""

from typing import Any

from torch import Tensor

from iclgd.metrics import rank
from iclgd.metrics.mean import QueryMean


class Kendall(QueryMean):
    r"""Rank correlation of the attention that in-context learning and finetuning pay to demonstrations.

    .. math:: \frac{1}{B} \sum_b \tau(a^\text{ICL}_b, a^\text{FT}_b)

    with tau-b, see :func:`iclgd.metrics.kendall_tau`; [Dai] section 4. The expectation of the baseline is 0.

    As input to ``update`` the metric accepts

    - ``in_context`` (:class:`~torch.Tensor`): in-context attention, shape ``(B, L, N)``
    - ``finetuned`` (:class:`~torch.Tensor`): the attention that finetuning pays, shape ``(B, L, N)``
    - ``visible`` (:class:`~torch.Tensor`): which of the N are compared, boolean, shape ``(B, L, N)``; default: all

    As output of ``compute``: correlations in [-1, 1], shape ``(L,)``.

    Args:
        num_layers: L.

    Raises:
        ValueError: if shapes do not fit.

    Example:
        >>> import torch
        >>> metric = Kendall(num_layers=1)
        >>> metric.update(torch.tensor([[[0.1, 0.2, 0.7]]]), torch.tensor([[[0.1, 0.5, 0.4]]]))
        >>> metric.compute()
        tensor(0.3333, dtype=torch.float64)
    """

    higher_is_better = True

    def values(self, in_context: Tensor, finetuned: Tensor, visible: Tensor | None = None) -> Tensor:
        """Return :func:`iclgd.metrics.kendall_tau`."""
        self.check("B L N", in_context=in_context, finetuned=finetuned)
        return rank.kendall_tau(in_context, finetuned, visible)


class TopKRecall(QueryMean):
    r"""Share of what in-context learning attends to most that finetuning attends to most.

    .. math:: \frac{1}{B} \sum_b \frac{
        |\operatorname{top}_k(a^\text{ICL}_b) \cap \operatorname{top}_k(a^\text{FT}_b)|}{k}

    [Dai]'s code takes k = 100 tokens, or 5 demonstrations. With k above the number that is
    compared, k is that number and the share 1; with none to compare it is 0. The expectation of the baseline is k / N.

    As input to ``update`` the metric accepts

    - ``in_context`` (:class:`~torch.Tensor`): in-context attention, shape ``(B, L, N)``
    - ``finetuned`` (:class:`~torch.Tensor`): the attention that finetuning pays, shape ``(B, L, N)``
    - ``visible`` (:class:`~torch.Tensor`): which of the N are compared, boolean, shape ``(B, L, N)``; default: all

    As output of ``compute``: shares in [0, 1], shape ``(L,)``.

    Args:
        num_layers: L.
        k: at least 1.

    Raises:
        ValueError: if shapes do not fit or k is below 1.

    Example:
        >>> import torch
        >>> metric = TopKRecall(num_layers=1, k=2)
        >>> metric.update(torch.tensor([[[0.1, 0.2, 0.7]]]), torch.tensor([[[0.5, 0.1, 0.4]]]))
        >>> metric.compute()
        tensor(0.5000, dtype=torch.float64)
    """

    higher_is_better = True

    def __init__(self, num_layers: int, k: int, **kwargs: Any) -> None:
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}")
        super().__init__(num_layers, variant=f"_{k}", **kwargs)
        self.k = k

    def values(self, in_context: Tensor, finetuned: Tensor, visible: Tensor | None = None) -> Tensor:
        """Return :func:`iclgd.metrics.top_k_recall`."""
        self.check("B L N", in_context=in_context, finetuned=finetuned)
        return rank.top_k_recall(in_context, finetuned, self.k, visible)
