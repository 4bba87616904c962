"""Orders of the same demonstrations, all different."""

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from iclgd.data.prompt_tokens import PromptError
from iclgd.data.seeding import named_generator

if TYPE_CHECKING:
    from iclgd.data.prompts import Prompts

Order = tuple[int, ...]


def permutation_of(num: int, seed: int, permutation: int) -> Order:
    """Return the places of ``num`` demonstrations in one of their shuffles.

    Args:
        num: of demonstrations.
        seed: with which they are drawn.
        permutation: the number of the shuffle, from 1.
    """
    generator = named_generator(seed, f"demonstrations/permutation/{permutation}")
    return tuple(torch.randperm(num, generator=generator).tolist())


def more_orders(num: int, num_orders: int, seed: int) -> tuple[Order, ...]:
    """Return ``num_orders - 1`` orders of ``num`` demonstrations that differ from theirs and from one another.

    They are the first shuffles, as ``demonstrations.permutation`` counts them, that do.

    Args:
        num: of demonstrations.
        num_orders: the demonstrations' own included.
        seed: with which they are drawn.

    Raises:
        PromptError: if there are not so many orders.

    Example:
        >>> more_orders(3, num_orders=3, seed=0)
        ((1, 0, 2), (1, 2, 0))
    """
    if num_orders > math.factorial(min(num, 20)):  # of 20 there are more than anyone can ask for
        count = f"{num} demonstration{'s' * (num > 1)}"
        raise PromptError(
            f"demonstrations.num_orders must be at most {math.factorial(num)}, the orders of {count}; got {num_orders}"
        )
    found = {tuple(range(num)): None}
    permutation = 1
    while len(found) < num_orders:
        found[permutation_of(num, seed, permutation)] = None
        permutation += 1
    return tuple(found)[1:]


def reordered(prompts: "Prompts", order: Order) -> "Prompts":
    """Return prompts with the demonstrations in another order, token by token as they are.

    Args:
        prompts: whose demonstrations.
        order: which of them stands in each of the places.
    """
    return replace(
        prompts,
        demonstrations=tuple(prompts.demonstrations[index] for index in order),
        demonstration_labels=tuple(prompts.demonstration_labels[index] for index in order),
    )
