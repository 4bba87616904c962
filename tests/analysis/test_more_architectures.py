"""Architectures beyond those of every test: what is seen of them is what transformers shows of an eager model."""

import copy
import dataclasses
from typing import Any

import pytest
import torch
from torch import nn
from transformers import (
    BartConfig,
    BartForCausalLM,
    CLIPVisionConfig,
    CodeGenConfig,
    CodeGenForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    LlavaConfig,
    LlavaForConditionalGeneration,
    PersimmonConfig,
    PersimmonForCausalLM,
    Phi4MultimodalConfig,
    Phi4MultimodalForCausalLM,
    StableLmConfig,
    StableLmForCausalLM,
)

from iclgd.analysis.attention_capture import capture, check_capture
from iclgd.analysis.finetune import Finetuned, make_loss
from iclgd.analysis.kv_context import run_context
from iclgd.analysis.watching import is_registered
from iclgd.models.language import LanguageModel, LanguageModelError, wrap
from iclgd.models.loading import LanguageModelConfig, load_language_model
from tests.language_models import query_batch, query_tokens, random_context, random_model, save, tiny_model

SPECIAL = {"vocab_size": 320, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64, **SPECIAL}
OLD = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128, "rotary_dim": 4, **SPECIAL}
SMALL = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 16}
VISION = {**SMALL, "num_hidden_layers": 2, "image_size": 28, "patch_size": 14}
BART = BartConfig(
    d_model=32,
    decoder_layers=2,
    decoder_attention_heads=4,
    decoder_ffn_dim=32,
    encoder_layers=1,
    encoder_attention_heads=2,
    **SPECIAL,
)
PHI4 = Phi4MultimodalConfig(
    **SIZES,
    num_key_value_heads=2,
    vision_config=VISION,
    audio_config={**SMALL, "num_blocks": 1},
)
LLAVA = LlavaConfig(
    text_config=LlamaConfig(**SIZES).to_dict(), vision_config=CLIPVisionConfig(**VISION).to_dict(), image_token_index=2
)
MODELS: dict[str, tuple[Any, Any]] = {
    "codegen": (CodeGenForCausalLM, CodeGenConfig(**OLD)),
    "llava, no language model by name": (LlavaForConditionalGeneration, LLAVA),
    "phi4 with images and sound": (Phi4MultimodalForCausalLM, PHI4),
    "bart, with attention to an encoder": (BartForCausalLM, BART),
    "persimmon": (PersimmonForCausalLM, PersimmonConfig(**SIZES)),
    "stablelm": (StableLmForCausalLM, StableLmConfig(**SIZES, num_key_value_heads=2)),
}
LENGTHS = [9, 5, 12, 1]
CONTEXT = random_context(21)


def made(name: str) -> LanguageModel:
    return wrap(name, random_model(*MODELS[name]))


@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_what_is_seen_is_what_transformers_shows(name: str) -> None:
    model, batch = made(name), query_batch(LENGTHS)
    check_capture(model)
    eager = copy.deepcopy(model.model)
    if is_registered(model):
        eager.set_attn_implementation("eager")
    context, last = run_context(model, CONTEXT), batch.lengths - 1
    with capture(model, last, context) as seen:
        past = context.cache(is_joined=not is_registered(model))
        logits = model.model(input_ids=batch.tokens, past_key_values=past, use_cache=True).logits
    for row, query in enumerate(query_tokens(batch)):
        expected = eager(input_ids=torch.tensor([[*CONTEXT, *query]]), use_cache=False, output_attentions=True)
        assert torch.allclose(logits[row, len(query) - 1], expected.logits[0, -1], rtol=1e-4, atol=1e-4)
        assert len(expected.attentions) == model.num_layers == 2
        for index, shares in enumerate(expected.attentions):
            own = slice(0, len(query))
            scores = torch.cat([seen.context_scores[index][row], seen.scores[index][row][:, own]], dim=-1)
            visible = torch.cat([seen.context_visible[index][row], seen.visible[index][row][own]])
            assert torch.allclose(scores.softmax(-1), shares[0, :, -1], rtol=0, atol=1e-5)
            assert not shares[0, :, -1][:, ~visible].any()
            assert visible.all()


@pytest.mark.parametrize("name", MODELS)
def test_finetuning_moves_keys_and_values_alone(name: str) -> None:
    model = made(name)
    finetuned = Finetuned(model)
    finetuned.step(CONTEXT, 0.1, make_loss(model, "gradient_descent"))
    for layer, parameters in zip(model.layers, finetuned.parameters, strict=True):
        for part in layer.projections:
            moved = parameters[part.name] != part.parameter
            assert moved.any() or part.name == "k_proj.bias"  # which shifts all scores of a query alike
            part.part(moved).zero_()
            assert not moved.any()


@pytest.mark.parametrize("name", ["gemma3_images", "llava, no language model by name"])
def test_a_multimodal_folder_is_as_good_as_its_text_model(name: str, tmp_path: Any) -> None:
    folder = save(tmp_path / "images", tiny_model(name) if name not in MODELS else random_model(*MODELS[name]))
    model = load_language_model(LanguageModelConfig(str(folder)), 0)
    places = [f"model.language_model.layers.{n}.self_attn" for n in range(model.num_layers)]
    assert [layer.name for layer in model.layers] == places
    check_capture(model)
    before = [each._attn_implementation for each in (model.model.config, model.model.config.vision_config)]
    assert before == ["sdpa", "sdpa"]


def test_projections_that_are_not_what_they_are_called_are_refused() -> None:
    def swapped(attention: nn.Module) -> None:
        attention.q_proj, attention.k_proj = attention.k_proj, attention.q_proj
        own = attention.forward

        def forward(*arguments: Any, **keywords: Any) -> Any:
            attention.q_proj, attention.k_proj = attention.k_proj, attention.q_proj
            try:
                return own(*arguments, **keywords)
            finally:
                attention.q_proj, attention.k_proj = attention.k_proj, attention.q_proj

        attention.forward = forward

    model = wrap("swapped", random_model(LlamaForCausalLM, LlamaConfig(**SIZES)))
    check_capture(model)
    swapped(model.layers[1].module)
    swapped_model = dataclasses.replace(model)  # looks for its layers again
    with pytest.raises(LanguageModelError, match=r"has no key and value projections where we take them to be$"):
        check_capture(swapped_model)
