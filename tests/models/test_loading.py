"""What loading needs of the machine, and which modules 8-bit weights leave out."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from iclgd.models import loading
from iclgd.models.language import LanguageModelError
from iclgd.models.loading import LanguageModelConfig, load_language_model, unquantized_modules
from iclgd.models.weight_sharing import sharing_weights
from tests.language_models import LAYERS, save, tiny, tiny_model


def message(action: Callable[[], object]) -> str:
    with pytest.raises(LanguageModelError) as error:
        action()
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("keys", "package", "expected"),
    [
        (
            {"device_map": "cpu"},
            "accelerate",
            "model.device_map=cpu needs the package accelerate; install iclgd[accelerate]",
        ),
        (
            {"quantization": "int8"},
            "bitsandbytes",
            "model.quantization=int8 needs the package bitsandbytes; install iclgd[bitsandbytes]",
        ),
    ],
)
def test_packages_that_are_not_there_are_named(
    keys: dict[str, str], package: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "find_spec", lambda name: None if name == package else name)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert message(lambda: load_language_model(LanguageModelConfig("embedded", **keys), 0)) == expected


def test_a_part_without_room_on_the_gpus_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = save(tmp_path / "llama", tiny_model("llama"))
    original = loading.AutoModelForCausalLM.from_pretrained

    def offloaded(*arguments: object, **keys: object) -> object:
        model, found = original(*arguments, **keys)
        model.model.layers[-1].to("meta")  # what accelerate leaves of a part that waits on the CPU
        return model, found

    monkeypatch.setattr(loading.AutoModelForCausalLM, "from_pretrained", offloaded)
    found = message(lambda: load_language_model(LanguageModelConfig(str(folder), device_map="auto"), 0))
    expected = (
        f"model.name={folder}: the GPUs here have no room for model.layers.{LAYERS - 1}.self_attn.q_proj.weight ("
    )
    assert found.startswith(expected)


@pytest.mark.parametrize("name", ["llama", "gpt2", "falcon"])
def test_finetuned_parts_and_the_head_are_not_quantized(name: str) -> None:
    kept = unquantized_modules(name, tiny_model(name).config)
    model = tiny(name)
    parameters = {id(part.parameter) for layer in model.layers for part in layer.projections}
    parameters.add(id(model.model.get_output_embeddings().weight))
    modules = {each: model.model.get_submodule(each) for each in kept}
    assert {id(module.weight) for module in modules.values()} <= parameters
    assert {id(each) for module in modules.values() for each in module.parameters()} >= parameters


def test_weights_of_a_class_of_their_own_keep_it_and_their_attributes() -> None:
    class Scaled(nn.Parameter):
        scale: torch.Tensor

    model = nn.Linear(2, 2)
    weight = Scaled(model.weight.detach())
    weight.scale = torch.ones(2)
    model.weight = weight
    copied = sharing_weights(model).weight
    assert isinstance(copied, Scaled)
    assert copied is not weight
    assert copied.data_ptr() == weight.data_ptr()
    assert copied.scale is weight.scale
    copied.scale = torch.zeros(2)
    assert weight.scale.any()
