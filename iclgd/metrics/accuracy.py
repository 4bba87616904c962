r"""How often learners are right; [Dai] section 4.

As input to ``update`` both metrics accept whether answers are right, of shape ``(B,)``: boolean, or numbers, 1 and 0,
and NaN where there was no answer; and

- ``weights`` (:class:`~torch.Tensor`): see :func:`iclgd.metrics.bootstrap_weights`, shape ``(B, R)``

Whatever rests on an answer that there was not is NaN.

The intervals are those of Wilson 1927, for shares of few queries as for those of many: a bootstrap of one query, or of
queries that are all right, would be certain.
"""

import math
from typing import Any

import torch
from torch import Tensor

from iclgd.metrics.bootstrap import BootstrapMean
from iclgd.metrics.shapes import check_same_shape, check_shape

NORMAL_QUANTILE = 1.959963984540054  # of 0.975


def wilson_interval(share: Tensor, count: Tensor) -> Tensor:
    r"""Return the 95% interval of a share by inverting the score test; Wilson 1927.

    .. math:: \frac{1}{1 + z^2 / n} \Big(p + \frac{z^2}{2 n}
        \pm z \sqrt{\frac{p (1 - p)}{n} + \frac{z^2}{4 n^2}}\Big)

    Args:
        share: p, of all queries.
        count: n; the interval of none is NaN.

    Returns:
        low and high, shape ``(2,)``, float64.

    Example:
        >>> wilson_interval(torch.tensor(1.0), torch.tensor(1))
        tensor([0.2065, 1.0000], dtype=torch.float64)
    """
    share, count = share.double(), count.double()
    ratio = NORMAL_QUANTILE**2 / count
    centre = (share + ratio / 2) / (1 + ratio)
    reach = (share * (1 - share) * ratio + ratio**2 / 4).sqrt() / (1 + ratio)
    low = torch.where(share == 0, share, centre - reach)  # exactly, not up to rounding
    high = torch.where(share == 1, share, centre + reach)
    return torch.stack([low, high])


class Share(BootstrapMean):
    """A share of queries with its interval; without replicates there is none, as of other metrics.

    Args:
        num_replicates: R; 0 for no interval.
    """

    scale = 1.0
    higher_is_better = True

    def __init__(self, num_replicates: int, **kwargs: Any) -> None:
        super().__init__(1, num_replicates, **kwargs)

    def compute(self) -> Tensor:
        """Return the share, low and high."""
        interval = wilson_interval(self.total[0] / self.count, self.count)
        if len(self.replicate_counts) == 0:
            interval = torch.full_like(interval, math.nan)
        return torch.cat([self.scale * self.total / self.count, self.scale * interval])


class Accuracy(Share):
    r"""Share of the queries that are answered correctly.

    .. math:: \frac{1}{B} \sum_b [\hat y_b = y_b]

    As input to ``update`` the metric accepts

    - ``correct`` (:class:`~torch.Tensor`): whether the answer is right, shape ``(B,)``
    - ``weights`` (:class:`~torch.Tensor`): shape ``(B, R)``

    As output of ``compute``: share in [0, 1], low and high, shape ``(3,)``; NaN without queries.

    Args:
        num_replicates: R; 0 for no interval.

    Raises:
        ValueError: if shapes do not fit or ``correct`` is neither boolean nor of floating-point numbers.

    Example:
        >>> metric = Accuracy(num_replicates=0)
        >>> metric.update(torch.tensor([True, True, False, True]), torch.empty(4, 0))
        >>> metric.compute()
        tensor([0.7500,    nan,    nan], dtype=torch.float64)
    """

    def update(self, correct: Tensor, weights: Tensor) -> None:
        """Add a batch."""
        _check_answers(correct=correct)
        self._accumulate(correct[:, None], weights)


def put_right(zero_shot_correct: Tensor, finetuned_correct: Tensor) -> Tensor:
    """Return whether finetuning puts each query right: 1, 0, or NaN if that is not known; shape ``(B,)``, float64.

    Example:
        >>> put_right(torch.tensor([0.0, 1.0, 1.0, torch.nan]), torch.tensor([1.0, 1.0, torch.nan, 1.0]))
        tensor([1., 0., 0., nan], dtype=torch.float64)
    """
    zero_shot, finetuned = zero_shot_correct.double(), finetuned_correct.double()
    is_out = (zero_shot == 1) | (finetuned == 0)
    return ((1 - zero_shot) * finetuned).masked_fill(is_out, 0.0)


class Rec2FTP(Share):
    r"""Recall to finetuning predictions, [Dai] section 4.

    .. math:: 100 \cdot \frac{|\{b : \text{ZSL wrong, FT right, ICL right}\}|}
        {|\{b : \text{ZSL wrong, FT right}\}|}

    The percentage that in-context learning answers correctly of what finetuning puts right.

    As input to ``update`` the metric accepts, of shape ``(B,)``,

    - ``zero_shot_correct`` (:class:`~torch.Tensor`): whether the zero-shot answer is right
    - ``in_context_correct`` (:class:`~torch.Tensor`): whether the in-context answer is right
    - ``finetuned_correct`` (:class:`~torch.Tensor`): whether the finetuned model's answer is right

    and ``weights`` (:class:`~torch.Tensor`) of shape ``(B, R)``.

    As output of ``compute``: percentage in [0, 100], low and high, shape ``(3,)``. By rule it is NaN if finetuning
    put no query right.

    Args:
        num_replicates: R; 0 for no interval.

    Raises:
        ValueError: if shapes do not fit or answers are neither boolean nor floating-point numbers.

    Example:
        >>> metric = Rec2FTP(num_replicates=0)
        >>> zero_shot = torch.tensor([False, False, False, True])
        >>> in_context = torch.tensor([True, False, True, True])
        >>> finetuned = torch.tensor([True, True, False, True])
        >>> metric.update(zero_shot, in_context, finetuned, torch.empty(4, 0))
        >>> metric.compute()
        tensor([50., nan, nan], dtype=torch.float64)
    """

    scale = 100.0

    def update(
        self, zero_shot_correct: Tensor, in_context_correct: Tensor, finetuned_correct: Tensor, weights: Tensor
    ) -> None:
        """Add a batch."""
        _check_answers(
            zero_shot_correct=zero_shot_correct,
            in_context_correct=in_context_correct,
            finetuned_correct=finetuned_correct,
        )
        num_queries = len(zero_shot_correct)
        check_shape("weights", weights, f"(B, R) = ({num_queries}, R)", weights.shape[:1] == (num_queries,))
        right = put_right(zero_shot_correct, finetuned_correct)
        counts = right != 0  # also where it is not known
        recalled = torch.where(right.isnan(), right, in_context_correct.double())
        self._accumulate(recalled[counts, None], weights[counts])


def _check_answers(**answers: Tensor) -> None:
    check_same_shape(**answers)
    for name, answer in answers.items():
        check_shape(name, answer, "(B,)", answer.dim() == 1)
        if answer.dtype != torch.bool and not answer.dtype.is_floating_point:
            raise ValueError(f"{name} must be boolean, got {answer.dtype}")
