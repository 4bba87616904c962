"""The mesa layer within a language model."""

from pathlib import Path

import pytest
import torch
from torch.nn import functional as F
from transformers import GPT2LMHeadModel

from iclgd.checks import InputError
from iclgd.models.gpt import GPTConfig, build_gpt
from iclgd.models.language import LanguageModelError
from iclgd.models.language_mesa import MesaConfig, attend, mesa_config, seen_tokens
from iclgd.models.loading import LanguageModelConfig, load_language_model
from iclgd.models.sequences import recursive_mesa_attention

SMALL = GPTConfig(num_layers=2, num_heads=2, hidden_size=8, context_length=32, attention="mesa", mesa_strength=3.0)


@pytest.fixture(scope="module")
def model() -> GPT2LMHeadModel:
    return build_gpt(SMALL, 11, torch.Generator().manual_seed(0)).eval()


def tokens(length: int, batch: int = 2) -> torch.Tensor:
    return torch.randint(1, 11, (batch, length), generator=torch.Generator().manual_seed(1))


def test_attention_is_least_squares_of_normalised_heads(model: GPT2LMHeadModel) -> None:
    heads = torch.randn(3, 2, 2, 9, 4, generator=torch.Generator().manual_seed(2))
    query, key, value = heads
    module = model.transformer.h[0].attn
    output = attend(module, query, key, value, None)[0]
    strength = torch.full((2,), 3.0)
    expected = recursive_mesa_attention(F.normalize(query, dim=-1), F.normalize(key, dim=-1), value, strength)
    assert torch.allclose(output, expected.transpose(1, 2), atol=1e-5)


def test_tokens_see_none_that_come_later(model: GPT2LMHeadModel) -> None:
    whole = model(tokens(20)).logits
    part = model(tokens(20)[:, :13]).logits
    assert torch.allclose(whole[:, :13], part, atol=1e-5)


def test_a_cache_changes_nothing(model: GPT2LMHeadModel) -> None:
    with torch.no_grad():
        whole = model(tokens(20)).logits
        first = model(tokens(20)[:, :12], use_cache=True)
        rest = model(tokens(20)[:, 12:], past_key_values=first.past_key_values).logits
    assert torch.allclose(rest, whole[:, 12:], atol=1e-5)


def test_padding_changes_nothing(model: GPT2LMHeadModel) -> None:
    given = tokens(10)
    padded = torch.cat([torch.zeros(2, 3, dtype=torch.long), given], 1)
    mask = torch.cat([torch.zeros(2, 3, dtype=torch.long), torch.ones_like(given)], 1)
    places = (mask.cumsum(1) - 1).clamp(min=0)
    with torch.no_grad():
        output = model(padded, attention_mask=mask, position_ids=places).logits[:, 3:]
        assert torch.allclose(output, model(given).logits, atol=1e-5)


def test_windows_are_refused() -> None:
    window = torch.ones(4, 4, dtype=torch.bool).tril() & torch.ones(4, 4, dtype=torch.bool).triu(-1)
    with pytest.raises(InputError, match="attention with a window"):
        seen_tokens(window[None, None])


def test_all_lambdas_learn(model: GPT2LMHeadModel) -> None:
    model(tokens(12), labels=tokens(12)).loss.backward()
    for block in model.transformer.h:
        gradient = block.attn.mesa.log_strength.grad
        assert gradient.isfinite().all()
        assert (gradient != 0).all()
    model.zero_grad()


def test_a_saved_model_is_the_same(model: GPT2LMHeadModel, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    loaded = load_language_model(LanguageModelConfig(name=str(tmp_path)), 0).model
    assert mesa_config(loaded.config) == MesaConfig(3.0)
    with torch.no_grad():
        assert torch.equal(loaded(tokens(9)).logits, model(tokens(9)).logits)
    with pytest.raises(LanguageModelError, match=r"model\.attention must be null with model\.name"):
        load_language_model(LanguageModelConfig(name=str(tmp_path), attention="softmax"), 0)


def test_contexts_are_refused(model: GPT2LMHeadModel) -> None:
    from iclgd.analysis.original import Original
    from iclgd.data.prompts import DemonstrationsConfig
    from iclgd.models.language import wrap

    wrapped = wrap("mine", model)
    with pytest.raises(LanguageModelError, match=r"model\.name=mine has mesa layers"):
        Original(wrapped, None, None, (), (), DemonstrationsConfig(), 0)  # type: ignore[arg-type]


def test_strengths_have_a_range() -> None:
    with pytest.raises(ValueError, match=r"model\.mesa_strength must be from 0\.0001 to 10000, got 0"):
        GPTConfig(mesa_strength=0)
