"""Functions that a task has drawn: one for each prompt, called on all of them at once."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields, replace
from typing import Self

import torch
from torch import Tensor


@dataclass(frozen=True)
class Functions(ABC):
    """B functions of D inputs, one for each prompt.

    The fields of a subclass are its parameters, tensors whose first axis is the function. Every class is linear in its
    last parameter: that is the one that scales multiply.
    """

    @abstractmethod
    def __call__(self, x: Tensor) -> Tensor:
        """Return the functions' values at their inputs, (B, N, D) -> (B, N)."""

    def parameters(self) -> dict[str, Tensor]:
        """Return the parameters by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def select(self, index: Tensor) -> Self:
        """Return the functions with these indices, (B',), which may repeat."""
        return type(self)(*(parameter[index] for parameter in self.parameters().values()))

    def to(self, device: torch.device, dtype: torch.dtype) -> Self:
        """Return the functions on a device, with their real parameters in ``dtype``."""
        converted = (
            parameter.to(device, dtype if parameter.is_floating_point() else None)
            for parameter in self.parameters().values()
        )
        return type(self)(*converted)

    def scaled(self, factor: float | Tensor) -> Self:
        """Return the functions times a number."""
        *_, (name, last) = self.parameters().items()
        return replace(self, **{name: last * factor})
