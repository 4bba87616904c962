"""The loss of all learners and of all training: half the mean squared error, as in [vO]'s code."""

from torch import Tensor


def half_mean_squared_error(prediction: Tensor, target: Tensor) -> Tensor:
    r"""Return :math:`\frac12 |\hat y_b - y_b|^2`, the mean over tasks; [vO] equation 2.

    Args:
        prediction: (B, O).
        target: (B, O).

    Example:
        >>> import torch
        >>> half_mean_squared_error(torch.tensor([[1.0, 2.0], [0.0, 0.0]]), torch.zeros(2, 2)).item()
        1.25
    """
    return 0.5 * (target - prediction).square().sum(-1).mean()
