r"""Metrics over :mod:`iclgd.metrics.rank`: means over queries, with intervals; [Dai] section 4.

All take attention to N kept demonstration tokens (:func:`iclgd.metrics.demonstration_attention`) or to N
demonstrations (:func:`iclgd.metrics.example_sums` of it), so that a caller computes either once for all of them.

``update`` of each accepts last ``weights`` (:class:`~torch.Tensor`) of shape ``(B, R)``, see
:func:`iclgd.metrics.bootstrap_weights`. ``compute`` of each returns mean, low and high end of the 95% interval of every
layer and of the mean over layers, shape ``(L + 1, 3)``, see :class:`iclgd.metrics.BootstrapMean`; all NaN without
queries.
"""

from typing import Any

from torch import Tensor

from iclgd.metrics import rank
from iclgd.metrics.bootstrap import BootstrapMean


class Kendall(BootstrapMean):
    r"""Rank correlation of the attention that in-context learning and finetuning pay to demonstrations.

    .. math:: \frac{1}{B} \sum_b \tau(a^\text{ICL}_b, a^\text{FT}_b)

    with tau-b, see :func:`iclgd.metrics.kendall_tau`; [Dai] section 4.

    As input to ``update`` the metric accepts

    - ``in_context`` (:class:`~torch.Tensor`): in-context attention, shape ``(B, L, N)``
    - ``finetuned`` (:class:`~torch.Tensor`): the attention that finetuning pays, shape ``(B, L, N)``
    - ``weights`` (:class:`~torch.Tensor`): shape ``(B, R)``
    - ``visible`` (:class:`~torch.Tensor`): which of the N are compared, boolean, shape ``(B, L, N)``; default: all

    As output of ``compute``: correlations in [-1, 1], shape ``(L + 1, 3)``.

    Args:
        num_layers: L.
        num_replicates: R; 0 for no interval.

    Raises:
        ValueError: if shapes do not fit.

    Example:
        >>> import torch
        >>> metric = Kendall(num_layers=1, num_replicates=0)
        >>> metric.update(torch.tensor([[[0.1, 0.2, 0.7]]]), torch.tensor([[[0.1, 0.5, 0.4]]]), torch.empty(1, 0))
        >>> metric.compute()[:, 0]
        tensor([0.3333, 0.3333], dtype=torch.float64)
    """

    higher_is_better = True

    def update(self, in_context: Tensor, finetuned: Tensor, weights: Tensor, visible: Tensor | None = None) -> None:
        """Add a batch."""
        self._accumulate(rank.kendall_tau(in_context, finetuned, visible), weights)


class RandomKendall(BootstrapMean):
    r"""Rank correlation of in-context attention with random scores, the baseline of :class:`Kendall`.

    .. math:: \frac{1}{B} \sum_b \tau(a^\text{ICL}_b, u_b)

    As input to ``update`` the metric accepts

    - ``in_context`` (:class:`~torch.Tensor`): in-context attention, shape ``(B, L, N)``
    - ``scores`` (:class:`~torch.Tensor`): see :func:`iclgd.metrics.random_scores`, shape ``(B, L, N)``
    - ``weights`` (:class:`~torch.Tensor`): shape ``(B, R)``
    - ``visible`` (:class:`~torch.Tensor`): which of the N are compared, boolean, shape ``(B, L, N)``; default: all

    As output of ``compute``: correlations in [-1, 1], shape ``(L + 1, 3)``; the expectation is 0.

    Args:
        num_layers: L.
        num_replicates: R; 0 for no interval.

    Raises:
        ValueError: if shapes do not fit.

    Example:
        >>> import torch
        >>> metric = RandomKendall(num_layers=1, num_replicates=0)
        >>> metric.update(torch.tensor([[[0.1, 0.2, 0.7]]]), torch.tensor([[[0.9, 0.3, 0.6]]]), torch.empty(1, 0))
        >>> metric.compute()[:, 0]
        tensor([-0.3333, -0.3333], dtype=torch.float64)
    """

    def update(self, in_context: Tensor, scores: Tensor, weights: Tensor, visible: Tensor | None = None) -> None:
        """Add a batch."""
        self._accumulate(rank.kendall_tau(in_context, scores, visible), weights)


class TopKRecall(BootstrapMean):
    r"""Share of what in-context learning attends to most that finetuning attends to most.

    .. math:: \frac{1}{B} \sum_b \frac{
        |\operatorname{top}_k(a^\text{ICL}_b) \cap \operatorname{top}_k(a^\text{FT}_b)|}{k}

    [Dai]'s code takes k = 100 tokens, or 5 demonstrations. With k above the number that is
    compared, k is that number and the share 1; with none to compare it is 0. The baseline is an
    instance that gets :func:`iclgd.metrics.random_scores` for ``finetuned``; its expectation is k / N.

    As input to ``update`` the metric accepts

    - ``in_context`` (:class:`~torch.Tensor`): in-context attention, shape ``(B, L, N)``
    - ``finetuned`` (:class:`~torch.Tensor`): the attention that finetuning pays, shape ``(B, L, N)``
    - ``weights`` (:class:`~torch.Tensor`): shape ``(B, R)``
    - ``visible`` (:class:`~torch.Tensor`): which of the N are compared, boolean, shape ``(B, L, N)``; default: all

    As output of ``compute``: shares in [0, 1], shape ``(L + 1, 3)``.

    Args:
        num_layers: L.
        num_replicates: R; 0 for no interval.
        k: at least 1.

    Raises:
        ValueError: if shapes do not fit or k is below 1.

    Example:
        >>> import torch
        >>> metric = TopKRecall(num_layers=1, num_replicates=0, k=2)
        >>> metric.update(torch.tensor([[[0.1, 0.2, 0.7]]]), torch.tensor([[[0.5, 0.1, 0.4]]]), torch.empty(1, 0))
        >>> metric.compute()[:, 0]
        tensor([0.5000, 0.5000], dtype=torch.float64)
    """

    higher_is_better = True

    def __init__(self, num_layers: int, num_replicates: int, k: int, **kwargs: Any) -> None:
        super().__init__(num_layers, num_replicates, **kwargs)
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}")
        self.k = k

    def update(self, in_context: Tensor, finetuned: Tensor, weights: Tensor, visible: Tensor | None = None) -> None:
        """Add a batch."""
        self._accumulate(rank.top_k_recall(in_context, finetuned, self.k, visible), weights)
