"""Training on sequences on a GPU gives the CPU's numbers."""

from pathlib import Path

import pytest

from iclgd import config as configs
from iclgd.data.sequences.batch import SequenceBatch
from iclgd.data.sequences.datamodule import SequenceStream
from iclgd.experiments.sequences import Config, prepare
from iclgd.runtime.process import prepare_process
from iclgd.runtime.trainer import make_trainer, train_and_test
from tests.conftest import ROOT
from tests.devices.conftest import Gpu

CONFIGS = ROOT / "configs" / "sequences"
SMALL = [
    "task={length: 20, state_dim: 3}",
    "training={batch_size: 4, warmup_steps: 2}",
    "evaluation={every_num_steps: 3, num_sequences: 6}",
    "trainer.max_steps=6",
]
CASES = {
    "mesa": (CONFIGS / "linear_system_mesa.yaml", ["model.key_size=3"]),
    "hybrid": (CONFIGS / "linear_system_hybrid.yaml", ["model.mesa_solver=conjugate", "model.mesa_steps=3"]),
    "nonlinear": (CONFIGS / "nonlinear_system_softmax.yaml", ["model.num_layers=2", "model.attention=linear"]),
    "in part": (CONFIGS / "partial_system_softmax.yaml", ["model.num_layers=2", "task.observed_dim=2"]),
}


def train(case: str, accelerator: str) -> dict[str, float]:
    prepare_process(num_threads=1)
    path, overrides = CASES[case]
    config = configs.load(Path(path), [*SMALL, *overrides, f"trainer.accelerator={accelerator}"])
    assert isinstance(config, Config)
    data, module = prepare(config)
    return train_and_test(make_trainer(config.trainer, None, [], []), module, data, None)


@pytest.mark.parametrize("case", ["mesa", *(pytest.param(case, marks=pytest.mark.slow) for case in list(CASES)[1:])])
def test_the_gpu_trains_as_the_cpu(case: str, gpu: Gpu, monkeypatch: pytest.MonkeyPatch) -> None:
    if gpu.is_real:  # whose generator has other numbers
        draw = SequenceStream._draw

        def drawn_elsewhere(self: SequenceStream, block: int) -> SequenceBatch:
            there = SequenceStream(self.task, self.seed, self.batch_size, 0, "cpu", self.dtype, self.shard)
            return draw(there, block).to(self.device)

        monkeypatch.setattr(SequenceStream, "_draw", drawn_elsewhere)
    expected = train(case, "cpu")
    with gpu.there():
        found = train(case, "gpu")
    assert found == pytest.approx(expected, rel=1e-3 if gpu.is_real else 1e-5)
