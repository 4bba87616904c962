"""What learners share that predict at every position of a prompt in one call."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor


class EveryPositionLearner(ABC):
    """A learner that answers, at every position i of a prompt, from the examples before it; position 0 has none.

    A subclass computes positions; the call of a predictor, ``(x, y, query) -> prediction``, asks it at the position
    behind the last example.
    """

    @abstractmethod
    def _predict(self, x: Tensor, y: Tensor, query: Tensor, positions: list[int]) -> Tensor:
        """Return predictions, (B, P)."""

    def at_every_position(
        self, x: Tensor, y: Tensor, query: Tensor | None = None, positions: Sequence[int] | None = None
    ) -> Tensor:
        """Predict at every position, each from the examples before it.

        Args:
            x: inputs of the examples, (B, N, D).
            y: their targets, (B, N).
            query: what is asked at each position, (B, N, D); the examples' inputs if ``None``.
            positions: P positions from 0 to N - 1, in any order; ``None`` for all.

        Returns:
            Predictions in the order of the positions, (B, P), in the type of x.

        Raises:
            ValueError: for shapes that do not fit, or a position that the prompt does not have.
        """
        query = x if query is None else query
        if x.shape[:2] != y.shape or query.shape != x.shape:
            shapes = ", ".join(f"{tuple(tensor.shape)}" for tensor in (x, y, query))
            raise ValueError(f"x, y and query must have the shapes (B, N, D), (B, N) and (B, N, D), got {shapes}")
        num_points = y.shape[1]
        chosen = list(range(num_points) if positions is None else positions)
        for position in chosen:
            if not 0 <= position < num_points:
                raise ValueError(f"positions must be from 0 to {num_points - 1}, got {position}")
        return self._predict(x, y.to(x), query.to(x), chosen).to(x)

    def __call__(self, x: Tensor, y: Tensor, query: Tensor) -> Tensor:
        """Predict the query's target, (B, N, D), (B, N, O), (B, D) -> (B, O); each output by itself."""
        num_points = x.shape[1]
        inputs = torch.cat([x, query[:, None]], 1)
        targets = torch.cat([y, y.new_zeros(len(y), 1, y.shape[2])], 1)  # the query's target is not looked at
        outputs = [self.at_every_position(inputs, output, positions=[num_points]) for output in targets.unbind(-1)]
        return torch.cat(outputs, -1)


def batches(size: int, *tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Yield the prompts in batches: what is computed of a batch has to fit into the cache."""
    return zip(*(torch.split(tensor, size) for tensor in tensors), strict=True)
