r"""How often learners are right; [Dai] section 4.

As input to ``update`` both metrics accept whether answers are right, of shape ``(B,)``: boolean, or numbers, 1 and 0,
and NaN where there was no answer. Whatever rests on an answer that there was not is NaN.

The intervals are those of Wilson 1927, for shares of few queries as for those of many: a bootstrap of one query, or of
queries that are all right, would be certain.
"""

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor

from iclgd.metrics.mean import Interval, ValueMean
from iclgd.metrics.shapes import check_layout

NORMAL_QUANTILE = 1.959963984540054  # of 0.975


def wilson_interval(share: Tensor, count: Tensor, quantile: float = NORMAL_QUANTILE) -> Tensor:
    r"""Return the 95% interval of a share by inverting the score test; Wilson 1927.

    .. math:: \frac{1}{1 + z^2 / n} \Big(p + \frac{z^2}{2 n}
        \pm z \sqrt{\frac{p (1 - p)}{n} + \frac{z^2}{4 n^2}}\Big)

    Args:
        share: p, of all queries.
        count: n; the interval of none is NaN.
        quantile: z, the normal distribution's if not said.

    Returns:
        low and high, shape ``(2,)``, float64.

    Example:
        >>> wilson_interval(torch.tensor(1.0), torch.tensor(1))
        tensor([0.2065, 1.0000], dtype=torch.float64)
    """
    share, count = share.double(), count.double()
    ratio = quantile**2 / count
    centre = (share + ratio / 2) / (1 + ratio)
    reach = (share * (1 - share) * ratio + ratio**2 / 4).sqrt() / (1 + ratio)
    low = torch.where(share == 0, share, centre - reach)  # exactly, not up to rounding
    high = torch.where(share == 1, share, centre + reach)
    return torch.stack([low, high])


class Share(ValueMean):
    """A share of queries, from 0 to ``scale``; :class:`WilsonInterval` adds its interval."""

    scale = 1.0
    higher_is_better = True

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(torch.tensor(0.0, dtype=torch.float64), **kwargs)

    @abstractmethod
    def values(self, *args: Any, **kwargs: Any) -> Tensor:
        """Return 1, 0 or NaN for each query that counts, ``(N,)``, float64; nothing is remembered."""

    def counted(self, *args: Any, **kwargs: Any) -> Tensor:
        """Return which queries count, boolean, ``(B,)``; arguments as of :meth:`values`. By default all."""
        answers = next(iter((*args, *kwargs.values())))
        return torch.ones(len(answers), dtype=torch.bool, device=answers.device)

    def compute(self) -> Tensor:
        """Return the share of everything added so far."""
        return self.scale * self.total / self.count


class WilsonInterval(Interval):
    """Wraps a share, and adds its 95% interval, see :func:`wilson_interval`.

    ``update`` takes what the metric's takes. As output of ``compute``: share, low and high, shape ``(3,)``, float64;
    NaN without queries.

    Args:
        metric: what to wrap, an :class:`Accuracy` or :class:`Rec2FTP`; its own state is not used.

    Raises:
        ValueError: if the metric is no share; and what the metric's raises.

    Example:
        >>> metric = WilsonInterval(Accuracy())
        >>> metric.update(torch.tensor([True, True, False, True]))
        >>> metric.compute()
        tensor([0.7500, 0.3006, 0.9544], dtype=torch.float64)
    """

    def __init__(self, metric: Share, **kwargs: Any) -> None:
        if not isinstance(metric, Share):
            raise ValueError(f"metric must be a Share, got {type(metric).__name__}")
        super().__init__(torch.tensor(0.0, dtype=torch.float64), f"_{metric.measure}", **kwargs)
        self.metric = metric

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Add a batch."""
        values = self.metric.checked_values(*args, **kwargs)
        self._add(values.sum(0), len(values))
        counted = self.metric.counted(*args, **kwargs)
        self.terms = values.new_zeros(len(counted)).masked_scatter(counted, values)
        self.counts = counted.double()

    def compute(self) -> Tensor:
        """Return the share, low and high."""
        scale, share = self.metric.scale, self.total / self.count
        return torch.cat([(scale * self.total / self.count).view(1), scale * wilson_interval(share, self.count)])


class Accuracy(Share):
    r"""Share of the queries that are answered correctly.

    .. math:: \frac{1}{B} \sum_b [\hat y_b = y_b]

    As input to ``update`` the metric accepts

    - ``correct`` (:class:`~torch.Tensor`): whether the answer is right, shape ``(B,)``

    As output of ``compute``: the share in [0, 1], a scalar tensor, float64; NaN without queries.

    Raises:
        ValueError: if the shape does not fit or ``correct`` is neither boolean nor of floating-point numbers.

    Example:
        >>> metric = Accuracy()
        >>> metric.update(torch.tensor([True, True, False, True]))
        >>> metric.compute()
        tensor(0.7500, dtype=torch.float64)
    """

    def values(self, correct: Tensor) -> Tensor:
        """Return the same as numbers, ``(B,)``."""
        _check_answers(correct=correct)
        return correct.double()


def put_right(zero_shot_correct: Tensor, finetuned_correct: Tensor) -> Tensor:
    r"""Return whether finetuning puts each query right, where Rec2FTP looks: [Dai] section 4.

    .. math:: p_b = (1 - z_b)\, f_b

    of whether the zero-shot and the finetuned model's answers are right, z and f.

    Args:
        zero_shot_correct: 1, 0, or NaN where there was no answer, (B,); or boolean.
        finetuned_correct: likewise, (B,).

    Returns:
        1, 0, or NaN if it is not known, (B,), float64.

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

    As output of ``compute``: a percentage in [0, 100], a scalar tensor, float64. By rule it is NaN if finetuning
    put no query right.

    Raises:
        ValueError: if shapes do not fit or answers are neither boolean nor floating-point numbers.

    Example:
        >>> metric = Rec2FTP()
        >>> zero_shot = torch.tensor([False, False, False, True])
        >>> in_context = torch.tensor([True, False, True, True])
        >>> finetuned = torch.tensor([True, True, False, True])
        >>> metric.update(zero_shot, in_context, finetuned)
        >>> metric.compute()
        tensor(50., dtype=torch.float64)
    """

    scale = 100.0

    def values(self, zero_shot_correct: Tensor, in_context_correct: Tensor, finetuned_correct: Tensor) -> Tensor:
        """Return whether in-context learning is right where finetuning puts a query right, or may do so, ``(N,)``."""
        _check_answers(
            zero_shot_correct=zero_shot_correct,
            in_context_correct=in_context_correct,
            finetuned_correct=finetuned_correct,
        )
        right = put_right(zero_shot_correct, finetuned_correct)
        recalled = torch.where(right.isnan(), right, in_context_correct.double())
        return recalled[right != 0]  # also where it is not known

    def counted(self, zero_shot_correct: Tensor, in_context_correct: Tensor, finetuned_correct: Tensor) -> Tensor:
        """Return where finetuning puts a query right, or may do so."""
        return put_right(zero_shot_correct, finetuned_correct) != 0


def _check_answers(**answers: Tensor) -> None:
    check_layout("B", {}, **answers)
    for name, answer in answers.items():
        if answer.dtype != torch.bool and not answer.dtype.is_floating_point:
            raise ValueError(f"{name} must be boolean, got {answer.dtype}")
