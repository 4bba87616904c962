"""What a token copies from others."""

from typing import Any

import torch
from torch import Tensor

from iclgd.metrics.functional import copying_norms
from iclgd.metrics.mean import RunningMean
from iclgd.metrics.shapes import check_layout


class Copying(RunningMean):
    r"""How strongly a token depends on itself, on the next and on the other input tokens; [vO] section 4.

    .. math:: \frac{1}{T - 2} \sum_t \Big| \frac{1}{B} \sum_b \frac{\partial h_{bt}}{\partial e_{bt'}} \Big|, \quad
        t' = t,\ t + 1 \text{ or any other}

    As input to ``update`` the metric accepts

    - ``gradients`` (:class:`~torch.Tensor`): of tokens by input tokens, summed over tasks, shape ``(T - 2, T, C)``
    - ``num_tasks``: number of tasks in that sum, B

    As output of ``compute``: a dictionary of scalar tensors, see :func:`iclgd.metrics.functional.copying_norms`.

    Args:
        num_tokens: T.
        num_channels: C.

    Raises:
        ValueError: if the shape does not fit.

    Example:
        >>> metric = Copying(num_tokens=4, num_channels=1)
        >>> metric.update(10 * torch.eye(4)[:2, :, None], 5)
        >>> metric.compute()["own"]
        tensor(2.)
    """

    def __init__(self, num_tokens: int, num_channels: int, **kwargs: Any) -> None:
        super().__init__(torch.zeros(num_tokens - 2, num_tokens, num_channels), **kwargs)
        self.sizes = {"T - 2": num_tokens - 2, "T": num_tokens, "C": num_channels}

    def update(self, gradients: Tensor, num_tasks: int) -> None:
        """Add a batch."""
        check_layout(("T - 2", "T", "C"), self.sizes, gradients=gradients)
        self._add(gradients, num_tasks)

    def compute(self) -> dict[str, Tensor]:  # type: ignore[override]
        """Return the norms of the mean over everything added so far."""
        return copying_norms(self.total / self.count)
