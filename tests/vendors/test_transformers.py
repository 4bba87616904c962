import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AutoModelForCausalLM, DynamicCache, PreTrainedModel

from iclgd.vendors.transformers import (
    METHOD,
    OUTPUTS,
    PROJECTIONS,
    WITH_METHOD,
    WITH_PARTING,
    WITH_PROJECTIONS,
    Conv1D,
    FilledLayer,
    GPTNeoSelfAttention,
    WithParts,
    attention_implementation,
    fresh_model,
    gpt2_positions,
    gpt2_queries_and_keys,
    has_recurrent_state,
    keys_and_values,
    sdpa_attention_forward,
    sdpa_mask,
    windows,
)
from tests.language_models import HEAD_SIZE, HEADS, HIDDEN, LAYERS, WINDOW, random_tokens, tiny_model


@torch.no_grad()
def test_transformers_is_as_we_take_it(tmp_path: Path) -> None:
    gpt2, tokens = tiny_model("gpt2"), random_tokens(1, 5)
    seen: list[str] = []

    def attend(*arguments: object, **keys: object) -> tuple[Tensor, None]:
        seen.append("a layer")
        found: tuple[Tensor, None] = sdpa_attention_forward(*arguments, **keys)
        return found

    expected = gpt2(input_ids=tokens).logits
    AttentionInterface.register("canary", attend)
    gpt2.set_attn_implementation("canary")
    assert attention_implementation(gpt2) == "canary", "models keep the name of their attention function elsewhere"
    assert torch.equal(gpt2(input_ids=tokens).logits, expected), (
        "transformers' own attention function has other results"
    )
    assert len(seen) == LAYERS, "models do not call the attention function of that name: nothing can be watched"
    mask = sdpa_mask(batch_size=1, q_length=2, kv_length=5, q_offset=3, allow_is_causal_skip=False)
    assert mask.tolist() == [[[[True] * 4 + [False], [True] * 5]]], "masks are no longer true where one may attend"

    keys, values = torch.ones(1, HEADS, 3, HEAD_SIZE), torch.zeros(1, HEADS, 3, HEAD_SIZE)
    layer = FilledLayer(keys, values)
    assert layer.get_seq_length() == 3, "a layer of a cache counts its tokens otherwise: positions would be wrong"
    assert layer.get_mask_sizes(2) == (5, 0), "a layer of a cache sizes masks otherwise: contexts would be hidden"
    cache = DynamicCache()
    gpt2(input_ids=tokens, past_key_values=cache, use_cache=True)
    shapes = [tuple(part.shape) for of_layer in keys_and_values(cache) for part in of_layer]
    assert shapes == [(1, HEADS, 5, HEAD_SIZE)] * 2 * LAYERS, "a cache keeps its keys and values elsewhere"

    assert isinstance(gpt2.transformer.h[0].attn.c_attn, Conv1D), "GPT-2's projections are of another kind"
    assert tuple(gpt2_positions(gpt2).shape) == (512, HIDDEN), "GPT-2's positions are elsewhere"
    (query, key), *_ = gpt2_queries_and_keys(gpt2)
    key.copy_(query)
    inner = gpt2.transformer.h[0].attn.c_attn.weight
    assert torch.equal(inner[:, :HIDDEN], inner[:, HIDDEN : 2 * HIDDEN]), "GPT-2's queries and keys lie elsewhere"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = fresh_model(type(gpt2), gpt2.config)
        torch.manual_seed(0)
        known = AutoModelForCausalLM.from_config(gpt2.config, dtype=torch.float32)
    assert all(torch.equal(*pair) for pair in zip(made.parameters(), known.parameters(), strict=True)), (
        "a model of a class has other weights than Auto classes give it: untrained controls have other numbers"
    )
    assert hasattr(type(gpt2), "_is_stateful"), "models with a recurrent state are marked otherwise, and not refused"
    assert not has_recurrent_state(gpt2)

    def add(model: PreTrainedModel) -> None:
        model.lm_head.register_parameter("added", nn.Parameter(torch.zeros(2)))

    gpt2.lm_head.register_parameter("added", nn.Parameter(torch.tensor([3.0, 4.0])))
    gpt2.save_pretrained(tmp_path)
    loader = WithParts(AutoModelForCausalLM, gpt2.config, add)
    loaded, found = loader.from_pretrained(tmp_path, output_loading_info=True)
    assert type(loaded) is type(gpt2), "Auto classes know their models otherwise"
    assert loaded.lm_head.added.tolist() == [3, 4], "parts that are added to a class are not read: momentum is lost"
    assert not found["missing_keys"]
    assert not found["unexpected_keys"]
    assert json.loads((tmp_path / "config.json").read_text())["architectures"] == ["GPT2LMHeadModel"]

    for kind in WITH_METHOD:
        assert callable(getattr(kind, METHOD, None)), f"{kind.__name__} attends by another method: it is not watched"
    for name in ("bloom", "falcon", "falcon_alibi"):
        layers = [module for module in tiny_model(name).modules() if type(module) in WITH_PARTING]
        assert layers, f"{name} has another class of attention: it is not watched"
        assert callable(getattr(layers[0], WITH_PARTING[type(layers[0])], None)), f"{name} parts its heads otherwise"
        assert hasattr(layers[0], OUTPUTS.get(type(layers[0]), "dense")), f"{name}'s outputs are elsewhere"
        assert layers[0].inv_norm_factor == pytest.approx(HEAD_SIZE**-0.5), f"{name} scales its queries otherwise"
    xglm, neo = tiny_model("xglm"), tiny_model("gpt_neo")
    attention = xglm.model.layers[0].self_attn
    assert type(attention) in WITH_PROJECTIONS, "XGLM has another class of attention: it is not watched"
    assert WITH_PROJECTIONS[type(attention)](attention) == HEAD_SIZE**-0.5, "XGLM scales its queries otherwise"
    assert all(hasattr(attention, name) for name in PROJECTIONS), "XGLM's projections have other names"
    local = neo.transformer.h[1].attn.attention
    assert type(local) is GPTNeoSelfAttention, "GPT-Neo has another class of attention: it is not watched"
    allowed = windows(local, WINDOW, WINDOW + 1)[0, 0, 0]
    assert allowed.tolist() == [False] + [True] * WINDOW, (
        "GPT-Neo keeps its windows elsewhere: what is hidden would count"
    )
