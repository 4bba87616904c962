"""The published implementations' arrays of function classes: see tests/reference/functions/README.md."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

FOLDER = Path(__file__).parent / "reference" / "functions"


def arrays(name: str) -> dict[str, Tensor]:
    """Return a file's arrays as tensors, real ones in double precision."""
    with np.load(FOLDER / f"{name}.npz") as stored:
        tensors = {key: torch.from_numpy(np.asarray(stored[key])) for key in stored.files}
    return {key: value.double() if value.is_floating_point() else value for key, value in tensors.items()}


def numbers(name: str) -> Any:
    """Return what a JSON file holds."""
    return json.loads((FOLDER / f"{name}.json").read_text())
