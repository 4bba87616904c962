"""Distributions of the covariates: what context inputs and queries are drawn from.

Every distribution has the variance of U(-width/2, width/2), that is width^2 / 12, so that a shift from one to another
changes the shape alone. The exponential one is not centred, as in [vO]'s code: its mean is its standard deviation.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

DISTRIBUTIONS = {
    "uniform": "uniform over [-input_range/2, input_range/2]",
    "normal": "normal, with the variance of the uniform one (as all others)",
    "exponential": "exponential, not centred: its mean is its standard deviation",
    "laplace": "Laplace: exponential to both sides",
    "mixture": "each task one of exponential, normal and Laplace",
}
MIXED = ("exponential", "normal", "laplace")


def draw_covariates(
    distribution: str,
    shapes: Sequence[tuple[int, ...]],
    width: float,
    generator: torch.Generator,
    dtype: torch.dtype = torch.float32,
) -> list[Tensor]:
    """Draw one tensor of each shape, whose last axis is the task: a task's distribution is the same in all of them.

    A mixture draws from every distribution for every task, so that the random numbers used do not depend on the choice.

    Args:
        distribution: a name in ``DISTRIBUTIONS``; ``"mixture"`` is [vO]'s ``create_ood_data`` before its normalisation.
        shapes: shapes with the same last number.
        width: of the uniform distribution; the others have its variance, width^2 / 12.
        generator: draws on its own device.
        dtype: of the result; the numbers are the same in each, up to its rounding.

    Raises:
        ValueError: for an unknown distribution.

    Example:
        >>> context, query = draw_covariates("laplace", [(4, 3, 2), (3, 2)], 1.0, torch.Generator())
        >>> context.shape, query.shape
        (torch.Size([4, 3, 2]), torch.Size([3, 2]))
    """
    if distribution != "mixture":
        return [_draw(distribution, shape, width, generator, dtype) for shape in shapes]
    chosen = torch.randint(len(MIXED), shapes[0][-1:], generator=generator, device=generator.device)
    candidates = [torch.stack([_draw(name, shape, width, generator, dtype) for name in MIXED]) for shape in shapes]
    return [drawn.gather(0, chosen.expand(1, *drawn.shape[1:]))[0] for drawn in candidates]


def draw_uniform(
    shape: tuple[int, ...], width: float, generator: torch.Generator, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Draw from U(-width/2, width/2) with every bit of single precision's significand random."""
    # The integers behind torch.rand, drawn directly: the same distribution in 2/3 of the time.
    half = 1 << 23
    integers = _empty(shape, generator).random_(-half, half, generator=generator)
    return integers.to(dtype).mul_(width / (2 * half))


def _draw(
    distribution: str, shape: tuple[int, ...], width: float, generator: torch.Generator, dtype: torch.dtype
) -> Tensor:
    deviation = width / math.sqrt(12)
    # In single precision PyTorch scales as it draws; in others the same numbers are scaled with all digits.
    drawn, then = (deviation, 1.0) if dtype == torch.float32 else (1.0, deviation)
    match distribution:
        case "uniform":
            return draw_uniform(shape, width, generator, dtype)
        case "normal":
            return _empty(shape, generator).normal_(0, drawn, generator=generator).to(dtype).mul_(then)
        case "exponential":
            return _empty(shape, generator).exponential_(1 / drawn, generator=generator).to(dtype).mul_(then)
        case "laplace":  # the difference of two exponentials, of half the variance each
            rate = math.sqrt(2) / drawn
            other, one = (
                _empty(shape, generator).exponential_(rate, generator=generator).to(dtype).mul_(then) for _ in range(2)
            )
            return one.sub_(other)
    raise ValueError(f"distribution must be one of: {', '.join(DISTRIBUTIONS)}; got {distribution!r}")


def _empty(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Return what random numbers are drawn into: single precision, so that they are the same in all."""
    return torch.empty(shape, dtype=torch.float32, device=generator.device)
