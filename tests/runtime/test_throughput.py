import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from iclgd.models.gpt import GPTConfig, build_gpt
from iclgd.modules.language_modeling import LanguageModelingModule, TrainingConfig
from iclgd.runtime.throughput import peak_flops, utilization


def test_flops_per_token_are_those_that_pytorch_counts() -> None:
    config = GPTConfig(num_layers=2, num_heads=2, hidden_size=16, context_length=32)
    module = LanguageModelingModule(build_gpt(config, 50, torch.Generator()), TrainingConfig(), "text")
    tokens = torch.randint(50, (3, 25))
    module.model.set_attn_implementation("eager")  # all products are counted, those that a mask hides too
    with FlopCounterMode(display=False) as counter:
        module.model(tokens[:, :-1]).logits.sum().backward()
    assert module.flops_per_token(24) * 3 * 24 == counter.get_total_flops()


@pytest.mark.parametrize(
    ("name", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", 989.4e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("NVIDIA L4", 121e12),
        ("NVIDIA L40", None),
        ("NVIDIA H200", 989.4e12),
        ("NVIDIA H100 NVL", 835e12),
        ("NVIDIA L40S", 362e12),
        ("NVIDIA GeForce RTX 4090", 165.2e12),
        ("Tesla V100-SXM2-16GB", None),  # has no bfloat16
        ("Quadro RTX 6000", None),
    ],
)
def test_the_peak_is_that_of_the_whole_name(name: str, peak: float | None) -> None:
    assert peak_flops(name) == peak


def test_utilization_is_known_where_the_peak_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA A100-SXM4-40GB")
    assert utilization(156e12, torch.device("cuda"), "bf16-mixed") == 0.5
    assert utilization(156e12, torch.device("cuda"), "32-true") is None
    assert utilization(156e12, torch.device("cpu"), "bf16-mixed") is None
