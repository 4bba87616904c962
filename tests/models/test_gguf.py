"""Language models of llama.cpp's files beside Hugging Face twins that hold the same weights."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from transformers import PreTrainedModel

from iclgd.models import loading
from iclgd.models.language import LanguageModelError, untrained_twin
from iclgd.models.loading import LanguageModelConfig, load_language_model, load_tokenizer
from tests.gguf_files import in_blocks, write_gguf
from tests.language_models import random_tokens, tiny_model, tiny_tokenizer

STORED: dict[str, Callable[[Any], Any]] = {
    "F32": lambda values: values,
    "F16": lambda values: values.astype(np.float16).astype(np.float32),
    "Q8_0": in_blocks,
}


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_gguf(tmp_path / "tiny.gguf", tiny_model("llama"), tiny_tokenizer())


def stored(model: PreTrainedModel, kind: str) -> PreTrainedModel:
    """Return a model with its matrices as a type of the format keeps them."""
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.data = torch.from_numpy(STORED[kind](parameter.numpy()))
    return model


def message(action: Callable[[], object]) -> str:
    with pytest.raises(LanguageModelError) as error:
        action()
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("kind", STORED)
def test_a_file_is_the_model_that_it_holds(tmp_path: Path, kind: str, capfd: pytest.CaptureFixture[str]) -> None:
    path = write_gguf(tmp_path / "tiny.gguf", tiny_model("llama"), tiny_tokenizer(), kind)
    twin, tokens = stored(tiny_model("llama"), kind), random_tokens(2, 17)
    loaded = load_language_model(LanguageModelConfig(str(path)), 0)
    assert {parameter.dtype for parameter in loaded.model.parameters()} == {torch.float32}
    with torch.no_grad():
        found, expected = loaded.model(input_ids=tokens).logits, twin(input_ids=tokens).logits
    assert (found - expected).abs().max() < 1e-5
    assert loaded.max_length == 512
    half = load_language_model(LanguageModelConfig(str(path), dtype="bfloat16"), 0)
    assert half.dtype == untrained_twin(half, 0).dtype == torch.bfloat16
    assert capfd.readouterr() == ("", "")


def test_the_tokenizer_is_in_the_file(file: Path) -> None:
    loaded, own = load_tokenizer(LanguageModelConfig(str(file))), tiny_tokenizer()
    for text in ("Day: the rain and the sun It is good", "ü \n quite bad", " good"):
        assert loaded(text)["input_ids"] == own(text)["input_ids"]
        ids = own(text, add_special_tokens=False)["input_ids"]
        assert loaded(text, add_special_tokens=False)["input_ids"] == ids
        assert loaded.decode(ids) == text
    assert (loaded.bos_token, loaded.eos_token) == ("<s>", "</s>")


def test_a_file_has_a_shape_for_random_weights(file: Path) -> None:
    model = load_language_model(LanguageModelConfig(str(file), untrained=True), 3)
    assert model.num_layers == tiny_model("llama").config.num_hidden_layers


def test_files_that_cannot_be_read_are_one_line(file: Path, tmp_path: Path) -> None:
    def of(path: Path) -> list[str]:
        config = LanguageModelConfig(str(path))
        return [message(lambda: load_language_model(config, 0)), message(lambda: load_tokenizer(config))]

    for found in of(tmp_path / "tniy.gguf"):
        assert found.endswith(f": there is no file {tmp_path / 'tniy.gguf'}; did you mean {file}?")
    for found in of(Path("nobody/nothing/tiny.gguf")):
        assert "nobody/nothing/tiny.gguf is no file, and no " in found
    content = file.read_bytes()
    for name, data in (("other", b"something else"), ("empty", b""), ("short", content[: len(content) // 2])):
        path = tmp_path / f"{name}.gguf"
        path.write_bytes(data)
        for found, what in zip(of(path), ("model", "tokenizer"), strict=True):
            assert f": the {what} in {path} cannot be loaded (" in found
    writer = gguf.GGUFWriter(tmp_path / "unknown.gguf", "starcoder9")
    writer.add_name("unknown")
    for write in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file):
        write()
    writer.close()
    for found in of(tmp_path / "unknown.gguf"):
        assert "starcoder9" in found
    assert f"did you mean {tmp_path / 'empty.gguf'}?" in message(
        lambda: load_language_model(LanguageModelConfig(str(tmp_path)), 0)
    )


@pytest.mark.parametrize("package", loading.GGUF_PACKAGES)
def test_without_its_packages_a_file_is_refused(file: Path, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(loading, "find_spec", lambda name: None if name == package else find(name))
    expected = f"{file} needs the package {package}; install iclgd[gguf]"
    config = LanguageModelConfig(str(file))
    assert message(lambda: load_language_model(config, 0)) == f"model.name: {expected}"
    assert message(lambda: load_tokenizer(config)) == f"model.tokenizer (or model.name): {expected}"
