r"""How alike two learners are; [vO] section 3.

A learner's *sensitivity* is the gradient of its prediction with respect to the query,
:math:`s_{bo} = \partial \hat y_{bo} / \partial x_b`: for a linear learner, the weights learned from the context.
"""

from torch import Tensor

from iclgd.metrics import functional
from iclgd.metrics.mean import MeanMetric


class SensitivityCosine(MeanMetric):
    r"""Mean cosine between the sensitivities of two learners.

    .. math:: \frac{1}{BO} \sum_{bo}
        \frac{s_{bo}}{|s_{bo}| + \epsilon} \cdot \frac{s'_{bo}}{|s'_{bo}| + \epsilon}, \quad \epsilon = 10^{-8}

    A zero sensitivity contributes 0.

    As input to ``update`` the metric accepts

    - ``preds`` (:class:`~torch.Tensor`): sensitivities of one learner, shape ``(B, O, D)``
    - ``target`` (:class:`~torch.Tensor`): sensitivities of the other, shape ``(B, O, D)``

    As output of ``compute``: the mean cosine in [-1, 1], a scalar tensor.

    Raises:
        ValueError: if shapes do not fit.

    Example:
        >>> import torch
        >>> metric = SensitivityCosine()
        >>> metric.update(torch.tensor([[[1.0, 0.0]], [[3.0, 4.0]]]), torch.tensor([[[2.0, 0.0]], [[4.0, -3.0]]]))
        >>> metric.compute()
        tensor(0.5000)
    """

    higher_is_better = True
    is_differentiable = True
    layout = "B O D"

    @staticmethod
    def summed(preds: Tensor, target: Tensor) -> tuple[Tensor, int]:
        """See :func:`iclgd.metrics.functional.sensitivity_cosine`."""
        return functional.sensitivity_cosine(preds, target)


class SensitivityL2(MeanMetric):
    r"""Mean Euclidean distance between the sensitivities of two learners ("model difference").

    .. math:: \frac{1}{BO} \sum_{bo} |s_{bo} - s'_{bo}|_2

    As input to ``update`` the metric accepts

    - ``preds`` (:class:`~torch.Tensor`): sensitivities of one learner, shape ``(B, O, D)``
    - ``target`` (:class:`~torch.Tensor`): sensitivities of the other, shape ``(B, O, D)``

    As output of ``compute``: the mean distance, a scalar tensor.

    Raises:
        ValueError: if shapes do not fit.

    Example:
        >>> import torch
        >>> metric = SensitivityL2()
        >>> metric.update(torch.tensor([[[3.0, 4.0]]]), torch.tensor([[[0.0, 0.0]]]))
        >>> metric.compute()
        tensor(5.)
    """

    higher_is_better = False
    is_differentiable = True
    layout = "B O D"

    @staticmethod
    def summed(preds: Tensor, target: Tensor) -> tuple[Tensor, int]:
        """See :func:`iclgd.metrics.functional.sensitivity_l2`."""
        return functional.sensitivity_l2(preds, target)


class PredictionL2(MeanMetric):
    r"""Mean Euclidean distance between the predictions of two learners.

    .. math:: \frac{1}{B} \sum_b |\hat y_b - \hat y'_b|_2

    As input to ``update`` the metric accepts

    - ``preds`` (:class:`~torch.Tensor`): predictions of one learner, shape ``(B, O)``
    - ``target`` (:class:`~torch.Tensor`): predictions of the other, shape ``(B, O)``

    As output of ``compute``: the mean distance, a scalar tensor.

    Raises:
        ValueError: if shapes do not fit.

    Example:
        >>> import torch
        >>> metric = PredictionL2()
        >>> metric.update(torch.tensor([[1.0], [3.0]]), torch.tensor([[0.0], [5.0]]))
        >>> metric.compute()
        tensor(1.5000)
    """

    higher_is_better = False
    is_differentiable = True
    layout = "B O"

    @staticmethod
    def summed(preds: Tensor, target: Tensor) -> tuple[Tensor, int]:
        """See :func:`iclgd.metrics.functional.prediction_l2`."""
        return functional.prediction_l2(preds, target)
