"""The published implementation's arrays of sequences: see tests/reference/sequences/README.md."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

FOLDER = Path(__file__).parent / "reference" / "sequences"


def arrays(name: str) -> dict[str, Tensor]:
    """Return a file's arrays as tensors in double precision."""
    with np.load(FOLDER / f"{name}.npz") as stored:
        return {key: torch.from_numpy(np.asarray(stored[key])).double() for key in stored.files}


def deviation(ours: Tensor, reference: Tensor) -> float:
    """Return the largest difference over the largest reference value."""
    assert ours.shape == reference.shape
    return ((ours - reference).abs().max() / reference.abs().max()).item()
