r"""Contextual calibration: answers' scores minus those that they have without any content; [Zhao].

[Zhao]: Zhao et al. 2021, "Calibrate before use" (arXiv 2102.09690), section 5. A model may prefer an answer whatever it
is asked. That is estimated by queries without content, whose probabilities of the answers are averaged; each answer's
probability is then divided by its average, in the same context and with the same weights.
"""

import math

from torch import Tensor


def content_free_scores(scores: Tensor) -> Tensor:
    r"""Return the scores of no content at all.

    .. math:: s^\text{cf}_c = \log \frac{1}{N} \sum_n e^{s_{nc}}

    Args:
        scores: mean log-probability of each answer's tokens after each of N content-free queries, (N, C).

    Returns:
        float64, (C,).

    Example:
        >>> import torch
        >>> content_free_scores(torch.tensor([[0.5, 0.25], [0.1, 0.25]], dtype=torch.float64).log()).exp()
        tensor([0.3000, 0.2500], dtype=torch.float64)
    """
    return scores.double().logsumexp(0) - math.log(len(scores))


def calibrated(scores: Tensor, content_free: Tensor) -> Tensor:
    r"""Return calibrated scores: those of [Zhao]'s diagonal weights :math:`1 / e^{s^\text{cf}_c}`, up to a constant.

    .. math:: s_{bc} - s^\text{cf}_c

    Args:
        scores: of the answers to B queries, (B, C).
        content_free: from :func:`content_free_scores`, in the same setting, (C,).

    Returns:
        float64, (B, C).
    """
    return scores.double() - content_free
