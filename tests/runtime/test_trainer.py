import os
import signal

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from iclgd.experiments.regression import prepare
from iclgd.runtime.trainer import DeviceConfig, KeepThreads, make_trainer
from tests.modules.test_regression import small


@pytest.mark.parametrize(
    ("omp", "cores", "devices", "expected"),
    [("8", 4, 2, 4), ("6,2", 4, 1, 6), (None, 4, 2, 2), (None, 4, 3, 1), ("", 4, 1, 4), ("1", 4, 4, 1), ("x", 4, 1, 4)],
)
def test_all_cores_are_those_that_this_process_may_use(
    monkeypatch: pytest.MonkeyPatch, omp: str | None, cores: int, devices: int, expected: int
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if omp is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", omp)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    config = DeviceConfig(accelerator="cpu", devices=devices, num_threads=0)
    assert config.threads_per_process == expected
    assert DeviceConfig(accelerator="cpu", devices=devices, num_threads=3).threads_per_process == 3


def test_without_affinities_all_cores_are_divided(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    assert DeviceConfig(accelerator="cpu", devices=4, num_threads=0).threads_per_process == 16


class Watch(Callback):
    """Sees what training does to the process."""

    def __init__(self) -> None:
        self.handlers: list[object] = []

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.handlers.append(signal.getsignal(signal.SIGTERM))


def test_lightning_leaves_sigterm_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def handler(*_: object) -> None: ...

    before = signal.signal(signal.SIGTERM, handler)
    try:
        config, watch = small("trainer.max_steps=40"), Watch()
        data, module, _ = prepare(config)
        make_trainer(config.trainer, None, [], [watch]).fit(module, data)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert watch.handlers == [handler, handler]


def test_the_number_of_threads_is_given_back() -> None:
    keep = KeepThreads()
    torch.set_num_threads(2)
    keep.setup(None, None, "fit")  # type: ignore[arg-type]
    assert torch.get_num_threads() == 1
