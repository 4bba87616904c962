"""Loading language models and finding their key and value projections."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import DynamicCache, MptConfig, MptForCausalLM
from transformers.pytorch_utils import Conv1D

from iclgd.analysis.attention_capture import capture_queries
from iclgd.models import loading
from iclgd.models.language import LanguageModel, LanguageModelError, untrained_twin, wrap
from iclgd.models.loading import LanguageModelConfig, load_language_model, load_tokenizer
from iclgd.models.projections import KeyValueProjection, find_projections
from tests.language_models import (
    ARCHITECTURES,
    HEADS,
    HIDDEN,
    LAYERS,
    VOCABULARY,
    architecture,
    query_batch,
    random_model,
    save,
    tiny,
    tiny_model,
    tiny_tokenizer,
)


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save(tmp_path / "my-model", tiny_model("gpt2"), tiny_tokenizer())


def load(name: Any, seed: int = 0, **keys: Any) -> LanguageModel:
    return load_language_model(LanguageModelConfig(str(name), **keys), seed)


def message(action: Any) -> str:
    with pytest.raises(LanguageModelError) as error:
        action()
    assert "\n" not in str(error.value)
    return str(error.value)


def change_config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def change_weights(folder: Path, change: Any) -> None:
    path = folder / "model.safetensors"
    save_file(change(load_file(path)), path, {"format": "pt"})


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_folder_is_loaded_in_single_precision(tmp_path: Path, name: str, dtype: torch.dtype) -> None:
    original = tiny_model(name).to(dtype)
    model = load(save(tmp_path / name, original, None))
    assert (model.num_heads, model.num_layers) == (HEADS, 4 if name == "gpt_neo" else LAYERS)
    assert model.max_length == (None if name == "bloom" else 512)  # linear biases go on for ever
    assert not model.model.training
    weights = model.model.state_dict()
    assert weights.keys() == original.state_dict().keys()
    for key, weight in original.state_dict().items():
        assert weights[key].dtype == torch.float32
        assert torch.equal(weights[key], weight.float())
    assert not any(parameter.requires_grad for parameter in model.model.parameters())
    assert [layer.module for layer in model.layers] == [model.model.get_submodule(layer.name) for layer in model.layers]


def test_a_folder_can_be_named_from_home_or_here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    assert load("my-model").num_layers == LAYERS
    assert load("./my-model").num_layers == LAYERS


def test_tokenizers_come_with_the_model_or_apart(folder: Path, tmp_path: Path) -> None:
    own = load_tokenizer(LanguageModelConfig(str(folder)))
    assert own("Day: rain")["input_ids"] == tiny_tokenizer()("Day: rain")["input_ids"]
    assert own.bos_token == "<s>"
    tiny_tokenizer(beginning=False).save_pretrained(tmp_path / "other")
    other = load_tokenizer(LanguageModelConfig(str(folder), tokenizer=str(tmp_path / "other")))
    assert other.bos_token is None


def test_gpt2s_vocabulary_and_merges_are_a_tokenizer(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer()
    parts = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "vocab.json").write_text(json.dumps(parts["vocab"] | {"<|endoftext|>": len(parts["vocab"])}))
    merges = [" ".join(merge) if isinstance(merge, list) else merge for merge in parts["merges"]]
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]))
    loaded = load_tokenizer(LanguageModelConfig("unused", tokenizer=str(folder)))
    for text in ("Day: rain It is good", "Day: ü \n bad", " good"):
        ids = loaded(text, add_special_tokens=False)["input_ids"]
        assert ids == tokenizer(text, add_special_tokens=False)["input_ids"]
        assert loaded.decode(ids) == text
    assert loaded.eos_token_id == len(parts["vocab"])


def test_revisions_are_the_models(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, Any]] = []

    def record(kind: str, result: Any) -> Any:
        def loader(name: str, revision: Any = None, **_: Any) -> Any:
            seen.append((f"{kind} {name}", revision))
            return result

        return staticmethod(loader)

    loaded = tiny_model("gpt2"), {"missing_keys": set()}
    monkeypatch.setattr(loading.AutoModelForCausalLM, "from_pretrained", record("model", loaded))
    monkeypatch.setattr(loading.AutoConfig, "from_pretrained", record("config", tiny_model("gpt2").config))
    monkeypatch.setattr(loading.AutoTokenizer, "from_pretrained", record("tokenizer", None))
    own = LanguageModelConfig("some/model", revision="abc")
    other = LanguageModelConfig("some/model", revision="abc", tokenizer="some/tokenizer")
    load_language_model(own, 0)
    load_language_model(LanguageModelConfig("some/model", revision="abc", untrained=True), 0)
    load_tokenizer(own)
    load_tokenizer(other)
    assert seen == [
        ("config some/model", "abc"),
        ("model some/model", "abc"),
        ("config some/model", "abc"),
        ("tokenizer some/model", "abc"),
        ("tokenizer some/tokenizer", None),
    ]


@pytest.mark.parametrize("key", ["name", "tokenizer", "revision"])
def test_empty_names_are_refused(key: str) -> None:
    with pytest.raises(ValueError, match=f"^model.{key} must not be empty$"):
        LanguageModelConfig(**{key: ""})


def test_a_missing_folder_has_a_hint(folder: Path) -> None:
    wrong = folder.with_name("my-modle")
    of_model = message(lambda: load(wrong))
    assert of_model.startswith(f"model.name: {wrong} is no folder, and no model of that name could be fetched; ")
    assert f"did you mean {folder}?" in of_model
    of_tokenizer = message(lambda: load_tokenizer(LanguageModelConfig(str(wrong))))
    assert f"model.tokenizer (or model.name): {wrong} is no folder, and no tokenizer of that name" in of_tokenizer
    assert "did you mean" not in message(lambda: load(folder.parent / "quite-different"))
    assert message(lambda: load("nobody/nothing")).startswith(
        "model.name: nobody/nothing is no folder, and no model of"
    )


def test_broken_folders_are_one_line(folder: Path, tmp_path: Path) -> None:
    def broken(change: Any) -> str:
        copied = tmp_path / "copied"
        shutil.rmtree(copied, ignore_errors=True)
        shutil.copytree(folder, copied)
        change(copied)
        found = message(lambda: load(copied))
        assert found.startswith(f"model.name: the {'weights' if ' lack ' in found else 'model'} in {copied} ")
        return found

    assert "not a valid JSON file" in broken(lambda path: (path / "config.json").write_text("{"))
    assert "Unrecognized model" in broken(lambda path: (path / "config.json").write_text("{}"))
    assert "model type `nonsense`" in broken(lambda path: change_config(path, model_type="nonsense"))
    for kind in ("t5", "vit", "distilbert"):  # an encoder with its decoder, and encoders
        shutil.copytree(folder, tmp_path / kind)
        change_config(tmp_path / kind, model_type=kind)
        expected = f"model.name: {tmp_path / kind} is no causal language model, but {kind}"
        assert message(lambda: load(tmp_path / kind)) == expected  # noqa: B023
    assert "lack bert.embeddings" in broken(lambda path: change_config(path, model_type="bert"))
    assert "divisible" in broken(lambda path: change_config(path, n_head=5))
    assert "no file named model.safetensors" in broken(lambda path: (path / "model.safetensors").unlink())
    assert broken(lambda path: [file.unlink() for file in path.iterdir()])


UNCAUGHT = {
    "truncated weights": lambda path: (path / "model.safetensors").write_bytes(b"12345678abc"),
    "weights of another size": lambda path: change_config(path, n_embd=64),
    "a wrong type in the config": lambda path: change_config(path, n_embd="many"),
    "a quantization that is not installed": lambda path: change_config(
        path, quantization_config={"quant_method": "gptq", "bits": 4}
    ),
}
UNNOTICED = {
    "a missing weight": lambda weights: {
        key: weight for key, weight in weights.items() if key != "transformer.h.0.attn.c_attn.weight"
    },
    "weights of other names": lambda weights: {f"other.{key}": weight for key, weight in weights.items()},
}


@pytest.mark.parametrize("change", UNCAUGHT.values(), ids=UNCAUGHT)
def test_unreadable_weights_are_one_line(folder: Path, change: Any) -> None:
    change(folder)
    message(lambda: load(folder))


@pytest.mark.parametrize("change", UNNOTICED.values(), ids=UNNOTICED)
def test_weights_that_are_missing_are_an_error(folder: Path, change: Any) -> None:
    change_weights(folder, change)
    message(lambda: load(folder))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    "name", ["transformer.wte.weight", "transformer.h.1.attn.c_attn.bias", "transformer.ln_f.bias"]
)
def test_weights_that_are_not_finite_are_refused(folder: Path, name: str, value: float) -> None:
    weights = load_file(folder / "model.safetensors")
    weights[name].view(-1)[-1] = value
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert message(lambda: load(folder)) == (
        f"model.name: the weights in {folder} are not all finite numbers: {name} (1 of {weights[name].numel()})"
    )


def test_large_weights_are_finite(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["transformer.wte.weight"][:2] = 3e38
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    load(folder)


def test_a_missing_or_broken_tokenizer_is_one_line(folder: Path, tmp_path: Path) -> None:
    def of(path: Path) -> str:
        found = message(lambda: load_tokenizer(LanguageModelConfig(str(path))))
        assert found.startswith(f"model.tokenizer (or model.name): the tokenizer in {path} cannot be loaded (")
        return found

    empty = tmp_path / "empty"
    empty.mkdir()
    assert of(empty)
    (folder / "tokenizer.json").write_text("{")
    assert of(folder)


def test_a_model_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    folder = save(tmp_path / "bare", tiny_model("gpt2"))
    message(lambda: load_tokenizer(LanguageModelConfig(str(folder))))


def test_a_broken_vocabulary_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "vocab.json").write_text("{")
    (tmp_path / "merges.txt").write_text("#version: 0.2\na b\n")
    message(lambda: load_tokenizer(LanguageModelConfig(str(tmp_path))))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_untrained_twins_have_the_shape_and_seeded_weights(name: str) -> None:
    model = tiny(name)
    before = {key: weight.clone() for key, weight in model.model.state_dict().items()}
    state = torch.random.get_rng_state()
    twin, again, other = untrained_twin(model, 3), untrained_twin(model, 3), untrained_twin(model, 4)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert twin.name == f"untrained {name}"
    assert type(twin.model) is type(model.model)
    assert twin.num_layers == model.num_layers
    assert not twin.model.training
    weights = [made.model.state_dict() for made in (twin, again, other)]
    assert {key: weight.shape for key, weight in weights[0].items()} == {k: w.shape for k, w in before.items()}
    assert all(torch.equal(weight, before[key]) for key, weight in model.model.state_dict().items())
    assert all(torch.equal(weight, weights[1][key]) for key, weight in weights[0].items())
    for layer in twin.layers:
        (key,) = {f"{layer.name}.{part.name}" for part in layer.projections[:1]}
        assert not torch.equal(weights[0][key], weights[2][key])
        assert not torch.equal(weights[0][key], before[key])


def test_untrained_models_need_no_weights(folder: Path) -> None:
    expected = untrained_twin(load(folder), 5).model.state_dict()
    (folder / "model.safetensors").unlink()
    state = torch.random.get_rng_state()
    weights = load(folder, seed=5, untrained=True).model.state_dict()
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(weight, expected[key]) for key, weight in weights.items())


ROTARY_AND_SEPARATE = ("k_proj.weight", "v_proj.weight")
WITH_BIASES = ("k_proj.weight", "k_proj.bias", "v_proj.weight", "v_proj.bias")
HEAD_ROWS = [3 * 8 * head + row for head in range(HEADS) for row in range(8, 24)]  # of each head: q, k, v


def outputs_of(part: KeyValueProjection) -> list[int]:
    """Return which outputs of a projection are keys or values."""
    shape = part.parameter.shape
    numbers = torch.arange(shape[part.dim])
    if len(shape) == 2 and part.dim == 0:
        numbers = numbers[:, None]
    return part.part(numbers.expand(shape)).unique().tolist()


LAYOUTS: dict[str, tuple[tuple[str, ...], list[int] | None, int]] = {
    "gpt2": (("c_attn.weight", "c_attn.bias"), list(range(HIDDEN, 3 * HIDDEN)), 1),
    "gpt_neox": (("query_key_value.weight", "query_key_value.bias"), HEAD_ROWS, 0),
    "phi3": (("qkv_proj.weight",), list(range(HIDDEN, 2 * HIDDEN)), 0),  # 2 heads of keys and 2 of values
    "llama": (ROTARY_AND_SEPARATE, None, 0),
    "mistral": (ROTARY_AND_SEPARATE, None, 0),
    "gpt_neo": (ROTARY_AND_SEPARATE, None, 0),
    "qwen2": (WITH_BIASES, None, 0),
    "opt": (WITH_BIASES, None, 0),
    "xglm": (WITH_BIASES, None, 0),
    "gptj": (ROTARY_AND_SEPARATE, None, 0),
    "gemma2": (ROTARY_AND_SEPARATE, None, 0),
    "gemma3": (ROTARY_AND_SEPARATE, None, 0),
    "gemma3_images": (ROTARY_AND_SEPARATE, None, 0),
    "bloom": (("query_key_value.weight", "query_key_value.bias"), HEAD_ROWS, 0),
    "falcon": (("query_key_value.weight",), [*range(16, 32), *range(48, 64)], 0),  # two groups: 2 queries, key, value
    "falcon_alibi": (("query_key_value.weight", "query_key_value.bias"), HEAD_ROWS, 0),
}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_which_outputs_are_keys_and_values(name: str) -> None:
    names, outputs, dim = LAYOUTS[architecture(name)]
    for layer in tiny(name).layers:
        assert sorted(part.name for part in layer.projections) == sorted(names)
        for part in layer.projections:
            assert part.parameter is layer.module.get_parameter(part.name)
            assert part.dim == (dim if part.parameter.ndim == 2 else 0)
            assert outputs_of(part) == (outputs or list(range(len(part.parameter))))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_without_their_part_keys_and_values_are_zero_and_queries_the_same(name: str) -> None:
    model, batch = tiny(name), query_batch([9, 5])

    def look() -> tuple[DynamicCache, torch.Tensor]:
        cache = DynamicCache()
        with torch.no_grad(), capture_queries(model) as queries:
            model.model(input_ids=batch.tokens, past_key_values=cache, use_cache=True)
        return cache, queries[0]

    before, queries = look()
    assert all(layer.keys.any() and layer.values.any() for layer in before.layers)
    for layer in model.layers:
        for part in layer.projections:
            part.part(part.parameter.data).zero_()
    after, same = look()
    assert not any(layer.keys.any() or layer.values.any() for layer in after.layers)
    assert torch.equal(same, queries)


@pytest.mark.parametrize("name", ["gpt2", "gpt_neox", "phi3", "llama", "falcon"])
def test_parts_are_views(name: str) -> None:
    for part in tiny(name).layers[0].projections:
        whole = part.parameter.clone()
        own = part.part(whole)
        own += 1
        assert (whole != part.parameter).sum() == own.numel()
        assert torch.equal(part.part(whole), part.part(part.parameter) + 1)


def attention(name: str, projection: nn.Module) -> nn.Module:
    module = nn.Module()
    module.add_module(name, projection)
    return module


@pytest.mark.parametrize(
    ("name", "projection", "heads", "key_value_heads"),
    [
        ("c_attn", Conv1D(100, 32), 4, 4),
        ("c_attn", Conv1D(48, 32), 4, 1),  # one head of keys for all queries
        ("c_attn", nn.Linear(32, 96), 4, 4),  # not as GPT-2 has it
        ("query_key_value", nn.Linear(32, 100), 4, 4),
        ("query_key_value", nn.Linear(32, 96), 4, 2),
        ("qkv_proj", nn.Linear(32, 65), 4, 2),
        ("qkv_proj", Conv1D(64, 32), 4, 2),
        ("Wqkv", nn.Linear(32, 96), 4, 4),
    ],
)
def test_unknown_layouts_are_refused(name: str, projection: nn.Module, heads: int, key_value_heads: int) -> None:
    assert find_projections(attention(name, projection), heads, key_value_heads) is None


def test_known_layouts_are_found_in_any_module() -> None:
    found = find_projections(attention("qkv_proj", nn.Linear(32, 64, bias=False)), 4, 2)
    assert found is not None
    (part,) = found
    assert isinstance(part, KeyValueProjection)
    assert outputs_of(part) == list(range(32, 64))
    assert find_projections(nn.Linear(3, 3), 4, 4) is None
    partial = attention("q_proj", nn.Linear(3, 3))
    partial.add_module("k_proj", nn.Linear(3, 3))
    assert find_projections(partial, 1, 1) is None


def test_a_model_with_unknown_attention_is_refused() -> None:
    config = MptConfig(d_model=32, n_layers=2, n_heads=4, vocab_size=VOCABULARY)
    found = message(lambda: wrap("some/model", random_model(MptForCausalLM, config)))
    assert found == (
        "model.name=some/model: MptForCausalLM has 0 attention layers whose key and value projections are known, "
        "not the 2 of its config"
    )
