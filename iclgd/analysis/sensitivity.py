"""The gradient of a prediction with respect to the query: what a learner has learned from its context."""

import torch
from torch import Tensor

from iclgd.models import Predictor


def predict_with_sensitivity(predictor: Predictor, x: Tensor, y: Tensor, query: Tensor) -> tuple[Tensor, Tensor]:
    """Return predictions and sensitivities of a predictor; [vO] section 3.

    Args:
        predictor: any differentiable ``(x, y, query) -> prediction``.
        x: context inputs, (B, N, D).
        y: context targets, (B, N, O).
        query: query inputs, (B, D).

    Returns:
        The predictions, (B, O), and their gradients with respect to each task's own query, (B, O, D). Both detached.

    Example:
        >>> double = lambda x, y, query: 2 * query.sum(-1, keepdim=True)
        >>> predict_with_sensitivity(double, torch.ones(1, 4, 3), torch.ones(1, 4, 1), torch.ones(1, 3))
        (tensor([[6.]]), tensor([[[2., 2., 2.]]]))
    """
    with torch.enable_grad():
        query = query.detach().requires_grad_()
        prediction = predictor(x, y, query)
        # Tasks do not interact, so the gradient of the sum over tasks holds each task's own gradient.
        gradients = [torch.autograd.grad(output.sum(), query, retain_graph=True)[0] for output in prediction.unbind(-1)]
    return prediction.detach(), torch.stack(gradients, dim=1)
