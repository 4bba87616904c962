"""Decision trees of the inputs' signs."""

from dataclasses import dataclass

import torch
from torch import Tensor

from iclgd import checks
from iclgd.data.functions.drawn import Functions
from iclgd.data.functions.task import FunctionTask

MOST_DEPTH = 20  # a million leaves a function


@dataclass(frozen=True)
class DecisionTrees(Functions):
    """Full binary trees: a node asks for the sign of one coordinate, and its right child follows where it is positive.

    Nodes are in heap order: those below node n are 2n + 1, left, and 2n + 2, right. Zero goes left.

    Example:
        >>> stump = DecisionTrees(torch.tensor([[1]]), torch.tensor([[-1.0, 1.0]]))
        >>> stump(torch.tensor([[[5.0, -2.0], [5.0, 0.0], [-5.0, 2.0]]]))
        tensor([[-1., -1.,  1.]])
    """

    coordinates: Tensor  # of the nodes with children, integers, (B, 2^depth - 1)
    values: Tensor  # of the leaves, (B, 2^depth)

    def __call__(self, x: Tensor) -> Tensor:
        """Return the functions' values at their inputs, (B, N, D) -> (B, N)."""
        num_inner = self.coordinates.shape[1]
        is_positive = x > 0
        node = torch.zeros(x.shape[:2], dtype=torch.long, device=x.device)
        for _ in range(num_inner.bit_length()):
            coordinate = self.coordinates.gather(1, node)
            node = 2 * node + 1 + is_positive.gather(2, coordinate[..., None]).squeeze(-1).long()
        return self.values.gather(1, node - num_inner)


@dataclass(frozen=True)
class DecisionTreeTask(FunctionTask):
    """Decision trees whose nodes ask for any coordinate and whose leaves are from N(0, 1); Garg et al. 2022, section 5.

    Trees have no pool: two with other coordinates may be the same function.
    """

    name: str = "decision_tree"
    depth: int = 4
    """Questions from the root to a leaf."""

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.at_least(1, "task", self, "depth", most=MOST_DEPTH)
        if self.num_tasks:
            raise ValueError(f"task.num_tasks must be 0 with task.name={self.name}, got {self.num_tasks}")

    @property
    def mean_square(self) -> int:
        """1, that of a leaf."""
        return 1

    @property
    def baselines(self) -> tuple[str, ...]:
        """Learners of trees."""
        return ("greedy_tree", "boosted_trees", "nearest_neighbors", "least_squares")

    def _draw(self, num_functions: int, generator: torch.Generator) -> DecisionTrees:
        num_leaves, device = 2**self.depth, generator.device
        shape = (num_functions, num_leaves - 1)
        coordinates = torch.randint(self.input_dim, shape, generator=generator, device=device)
        values = torch.randn(num_functions, num_leaves, generator=generator, device=device, dtype=torch.float32)
        return DecisionTrees(coordinates, values)
