"""Named random generators: one seed in the config, one independent stream for each purpose."""

import hashlib

import torch


def named_generator(seed: int, purpose: str, device: torch.device | str = "cpu") -> torch.Generator:
    """Return the generator of one purpose, such as ``"initialization"``, for one run.

    Streams of different purposes are independent, so that drawing more evaluation tasks leaves the training
    data as they were.

    Args:
        seed: the run's seed.
        purpose: what the numbers are for; part of the derived seed.
        device: where the numbers will be drawn.

    Example:
        >>> named_generator(0, "training").initial_seed() == named_generator(0, "evaluation").initial_seed()
        False
    """
    digest = hashlib.sha256(f"{seed}/{purpose}".encode()).digest()
    # 32 bits: PyTorch's CPU generator uses no more of its seed.
    return torch.Generator(device).manual_seed(int.from_bytes(digest[:4], "little"))
