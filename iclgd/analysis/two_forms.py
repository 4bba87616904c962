r"""Linear attention and gradient descent as one function in two forms; [Dai] section 3.

A linear layer :math:`W_0` that is trained by gradient steps becomes :math:`W_0 + \Delta W` with
:math:`\Delta W = \sum_i e_i \otimes x_i`, where the error signals :math:`e_i` are minus the learning rate times the
loss's gradient at the outputs. Applied to a query, :math:`\Delta W q = \sum_i e_i (x_i \cdot q)`: linear attention with
keys :math:`x_i`, values :math:`e_i` and the query q.
"""

import torch
from torch import Tensor


def attention_form(initial_weight: Tensor, keys: Tensor, values: Tensor, query: Tensor) -> Tensor:
    r"""Return :math:`W_0 q + \sum_i v_i (k_i \cdot q)`, a linear layer and linear attention; [Dai] section 3.

    Args:
        initial_weight: W0, (O, D).
        keys: (N, D).
        values: (N, O).
        query: (D,).

    Returns:
        The output, (O,).

    Example:
        >>> keys, values = torch.tensor([[1.0, 0.0]]), torch.tensor([[2.0]])
        >>> attention_form(torch.zeros(1, 2), keys, values, torch.tensor([3.0, 1.0]))
        tensor([6.])
    """
    return initial_weight @ query + (keys @ query) @ values


def dual_form(initial_weight: Tensor, keys: Tensor, values: Tensor, query: Tensor) -> Tensor:
    r"""Return :math:`(W_0 + \Delta W) q` with the update :math:`\Delta W = \sum_i v_i \otimes k_i`; [Dai] section 3.

    Arguments and result as in :func:`attention_form`, to which it is equal.

    Example:
        >>> keys, values = torch.tensor([[1.0, 0.0]]), torch.tensor([[2.0]])
        >>> dual_form(torch.zeros(1, 2), keys, values, torch.tensor([3.0, 1.0]))
        tensor([6.])
    """
    update = torch.zeros_like(initial_weight)
    for key, value in zip(keys, values, strict=True):
        update += torch.outer(value, key)
    return (initial_weight + update) @ query
