"""Every test here that asks for ``gpu`` runs on a simulated GPU, and with ``pytest -m gpu`` on a real one."""

import contextlib
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch

from iclgd.data import RegressionBatch, language_datamodule
from iclgd.data.datamodules import TaskStream
from iclgd.data.few_shot_language import TokenBatch
from tests.second_device import second_device


class Gpu(NamedTuple):
    """A GPU; what is done within ``there()`` can see it."""

    there: Callable[[], contextlib.AbstractContextManager[Any]]
    is_real: bool


@pytest.fixture(params=["simulated", pytest.param("real", marks=pytest.mark.gpu)])
def gpu(request: pytest.FixtureRequest) -> Gpu:
    if request.param == "simulated":
        return Gpu(second_device, False)
    if not torch.cuda.is_available():
        pytest.fail("pytest -m gpu needs a CUDA GPU, and PyTorch sees none")
    return Gpu(contextlib.nullcontext, True)


@pytest.fixture
def same_tasks(gpu: Gpu, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a real GPU train on the tasks that the CPU draws: its own generator has other numbers (the simulated not)."""
    if not gpu.is_real:
        return
    draw, draw_batch = TaskStream._draw, language_datamodule.training_batch

    def drawn_elsewhere(self: TaskStream, seed: int, block: int) -> list[RegressionBatch]:
        there = TaskStream(self.task, self.seeds, self.batch_size, 0, "cpu", self.dtype, self.shard)
        return [RegressionBatch(*(part.to(self.device) for part in batch)) for batch in draw(there, seed, block)]

    def batch_drawn_elsewhere(*arguments: Any) -> TokenBatch:
        *others, device, shard = arguments
        return draw_batch(*others, "cpu", shard).to(device)

    monkeypatch.setattr(TaskStream, "_draw", drawn_elsewhere)
    monkeypatch.setattr(language_datamodule, "training_batch", batch_drawn_elsewhere)
