"""Regression on a GPU gives the CPU's numbers: training, references, every learner, analyses, checkpoints."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torchmetrics import Metric

from iclgd import config as configs
from iclgd.experiments.analyses import ANALYSES
from iclgd.experiments.regression import Config, prepare
from iclgd.modules.regression import RegressionModule
from iclgd.runtime import recording
from iclgd.runtime.process import prepare_process
from iclgd.runtime.trainer import make_trainer, train_and_test
from tests.conftest import ROOT
from tests.devices.conftest import Gpu
from tests.second_device import SecondDevice, second_device

SMALL = [
    "task={num_context: 4, input_dim: 3}",
    "training.batch_size=16",
    "evaluation={every_num_steps: 3, num_tasks: 40, gd_plus_plus: optimal}",
    "trainer.max_steps=6",
]
DEEP = ["model.num_layers=2", "model.num_heads=2", "model.bias=true"]
CASES = {
    "one layer": [],
    "stacked seeds with everything": [
        *("training.num_seeds=2", "model.attention=softmax", "model.mlp=true", "model.layer_norm=true", *DEEP),
    ],
    "separate tokens": [
        *("model.tokens=separate", "model.attention=mixture", "model.in_projection=6", *DEEP),
        *("model.positional_encoding=concatenate", "model.positional_channels=4", "model.first_attention=softmax"),
    ],
    "recurrent, clipped": [
        *("model.num_layers=3", "model.recurrent=true", "model.clip=10", "trainer.precision=64-true"),
        *("evaluation.gd_plus_plus=none"),
    ],
    "sine, stacked seeds": [
        *("task={name: sine, input_dim: 1}", "training.num_seeds=2"),
        "model={in_projection: 4, input_mlp: true, init_scale: 0.1}",
    ],
}


class _WhereMetricsAre(Callback):
    """Looks at the states of all metrics before processes would add them up, which NCCL does only on a GPU."""

    def __init__(self) -> None:
        self.devices: set[str] = set()

    def on_test_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: object, **kwargs: object) -> None:
        for metric in (module for module in pl_module.modules() if isinstance(module, Metric)):
            self.devices |= {state.device.type for state in metric.metric_state.values()}


def load(accelerator: str, *overrides: str) -> Config:
    prepare_process(num_threads=1)
    where = f"trainer.accelerator={accelerator}"
    config = configs.load(ROOT / "configs" / "regression" / "one_layer.yaml", [*SMALL, *overrides, where])
    assert isinstance(config, Config)
    return config


def train(
    overrides: Sequence[str] = (),
    there: Callable[[], AbstractContextManager[Any]] | None = None,
    callbacks: Sequence[Callback] = (),
    folder: Path | None = None,
    checkpoint: Path | None = None,
) -> tuple[RegressionModule, dict[str, float]]:
    """Train on the CPU or ``there``; references are made on the CPU by all runs."""
    data, module, _ = prepare(load("cpu", *overrides))
    with there() if there else contextlib.nullcontext():
        config = load("gpu" if there else "cpu", *overrides)
        checkpoints = ModelCheckpoint(dirpath=folder) if folder is not None else None
        trainer = make_trainer(config.trainer, checkpoints, [], list(callbacks))
        return module, train_and_test(trainer, module, data, checkpoint)


def weights(module: RegressionModule) -> dict[str, torch.Tensor]:
    return {name: value.cpu() for name, value in module.state_dict().items()}


def is_close(one: dict[str, float], other: dict[str, float], tolerance: float) -> bool:
    assert one.keys() == other.keys()
    return one == pytest.approx(other, rel=tolerance, abs=tolerance)


@pytest.mark.usefixtures("same_tasks")
@pytest.mark.parametrize(
    "case",
    [
        *("one layer", "stacked seeds with everything"),
        *(pytest.param(case, marks=pytest.mark.slow) for case in list(CASES)[2:]),
    ],
)
def test_the_gpu_trains_and_measures_as_the_cpu(case: str, gpu: Gpu) -> None:
    expected, numbers = train(CASES[case])
    places = _WhereMetricsAre()
    module, found = train(CASES[case], gpu.there, [places])
    assert places.devices == {"cuda"}
    # Single precision, other kernels: sums in another order, through six steps.
    assert is_close(found, numbers, 1e-3 if gpu.is_real else 1e-5)
    for name, value in weights(expected).items():
        torch.testing.assert_close(weights(module)[name], value, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("seeds", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_bfloat16_products_on_the_gpu(seeds: int, gpu: Gpu) -> None:
    overrides = [f"training.num_seeds={seeds}"]
    _, found = train([*overrides, "trainer.precision=bf16-mixed"], gpu.there)
    _, numbers = train(overrides)
    for name in ("loss/gd", "loss/ridge"):
        assert found[name] == pytest.approx(numbers[name], rel=0.02)


def test_no_step_waits_for_the_gpu() -> None:
    """Whatever is read back (``item()``, ``tolist()``, ``bool()``) lets the GPU run dry."""
    waits = []
    for steps in (1, 3):
        device = SecondDevice()
        train([f"trainer.max_steps={steps}", "training.num_seeds=2"], lambda device=device: second_device(device))
        waits.append(device.waits)
    assert waits[0] == waits[1]
    assert waits[0].total() > 0


def test_the_clock_stops_when_the_gpu_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    monkeypatch.setattr(recording, "time", SimpleNamespace(perf_counter=lambda: events.append("read") or 0.0))

    @contextlib.contextmanager
    def there() -> Iterator[None]:
        with second_device():
            monkeypatch.setattr(torch.cuda, "synchronize", lambda _device: events.append("done"))
            yield

    train(["trainer.max_steps=3"], there, [recording.Stopwatch()])
    assert events == ["done", "read"] * 2


@pytest.mark.usefixtures("same_tasks")
def test_what_a_gpu_has_begun_goes_on_on_a_cpu(gpu: Gpu, tmp_path: Path) -> None:
    _, numbers = train()
    train(["trainer.max_steps=3"], gpu.there, folder=tmp_path)
    (checkpoint,) = tmp_path.glob("*.ckpt")
    _, found = train(checkpoint=checkpoint)
    assert is_close(found, numbers, 1e-3 if gpu.is_real else 1e-5)


@pytest.mark.slow
@pytest.mark.usefixtures("same_tasks")
def test_what_a_cpu_has_begun_goes_on_on_a_gpu(gpu: Gpu, tmp_path: Path) -> None:
    _, numbers = train()
    train(["trainer.max_steps=3"], folder=tmp_path)
    (checkpoint,) = tmp_path.glob("*.ckpt")
    _, found = train(there=gpu.there, checkpoint=checkpoint)
    assert is_close(found, numbers, 1e-3 if gpu.is_real else 1e-5)


@pytest.mark.parametrize(
    ("analyses", "overrides"),
    [
        ("out_of_distribution,iterated,which_algorithm", []),
        ("functions", [*CASES["sine, stacked seeds"], "model.input_mlp=false", "model.in_projection=null"]),
    ],
)
def test_analyses_of_models_that_come_from_a_gpu(analyses: str, overrides: list[str], gpu: Gpu) -> None:
    few = ["trainer.max_steps=1", "analysis.num_tasks=30", "analysis.num_resamples=5", "analysis.shifts=[num_noise]"]
    chosen = [*few, *overrides, f"analysis.run=[{analyses}]", "analysis.num_applications=2"]
    module, _ = train(chosen, gpu.there)
    config = load("cpu", *chosen)
    subjects = module.cpu().subjects(config.task)
    assert all(ANALYSES[name].run(subjects, config.analysis) for name in analyses.split(","))
