r"""How much what is learned depends on the order of the demonstrations; [Shen].

[Shen]: Shen et al. 2023, "Do pretrained transformers learn in-context by gradient descent?" (arXiv 2310.08540), who
compare how far a model's output spreads over orders of the same demonstrations, in the context and in the steps of
gradient descent.

Shapes: B queries, P orders, V tokens of the vocabulary. Everything is computed in double precision.
"""

import math

from torch import Tensor

from iclgd.metrics.shapes import check_shape


def order_sensitivity(log_probabilities: Tensor) -> Tensor:
    r"""Return how far the next token's distribution spreads over orders: standard deviations, summed over tokens.

    .. math:: \sum_v \sqrt{\frac{1}{P - 1} \sum_p (p_{pv} - \bar p_v)^2}

    Args:
        log_probabilities: :math:`\log p_{pv}`, (B, P, V), P at least 2.

    Returns:
        in [0, :math:`\sqrt P`], 0 if the order does not matter, float64, (B,).

    Raises:
        ValueError: if the shape does not fit.

    Example:
        >>> import torch
        >>> order_sensitivity(torch.tensor([[[0.5, 0.5], [0.5, 0.5]], [[1.0, 0.0], [0.0, 1.0]]]).log())
        tensor([0.0000, 1.4142], dtype=torch.float64)
    """
    fits = log_probabilities.dim() == 3 and log_probabilities.shape[1] > 1
    check_shape("log_probabilities", log_probabilities, "(B, P, V), P at least 2", fits)
    return log_probabilities.double().exp().std(1).sum(-1)


def order_flips(choices: Tensor) -> Tensor:
    r"""Return the share of pairs of orders after which a query is answered differently.

    .. math:: \frac{2}{P (P - 1)} \sum_{p < p'} [\hat y_p \ne \hat y_{p'}]

    Args:
        choices: which answer is chosen after each order, whole numbers, negative for none, (B, P), P at least 2.

    Returns:
        in [0, 1], NaN where there is no answer after some order, float64, (B,).

    Raises:
        ValueError: if the shape does not fit or the choices are not whole numbers.

    Example:
        >>> import torch
        >>> order_flips(torch.tensor([[0, 0, 0], [0, 1, 1]]))
        tensor([0.0000, 0.6667], dtype=torch.float64)
    """
    check_shape("choices", choices, "(B, P), P at least 2", choices.dim() == 2 and choices.shape[1] > 1)
    if choices.dtype.is_floating_point:
        raise ValueError(f"choices must be whole numbers, got {choices.dtype}")
    num_orders = choices.shape[1]
    num_different = (choices[:, :, None] != choices[:, None]).sum((1, 2)).double()
    return (num_different / (num_orders * (num_orders - 1))).masked_fill((choices < 0).any(1), math.nan)
