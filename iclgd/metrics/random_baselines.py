"""Random numbers that belong to a query: the same for every batch size and number of processes."""

import hashlib
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

UPDATE_KINDS = ("gaussian", "uniform")


def query_generators(indices: Tensor, seed: int, purpose: str) -> Iterator[torch.Generator]:
    """Yield for each query the generator (on the CPU) of its own stream, which depends on nothing but the arguments.

    Args:
        indices: the queries' places in the data set, integers, (B,).
        seed: the run's seed.
        purpose: what the numbers are for; different purposes have independent streams.

    Raises:
        ValueError: if the indices are not a vector of integers.

    Example:
        >>> first, again, other = (each.initial_seed() for each in query_generators(torch.tensor([5, 5, 6]), 0, "rest"))
        >>> first == again, first == other
        (True, False)
    """
    if indices.dim() != 1 or indices.dtype.is_floating_point or indices.dtype.is_complex or indices.dtype == torch.bool:
        raise ValueError(f"indices must be a vector of integers, got {indices.dtype} of shape {tuple(indices.shape)}")
    generator = torch.Generator()
    for index in indices.tolist():
        digest = hashlib.sha256(f"{seed}/{purpose}/{index}".encode()).digest()
        # 32 bits: PyTorch's CPU generator uses no more of its seed.
        yield generator.manual_seed(int.from_bytes(digest[:4], "little"))


def random_updates(indices: Tensor, shape: Sequence[int], seed: int, kind: str) -> Tensor:
    r"""Draw random updates of attention outputs, what :class:`iclgd.metrics.RandomSimAOU` compares with.

    .. math:: u_{blc} \sim N(0, 1) \text{ or } U(0, 1)

    Args:
        indices: the queries' places in the data set, integers, (B,).
        shape: (L, C).
        seed: the run's seed.
        kind: ``"gaussian"``, standard normal numbers: directions of all kinds, the expected similarity is 0; or
            ``"uniform"``, numbers from U(0, 1), as published ([Dai]'s code): all positive, so that the
            expected similarity is that with the vector of ones.

    Returns:
        float64, (B, L, C), on the indices' device.

    Raises:
        ValueError: if the kind is unknown or the indices are not a vector of integers.

    Example:
        >>> updates = random_updates(torch.tensor([3, 4]), (2, 1000), seed=0, kind="uniform")
        >>> updates.shape, bool((updates > 0).all())
        (torch.Size([2, 2, 1000]), True)
    """
    if kind not in UPDATE_KINDS:
        raise ValueError(f"kind must be one of {', '.join(UPDATE_KINDS)}, got {kind!r}")
    draw = torch.randn if kind == "gaussian" else torch.rand
    updates = torch.empty(indices.numel(), *shape, dtype=torch.float64)
    for update, generator in zip(updates, query_generators(indices, seed, f"updates/{kind}"), strict=True):
        draw(*shape, generator=generator, out=update)
    return updates.to(indices.device)


def random_scores(indices: Tensor, shape: Sequence[int], seed: int) -> Tensor:
    r"""Draw scores of demonstration tokens or demonstrations: the baseline of the rank measures; [Dai] section 4.

    .. math:: u_{bln} \sim U(0, 1)

    Args:
        indices: the queries' places in the data set, integers, (B,).
        shape: such as (L, N).
        seed: the run's seed.

    Returns:
        float64, (B, *shape), on the indices' device.

    Raises:
        ValueError: if the indices are not a vector of integers.

    Example:
        >>> together = random_scores(torch.tensor([3, 4]), (2, 5), seed=0)
        >>> torch.equal(together[1:], random_scores(torch.tensor([4]), (2, 5), seed=0))
        True
    """
    scores = torch.empty(indices.numel(), *shape, dtype=torch.float64)
    for score, generator in zip(scores, query_generators(indices, seed, "scores"), strict=True):
        torch.rand(*shape, generator=generator, out=score)
    return scores.to(indices.device)
