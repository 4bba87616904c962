"""Language modelling on a GPU gives the CPU's numbers, and a model that can be loaded without one."""

from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM
from transformers import PreTrainedTokenizerBase as Tokenizer

from iclgd import config as configs
from iclgd.experiments.language_modeling import Config, prepare, write_model
from iclgd.modules.language_modeling import LanguageModelingModule
from iclgd.runtime.process import prepare_process
from iclgd.runtime.trainer import make_trainer, train_and_test
from tests.conftest import ROOT
from tests.devices.conftest import Gpu

SMALL = [
    "task={num_demonstrations: 5, num_words: 2}",
    "model={num_layers: 1, num_heads: 2, hidden_size: 16, context_length: 32}",
    "training={batch_size: 4, warmup_steps: 2, growth_steps: 3}",
    "evaluation={every_num_steps: 3, num_sequences: 6}",
    "trainer.max_steps=6",
]


def train(accelerator: str, precision: str) -> tuple[Tokenizer, LanguageModelingModule, dict[str, float]]:
    prepare_process(num_threads=1)
    overrides = [*SMALL, f"trainer.accelerator={accelerator}", f"trainer.precision={precision}"]
    config = configs.load(ROOT / "configs" / "language_modeling" / "embedded_model.yaml", overrides)
    assert isinstance(config, Config)
    data, module = prepare(config)
    numbers = train_and_test(make_trainer(config.trainer, None, [], []), module, data, None)
    return data.make_tokenizer(config.model.context_length), module, numbers


@pytest.mark.usefixtures("same_tasks")
@pytest.mark.parametrize("precision", [pytest.param("32-true", marks=pytest.mark.slow), "bf16-mixed"])
def test_the_gpu_trains_as_the_cpu(precision: str, gpu: Gpu, tmp_path: Path) -> None:
    _, _, numbers = train("cpu", precision)
    with gpu.there():
        tokenizer, module, found = train("gpu", precision)
        write_model(module.model, tokenizer, tmp_path / "model")
    kernels = {"32-true": 1e-3, "bf16-mixed": 0.02}[precision] if gpu.is_real else 1e-5
    losses = {name: value for name, value in numbers.items() if "loss" in name}
    assert {name: found[name] for name in losses} == pytest.approx(losses, rel=kernels)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert model.num_parameters() == module.model.num_parameters()
