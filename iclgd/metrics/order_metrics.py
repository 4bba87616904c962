r"""Metrics over :mod:`iclgd.metrics.order`: means over queries, of the model as a whole; [Shen].

``compute`` of each returns a scalar, see :class:`iclgd.metrics.ModelMean`; NaN without queries.
:class:`iclgd.metrics.Bootstrap` adds intervals.
"""

from torch import Tensor

from iclgd.metrics import order
from iclgd.metrics.mean import ModelMean


class OrderSensitivity(ModelMean):
    r"""How far the next token's distribution spreads over orders of the same demonstrations; [Shen].

    .. math:: \frac{1}{B} \sum_{bv} \sqrt{\frac{1}{P - 1} \sum_p (p_{bpv} - \bar p_{bv})^2}

    Zero-shot it is 0. The same over draws of demonstrations says how much it matters which ones are shown.

    As input to ``update`` the metric accepts

    - ``log_probabilities`` (:class:`~torch.Tensor`): of all tokens after each order, shape ``(B, P, V)``

    As output of ``compute``: 0 if the order does not matter, at most the square root of P, a scalar.

    Raises:
        ValueError: if the shape does not fit.

    Example:
        >>> import torch
        >>> metric = OrderSensitivity()
        >>> metric.update(torch.tensor([[[0.5, 0.5], [0.5, 0.5]], [[1.0, 0.0], [0.0, 1.0]]]).log())
        >>> metric.compute()
        tensor(0.7071, dtype=torch.float64)
    """

    higher_is_better = False

    def values(self, log_probabilities: Tensor) -> Tensor:
        """Return :func:`iclgd.metrics.order_sensitivity`, ``(B, 1)``."""
        self.check("B P V", log_probabilities=log_probabilities)
        return order.order_sensitivity(log_probabilities)[:, None]


class OrderFlips(ModelMean):
    r"""Share of pairs of orders of the same demonstrations after which queries are answered differently.

    .. math:: \frac{1}{B} \sum_b \frac{2}{P (P - 1)} \sum_{p < p'} [\hat y_{bp} \ne \hat y_{bp'}]

    As input to ``update`` the metric accepts

    - ``choices`` (:class:`~torch.Tensor`): which answer is chosen after each order, whole numbers, negative for none,
      shape ``(B, P)``

    As output of ``compute``: a share in [0, 1], a scalar; NaN if there is a query without an answer.

    Raises:
        ValueError: if the shape does not fit or the choices are not whole numbers.

    Example:
        >>> import torch
        >>> metric = OrderFlips()
        >>> metric.update(torch.tensor([[0, 0, 0], [0, 1, 1]]))
        >>> metric.compute()
        tensor(0.3333, dtype=torch.float64)
    """

    higher_is_better = False

    def values(self, choices: Tensor) -> Tensor:
        """Return :func:`iclgd.metrics.order_flips`, ``(B, 1)``."""
        self.check("B P", choices=choices)
        return order.order_flips(choices)[:, None]
