r"""Metrics over :mod:`iclgd.metrics.next_token`: means over queries, of the model as a whole; [Shen].

``compute`` of each returns a scalar, see :class:`iclgd.metrics.ModelMean`; NaN without queries.
:class:`iclgd.metrics.Bootstrap` adds intervals.
"""

from typing import Any

from torch import Tensor

from iclgd.metrics import next_token
from iclgd.metrics.mean import ModelMean


class NextTokenOverlap(ModelMean):
    r"""Share of the most probable next tokens that two settings have in common; [Shen], token overlap.

    .. math:: \frac{1}{B} \sum_b \frac{|\operatorname{top}_k(p_b) \cap \operatorname{top}_k(q_b)|}{k}

    In-context against finetuned is the measure, zero-shot against finetuned its baseline.

    As input to ``update`` the metric accepts

    - ``first`` (:class:`~torch.Tensor`): log-probabilities of all tokens in one setting, shape ``(B, V)``
    - ``second`` (:class:`~torch.Tensor`): those in the other, shape ``(B, V)``

    As output of ``compute``: a share in [0, 1], a scalar.

    Args:
        k: at least 1.

    Raises:
        ValueError: if shapes do not fit or k is below 1.

    Example:
        >>> import torch
        >>> metric = NextTokenOverlap(k=2)
        >>> metric.update(torch.tensor([[0.1, 0.2, 0.7]]).log(), torch.tensor([[0.5, 0.1, 0.4]]).log())
        >>> metric.compute()
        tensor(0.5000, dtype=torch.float64)
    """

    higher_is_better = True

    def __init__(self, k: int = 10, **kwargs: Any) -> None:
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}")
        super().__init__(variant=f"_{k}", **kwargs)
        self.k = k

    def values(self, first: Tensor, second: Tensor) -> Tensor:
        """Return :func:`iclgd.metrics.next_token_overlap`, ``(B, 1)``."""
        self.check("B V", first=first, second=second)
        return next_token.next_token_overlap(first, second, self.k)[:, None]


class TotalVariation(ModelMean):
    r"""Total variation distance of the next token's distributions in two settings.

    .. math:: \frac{1}{B} \sum_b \frac{1}{2} \sum_v |p_{bv} - q_{bv}|

    In-context against finetuned is the measure, zero-shot against finetuned its baseline.

    As input to ``update`` the metric accepts

    - ``first`` (:class:`~torch.Tensor`): log-probabilities of all tokens in one setting, shape ``(B, V)``
    - ``second`` (:class:`~torch.Tensor`): those in the other, shape ``(B, V)``

    As output of ``compute``: a distance in [0, 1], 0 for equal distributions, a scalar.

    Raises:
        ValueError: if shapes do not fit.

    Example:
        >>> import torch
        >>> metric = TotalVariation()
        >>> metric.update(torch.tensor([[0.5, 0.5, 0.0]]).log(), torch.tensor([[0.25, 0.5, 0.25]]).log())
        >>> metric.compute()
        tensor(0.2500, dtype=torch.float64)
    """

    higher_is_better = False

    def values(self, first: Tensor, second: Tensor) -> Tensor:
        """Return :func:`iclgd.metrics.total_variation`, ``(B, 1)``."""
        self.check("B V", first=first, second=second)
        return next_token.total_variation(first, second)[:, None]
