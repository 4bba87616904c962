"""The loss of regression models."""

from torch import Tensor

from iclgd.metrics import functional
from iclgd.metrics.mean import MeanMetric


class HalfMeanSquaredError(MeanMetric):
    r"""Half the mean squared error, [vO] equation 2.

    .. math:: \frac{1}{2B} \sum_b |\hat y_b - y_b|^2

    As input to ``update`` the metric accepts

    - ``preds`` (:class:`~torch.Tensor`): predictions, shape ``(B, O)``
    - ``target`` (:class:`~torch.Tensor`): the queries' targets, shape ``(B, O)``

    As output of ``compute``: the loss, a scalar tensor.

    Raises:
        ValueError: if shapes do not fit.

    Example:
        >>> import torch
        >>> metric = HalfMeanSquaredError()
        >>> metric.update(torch.tensor([[1.0], [3.0]]), torch.tensor([[1.0], [1.0]]))
        >>> metric.compute()
        tensor(1.)
    """

    higher_is_better = False
    is_differentiable = True
    layout = "B O"

    @staticmethod
    def summed(preds: Tensor, target: Tensor) -> tuple[Tensor, int]:
        """See :func:`iclgd.metrics.functional.half_mean_squared_error`."""
        return functional.half_mean_squared_error(preds, target)
