"""Momentum attention beside sums that are written out, through caches, padding, windows and files."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel, StaticCache

import iclgd
from iclgd.checks import InputError
from iclgd.data.seeding import named_generator
from iclgd.models.gpt import GPTConfig, build_gpt
from iclgd.models.language import LanguageModelError, untrained_twin
from iclgd.models.loading import LanguageModelConfig, load_language_model
from iclgd.models.momentum import (
    CHUNK,
    Momentum,
    MomentumConfig,
    add_momentum,
    attend,
    decay_weights,
    decayed_sum,
    momentum_config,
    momentum_of,
)
from tests.language_models import HEADS, LAYERS, WINDOW, random_tokens, tiny_model
from tests.momentum import FIXED, LEARNED, give_momentum, set_eager

NAMES = ["gpt2", "llama", "mistral", "gpt_neox"]  # shared values in the two in the middle, a window in the third


def with_momentum(name: str, config: MomentumConfig = FIXED, dtype: torch.dtype = torch.float64) -> PreTrainedModel:
    return give_momentum(tiny_model(name), config).to(dtype)


def reference_sum(values: Tensor, rates: Tensor) -> Tensor:
    result = torch.zeros_like(values)
    for t in range(1, values.shape[2]):
        result[:, :, t] = rates[:, None] * (result[:, :, t - 1] + values[:, :, t - 1])
    return result


@pytest.mark.parametrize("length", [1, 2, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 5])
@pytest.mark.parametrize("rates", [[0.9], [0.0], [0.1, 0.5, 0.999]], ids=str)
def test_the_sum_is_the_recursion(length: int, rates: list[float]) -> None:
    values = torch.randn(2, 3, length, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    eta = torch.tensor(rates, dtype=torch.float64)
    expected = reference_sum(values, eta.expand(3))
    torch.testing.assert_close(decayed_sum(values, eta), expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(decay_weights(eta, length, length, None) @ values, expected, rtol=0, atol=1e-12)
    single = decayed_sum(values.float(), eta.float())
    torch.testing.assert_close(single.double(), expected, rtol=1e-5, atol=1e-5)


def test_gradients_are_right() -> None:
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(1, 2, CHUNK + 3, 2, dtype=torch.float64, generator=generator).requires_grad_()
    eta = torch.tensor([0.3, 0.9], dtype=torch.float64, requires_grad=True)
    mask = torch.rand(2, 1, 4, 6, generator=generator) < 0.7
    weights: Callable[[Tensor], Tensor] = lambda rates: decay_weights(rates, 4, 6, mask)  # noqa: E731
    assert torch.autograd.gradcheck(decayed_sum, (values, eta), fast_mode=True)
    assert torch.autograd.gradcheck(weights, (eta,))


@pytest.mark.parametrize("config", [FIXED, LEARNED], ids=["fixed", "learned"])
@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_models_attend_as_the_equation_says(name: str, config: MomentumConfig) -> None:
    model, tokens = with_momentum(name, config), random_tokens(2, WINDOW + 8)
    kept = torch.ones_like(tokens)
    kept[1, :7] = 0
    found = [model(input_ids=tokens).logits, model(input_ids=tokens, attention_mask=kept).logits]
    set_eager(model)
    expected = [model(input_ids=tokens).logits, model(input_ids=tokens, attention_mask=kept).logits]
    torch.testing.assert_close(found[0], expected[0], rtol=0, atol=1e-9)
    torch.testing.assert_close(found[1][kept == 1], expected[1][kept == 1], rtol=0, atol=1e-9)
    model.set_attn_implementation("sdpa")
    assert not torch.allclose(model(input_ids=tokens).logits, expected[0], atol=0.1)


@pytest.mark.parametrize("config", [FIXED, LEARNED], ids=["fixed", "learned"])
@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_a_cache_changes_nothing(name: str, config: MomentumConfig) -> None:
    model, tokens = with_momentum(name, config), random_tokens(2, CHUNK + 20)
    expected = model(input_ids=tokens).logits
    sizes = [CHUNK + 2, 1, 1, 5, 1, 10]
    caches = [DynamicCache(), DynamicCache(config=model.config), StaticCache(model.config, max_cache_len=100)]
    for cache in caches:  # the second forgets what is outside of a window
        parts = tokens.split(sizes, dim=1)
        found = [model(input_ids=part, past_key_values=cache, use_cache=True).logits for part in parts]
        torch.testing.assert_close(torch.cat(found, 1), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_padding_changes_nothing(name: str, side: str) -> None:
    model, tokens = with_momentum(name), random_tokens(1, 20)
    expected = model(input_ids=tokens).logits
    padding, ones = random_tokens(1, 6, seed=9), torch.ones_like(tokens)
    zeros, places = torch.zeros_like(padding), torch.arange(20)[None]
    parts = [(padding, zeros, zeros), (tokens, ones, places)]
    if side == "right":
        parts.reverse()
    ids, kept, positions = (torch.cat(part, 1) for part in zip(*parts, strict=True))
    found = model(input_ids=ids, attention_mask=kept, position_ids=positions).logits
    torch.testing.assert_close(found[kept == 1], expected[0], rtol=0, atol=1e-9)
    if side == "left":  # and decoding afterwards
        cache = DynamicCache()
        model(input_ids=ids[:, :-3], attention_mask=kept[:, :-3], position_ids=positions[:, :-3], past_key_values=cache)
        for place in (-3, -2, -1):
            one = slice(place, place + 1 or None)
            found = model(
                input_ids=ids[:, one],
                attention_mask=kept[:, : place + 1 or None],
                position_ids=positions[:, one],
                past_key_values=cache,
            ).logits
            torch.testing.assert_close(found[:, 0], expected[:, place], rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_no_momentum_is_plain_attention_to_the_bit(name: str) -> None:
    model, tokens = tiny_model(name), random_tokens(2, 30)
    expected = model(input_ids=tokens).logits
    add_momentum(model, MomentumConfig(0.0))
    assert torch.equal(model(input_ids=tokens).logits, expected)


@pytest.mark.parametrize("config", [FIXED, LEARNED], ids=["fixed", "learned"])
@torch.no_grad()
def test_half_precision_is_near(config: MomentumConfig) -> None:
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(2, HEADS, 3 * CHUNK, 8, generator=generator).bfloat16()
    eta = torch.tensor([config.momentum])
    expected = reference_sum(values.double(), eta.double())
    found = decayed_sum(values, eta)
    assert found.dtype == torch.bfloat16
    assert (found.double() - expected).abs().max() < 0.02 * expected.abs().max()
    model, tokens = with_momentum("llama", config, torch.bfloat16), random_tokens(2, 30)
    logits = model(input_ids=tokens).logits
    assert logits.dtype == torch.bfloat16
    difference = logits.double() - model.double()(input_ids=tokens).logits
    plain = tiny_model("llama").bfloat16()
    of_plain = plain(input_ids=tokens).logits.double() - plain.double()(input_ids=tokens).logits
    assert difference.std() < 3 * of_plain.std()


def test_each_head_learns_its_own_without_decay() -> None:
    config = GPTConfig(num_layers=2, num_heads=2, hidden_size=8, context_length=16, attention="momentum")
    fixed = build_gpt(config, 9, named_generator(0, "initialization"))
    model = build_gpt(
        GPTConfig(2, 2, 8, 16, attention="momentum", momentum=0.6, learn_momentum=True),
        9,
        named_generator(0, "initialization"),
    )
    names = {name: parameter for name, parameter in model.named_parameters() if "momentum" in name}
    assert list(names) == [f"transformer.h.{layer}.attn.momentum.logits" for layer in range(2)]
    assert all(parameter.dim() == 1 and parameter.sigmoid().allclose(torch.tensor(0.6)) for parameter in names.values())
    assert set(dict(fixed.named_parameters())) == set(dict(model.named_parameters())) - set(names)
    tokens = torch.randint(9, (2, 12), generator=torch.Generator().manual_seed(1))
    model(input_ids=tokens, labels=tokens).loss.backward()
    for parameter in names.values():
        assert parameter.grad is not None
        assert parameter.grad.abs().min() > 0
    momentum = momentum_of(fixed.transformer.h[0].attn)
    assert momentum is not None
    assert momentum().tolist() == pytest.approx([0.9])


@pytest.mark.parametrize("config", [FIXED, LEARNED], ids=["fixed", "learned"])
@pytest.mark.parametrize("name", ["gpt2", "llama"])
@torch.no_grad()
def test_saved_and_loaded_it_is_the_same(tmp_path: Path, name: str, config: MomentumConfig) -> None:
    model, tokens = with_momentum(name, config, torch.float32), random_tokens(2, 30)
    expected = model(input_ids=tokens).logits
    model.save_pretrained(tmp_path)
    loaded = load_language_model(LanguageModelConfig(str(tmp_path)), 0)
    assert type(loaded.model) is type(model)
    assert momentum_config(loaded.model.config) == config
    assert torch.equal(loaded.model(input_ids=tokens).logits, expected)
    loaded.model.save_pretrained(tmp_path / "again")
    again = load_language_model(LanguageModelConfig(str(tmp_path / "again"), attention="momentum"), 0)
    assert torch.equal(again.model(input_ids=tokens).logits, expected)
    twin = untrained_twin(loaded, 0)
    untrained = load_language_model(LanguageModelConfig(str(tmp_path), untrained=True), 0)
    assert torch.equal(twin.model(input_ids=tokens).logits, untrained.model(input_ids=tokens).logits)
    assert momentum_config(twin.model.config) == config


@torch.no_grad()
def test_momentum_is_added_replaced_and_removed(tmp_path: Path) -> None:
    plain, tokens = tiny_model("gpt2"), random_tokens(2, 30)
    plain.save_pretrained(tmp_path / "plain")
    model = with_momentum("gpt2", LEARNED, torch.float32)
    model.save_pretrained(tmp_path / "learned")

    def logits(name: str, **keys: Any) -> Tensor:
        loaded = load_language_model(LanguageModelConfig(str(tmp_path / name), **keys), 0)
        found: Tensor = loaded.model(input_ids=tokens).logits
        return found

    added = with_momentum("gpt2", MomentumConfig(0.9), torch.float32)(input_ids=tokens).logits
    assert torch.equal(logits("plain", attention="momentum"), added)
    assert torch.equal(logits("learned", attention="momentum", momentum=0.9), added)
    assert torch.equal(logits("learned", attention="softmax"), plain(input_ids=tokens).logits)
    assert torch.equal(logits("learned", attention="momentum"), model(input_ids=tokens).logits)
    by_name, _ = iclgd.load_language_model("embedded", attention="momentum", momentum=0.5)
    assert momentum_config(by_name.config) == MomentumConfig(0.5)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"attention": "momentun"}, "model.attention must be one of: softmax, momentum"),
        ({"attention": "momentum", "momentum": 1.0}, "model.momentum must be at least 0 and below 1, got 1.0"),
        ({"attention": "momentum", "momentum": float("nan")}, "model.momentum must be at least 0 and below 1, got nan"),
    ],
)
@pytest.mark.parametrize("kind", [GPTConfig, LanguageModelConfig])
def test_bad_values_are_refused(kind: Any, keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match="^" + message):
        kind(**keys)


def test_bad_combinations_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^model.momentum=0.5 needs model.attention=momentum$"):
        LanguageModelConfig(momentum=0.5)
    with pytest.raises(ValueError, match=r"^model.learn_momentum=true needs model.attention=momentum$"):
        GPTConfig(learn_momentum=True)
    with pytest.raises(ValueError, match=r"^model.momentum must be from 0.001 to 0.999 to be learned, got 0$"):
        GPTConfig(attention="momentum", momentum=0, learn_momentum=True)
    for name in ("gpt_neo", "xglm"):
        with pytest.raises(ValueError, match=r"^model.attention=momentum: attention of .* does not go through"):
            add_momentum(tiny_model(name), FIXED)
    model = tiny_model("gpt2")
    model.config.momentum_attention = {"eta": 0.9}
    model.save_pretrained(tmp_path)
    with pytest.raises(LanguageModelError, match="momentum_attention is not what this version writes"):
        load_language_model(LanguageModelConfig(str(tmp_path)), 0)
    assert len(model.transformer.h) == LAYERS


@pytest.mark.parametrize(
    ("mask", "keys", "what"),
    [
        (None, {"softcap": 30.0}, "attention with softcap"),
        (None, {"s_aux": torch.zeros(2)}, "attention with s_aux"),
        (None, {"is_causal": False}, "attention to later tokens"),
        (torch.zeros(1, 1, 3, 3), {}, "attention with a mask that is added to the scores"),
    ],
    ids=["softcap", "sinks", "both directions", "added mask"],
)
def test_other_attention_is_refused(mask: Tensor | None, keys: dict[str, Any], what: str) -> None:
    module, states = torch.nn.Module(), torch.zeros(1, 2, 3, 4)
    module.momentum = Momentum(FIXED, 2)
    with pytest.raises(InputError, match=f"^momentum attention does not know {what}$"):
        attend(module, states, states, states, mask, **keys)
