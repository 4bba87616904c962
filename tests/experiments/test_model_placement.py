"""Whole runs of models in other precisions and places than the trainer's, and what is refused."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from iclgd.tracking.run_directory import RunDirectory
from tests.gguf_files import write_gguf
from tests.language_models import save, tiny_model, tiny_tokenizer, write_task

Cli = Callable[..., tuple[int, str, str]]
UNSTEADY = {"queries_per_second", "peak_memory_bytes"}
TOLERANCES = {
    "bfloat16": 0.02,
    "float16": 0.003,
}  # of means over 23 queries and 3 layers: their rounding is 8 times finer
MEANS = ("sim_aou", "sim_am", "sim_am_zero_shot", "update_similarity")  # which no rank or best answer decides


@pytest.fixture
def config(tmp_path: Path) -> Path:
    save(tmp_path / "llama", tiny_model("llama"), tiny_tokenizer())
    path = tmp_path / "small.yaml"
    path.write_text(
        f"experiment: text\n"
        f"model: {{name: {tmp_path / 'llama'}}}\n"
        f"task: {{name: {write_task(tmp_path)}}}\n"
        "demonstrations: {num: 4}\n"
        "finetune: {learning_rate: 0.1}\n"
        "evaluation: {num_replicates: 0, controls: [untrained]}\n"
        "tracking: {mode: disabled}\n"
    )
    return path


def summary(result: tuple[int, str, str]) -> dict[str, float]:
    code, out, err = result
    assert code == 0, err
    found = RunDirectory(Path(out.splitlines()[-1])).read_summary()
    assert found is not None
    return {name: value for name, value in found.items() if name not in UNSTEADY}


def test_a_model_in_another_place_or_file_gives_the_same_numbers(cli: Cli, config: Path, tmp_path: Path) -> None:
    expected = summary(cli("run", config))
    for device_map in ("cpu", "auto"):  # without a GPU both are the CPU
        found = summary(cli("run", config, f"model.device_map={device_map}", "trainer.accelerator=auto"))
        assert found == pytest.approx(expected, abs=0, nan_ok=True)
    file = write_gguf(tmp_path / "tiny.gguf", tiny_model("llama"), tiny_tokenizer())
    assert summary(cli("run", config, f"model.name={file}")) == pytest.approx(expected, abs=1e-5, nan_ok=True)


@pytest.mark.parametrize("dtype", TOLERANCES)
def test_half_precision_is_near_single_with_the_same_weights(
    cli: Cli, config: Path, tmp_path: Path, dtype: str
) -> None:
    rounded = tiny_model("llama").to(getattr(torch, dtype))
    folder = save(tmp_path / "rounded", rounded, tiny_tokenizer())
    single = summary(cli("run", config, f"model.name={folder}"))
    half = summary(cli("run", config, f"model.name={folder}", "model.dtype=auto"))
    for name in (*MEANS, *(f"untrained/{name}" for name in MEANS)):
        assert half[name] == pytest.approx(single[name], abs=TOLERANCES[dtype]), name
    assert half["sim_aou"] != single["sim_aou"]
    assert all(math.isfinite(value) for name, value in half.items() if "rec2ftp" not in name)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["model.dtype=half"], "model.dtype must be one of: float32, bfloat16, float16, auto; got 'half'"),
        (
            ["model.dtype=float16", "trainer.precision=bf16-mixed"],
            "model.dtype=float16 needs trainer.precision=32-true",
        ),
        (["model.dtype=auto", "trainer.precision=64-true"], "model.dtype=auto needs trainer.precision=32-true"),
        (
            ["model.device_map=cpu", "trainer.precision=bf16-true"],
            "model.device_map=cpu needs trainer.precision=32-true",
        ),
        (["model.device_map=gpu"], "model.device_map must be one of: auto, cpu; got 'gpu'"),
        (
            ["model.device_map=auto", "trainer.devices=2", "trainer.strategy=ddp"],
            "model.device_map=auto takes all GPUs of a node for one process: trainer.devices must be 1, got 2",
        ),
        (
            ["model.device_map=auto", "trainer.accelerator=cpu"],
            "model.device_map=auto contradicts trainer.accelerator=cpu",
        ),
        (["model.device_map=cpu", "model.untrained=true"], "model.device_map goes with trained weights"),
        (["model.quantization=int4"], "model.quantization must be one of: int8; got 'int4'"),
        (["model.quantization=int8"], "model.quantization=int8 needs a GPU, and PyTorch sees none"),
        (
            ["model.quantization=int8", "model.device_map=cpu"],
            "model.quantization=int8 contradicts model.device_map=cpu",
        ),
        (["model.quantization=int8", "trainer.devices=2"], "model.quantization=int8 takes all GPUs of a node"),
        (["model.quantization=int8", "model.name=some.gguf"], "model.quantization=int8 does not go with a GGUF file"),
    ],
)
def test_contradictions_are_one_line(
    cli: Cli, config: Path, tmp_path: Path, overrides: list[str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    code, out, err = cli("run", config, *overrides)
    assert (code, out) == (2, ""), err
    assert err.startswith("iclgd: ")
    assert err.count("\n") == 1, err
    assert expected in err
    assert not (tmp_path / "runs").exists()


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_8_bit_weights_are_near_single(cli: Cli, config: Path, dtype: str) -> None:
    expected = summary(cli("run", config))
    found: dict[str, Any] = summary(cli("run", config, "model.quantization=int8", f"model.dtype={dtype}"))
    for name in MEANS:
        assert found[name] == pytest.approx(expected[name], abs=0.1), name
