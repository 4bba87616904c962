"""Sequences of observations."""

from typing import NamedTuple

import torch
from torch import Tensor


class SequenceBatch(NamedTuple):
    """B sequences of T observations, and after each the next one.

    Example:
        >>> import torch
        >>> from iclgd.data.sequences import LinearSystemTask
        >>> batch = LinearSystemTask(length=6, state_dim=3).sample(5, torch.Generator())
        >>> batch.inputs.shape, torch.equal(batch.inputs[:, 1:], batch.targets[:, :-1])
        (torch.Size([5, 6, 3]), True)
    """

    inputs: Tensor  # (B, T, N)
    targets: Tensor  # (B, T, N): the observations one step later

    @classmethod
    def of(cls, observations: Tensor) -> "SequenceBatch":
        """Return the batch of T + 1 observations, (B, T + 1, N)."""
        return cls(observations[:, :-1], observations[:, 1:])

    def part(self, part: slice) -> "SequenceBatch":
        """Return some of the sequences."""
        return SequenceBatch(self.inputs[part], self.targets[part])

    def split(self, size: int) -> list["SequenceBatch"]:
        """Return the sequences in batches of at most so many."""
        return [SequenceBatch(*each) for each in zip(*(torch.split(tensor, size) for tensor in self), strict=True)]

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> "SequenceBatch":
        """Return the batch on a device, in a precision."""
        return SequenceBatch(self.inputs.to(device, dtype), self.targets.to(device, dtype))
