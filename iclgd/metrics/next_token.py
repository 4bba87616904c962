r"""How alike two distributions of the next token are; [Shen].

[Shen]: Shen et al. 2023, "Do pretrained transformers learn in-context by gradient descent?" (arXiv 2310.08540), who
compare what in-context learning and gradient descent make of a model's output distribution over the whole vocabulary.

Shapes: B queries, V tokens of the vocabulary. Distributions are log-probabilities. Everything is computed in double
precision; a distribution with NaN gives NaN.
"""

import math

from torch import Tensor

from iclgd.metrics.shapes import check_same_shape


def next_token_overlap(first: Tensor, second: Tensor, k: int) -> Tensor:
    r"""Return the share of first's k most probable tokens that is among second's; [Shen], token overlap.

    .. math:: \frac{|\operatorname{top}_k(p) \cap \operatorname{top}_k(q)|}{k}

    With k above V, k is V and the share 1. Which of several equal tokens at the border is taken is not specified.

    Args:
        first: log-probabilities p (or anything of their order), (..., V).
        second: likewise q, (..., V).
        k: at least 1.

    Returns:
        in [0, 1], float64, (...).

    Raises:
        ValueError: if the shapes differ or k is below 1.

    Example:
        >>> import torch
        >>> first, second = torch.tensor([0.1, 0.2, 0.3, 0.4]).log(), torch.tensor([0.4, 0.1, 0.2, 0.3]).log()
        >>> next_token_overlap(first, second, k=2)
        tensor(0.5000, dtype=torch.float64)
    """
    check_same_shape(first=first, second=second)
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    k = min(k, first.shape[-1])
    first_largest, second_largest = (each.detach().topk(k, dim=-1).indices for each in (first, second))
    is_shared = (first_largest[..., None] == second_largest[..., None, :]).any(-1)
    return is_shared.double().mean(-1).masked_fill((first.isnan() | second.isnan()).any(-1), math.nan)


def total_variation(first: Tensor, second: Tensor) -> Tensor:
    r"""Return the total variation distance of two distributions.

    .. math:: \frac{1}{2} \sum_v |p_v - q_v|

    It is the largest difference that the probability of any set of tokens has, and 1 minus what both have in common,
    :math:`\sum_v \min(p_v, q_v)`.

    Args:
        first: log-probabilities, :math:`\log p`, (..., V).
        second: likewise :math:`\log q`, (..., V).

    Returns:
        in [0, 1], float64, (...).

    Raises:
        ValueError: if the shapes differ.

    Example:
        >>> import torch
        >>> total_variation(torch.tensor([0.5, 0.5, 0.0]).log(), torch.tensor([0.25, 0.5, 0.25]).log())
        tensor(0.2500, dtype=torch.float64)
    """
    check_same_shape(first=first, second=second)
    return (first.double().exp() - second.double().exp()).abs().sum(-1) / 2
