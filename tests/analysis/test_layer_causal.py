"""The layer-causal loss from the hidden states that transformers shows, and its gradient layer by layer."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import (
    CohereConfig,
    CohereForCausalLM,
    GraniteConfig,
    GraniteForCausalLM,
    PreTrainedModel,
)

from iclgd.analysis.finetune import Finetuned, make_loss
from iclgd.models.language import LanguageModel, LanguageModelError, wrap
from tests.language_models import (
    ARCHITECTURES,
    SINGLE,
    architecture,
    random_model,
    random_tokens,
    tiny,
    tiny_double,
)

IDS = random_tokens(1, 9)
EXAMPLE = tuple(IDS[0].tolist())
NORM = {
    "gpt2": ["transformer.ln_f"],
    "gpt_neo": ["transformer.ln_f"],
    "gpt_neox": ["gpt_neox.final_layer_norm"],
    "opt": ["model.decoder.final_layer_norm", "model.decoder.project_out"],
    "xglm": ["model.layer_norm"],
    "gptj": ["transformer.ln_f"],
    "bloom": ["transformer.ln_f"],
    "falcon": ["transformer.ln_f"],
    "falcon_alibi": ["transformer.ln_f"],
    "gemma3_images": ["model.language_model.norm"],
}
SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 32,
    "vocab_size": 50,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 2,
}


def layer_losses(name: str, model: LanguageModel) -> list[Tensor]:
    """Return each layer's loss, in one graph in which all layers hang together."""
    norm = [model.model.get_submodule(part) for part in NORM.get(architecture(name), ["model.norm"])]
    readout = [*norm, model.model.get_output_embeddings()]
    seen = model.model(input_ids=IDS, use_cache=False, output_hidden_states=True)
    logits = []
    for hidden in seen.hidden_states[1:-1]:
        for module in readout:
            hidden = module(hidden)
        logits.append(9.0 * (hidden / 9.0).tanh() if name == "gemma2" else hidden)
    logits.append(seen.logits)  # the last hidden state is shown after the final normalisation
    return [F.cross_entropy(layer[0, :-1], IDS[0, 1:]) for layer in logits]


def parameters_of(model: LanguageModel, index: int) -> list[torch.nn.Parameter]:
    return [projection.parameter for projection in model.layers[index].projections]


def parts_of(model: LanguageModel, index: int, tensors: tuple[Tensor, ...]) -> list[Tensor]:
    pairs = zip(model.layers[index].projections, tensors, strict=True)
    return [projection.part(tensor) for projection, tensor in pairs]


def gradients(model: LanguageModel, method: str) -> list[list[Tensor]]:
    """Return for each layer what a step of size 1 subtracts."""
    before, after = Finetuned(model), Finetuned(model)
    after.step(EXAMPLE, 1.0, make_loss(model, method))
    return [
        [old - new for old, new in zip(*parts, strict=True)] for parts in zip(before.parts, after.parts, strict=True)
    ]


def assert_same(actual: list[Tensor], expected: list[Tensor], name: str) -> None:
    tolerance = 1e-4 if name in SINGLE else 1e-10  # which use single precision
    for one, other in zip(actual, expected, strict=True):
        assert (one - other).abs().max() <= tolerance * max(other.abs().max(), 1e-3)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_loss_is_the_sum_of_all_layers_losses(name: str) -> None:
    model = tiny_double(name)
    with torch.no_grad():
        expected = layer_losses(name, model)
        loss = make_loss(model, "layer_causal")(IDS)
    assert len(expected) == model.num_layers
    assert torch.allclose(loss, torch.stack(expected).sum(), rtol=1e-6 if name in SINGLE else 1e-12)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_each_layer_has_the_gradient_of_its_own_loss(name: str) -> None:
    """What enters a layer does not depend on its weights, so that its own loss's gradient needs no detaching."""
    model = tiny_double(name)
    actual = gradients(model, "layer_causal")
    every = [parameter for index in range(model.num_layers) for parameter in parameters_of(model, index)]
    for parameter in every:
        parameter.requires_grad_(True)
    for index, loss in enumerate(layer_losses(name, model)):
        own = torch.autograd.grad(loss, parameters_of(model, index), retain_graph=True)
        assert_same(actual[index], parts_of(model, index, own), name)
        assert all(gradient.any() for gradient in actual[index])


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_last_layer_has_plain_gradient_descents_gradient(name: str) -> None:
    model = tiny_double(name)
    causal, plain = gradients(model, "layer_causal"), gradients(model, "gradient_descent")
    assert_same(causal[-1], plain[-1], name)
    for index in range(model.num_layers - 1):
        for one, other in zip(causal[index], plain[index], strict=True):
            assert (one - other).abs().max() > 1e-2 * other.abs().max()


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_nothing_is_left_on_the_model(name: str) -> None:
    model = tiny(name)
    make_loss(model, "layer_causal")(IDS)
    modules = list(model.model.modules())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in modules)


@pytest.mark.parametrize("name", ["gpt2", "xglm", "llama"])
def test_half_precision_runs(name: str) -> None:
    expected = make_loss(tiny(name), "layer_causal")(IDS)
    loss = make_loss(tiny(name, dtype=torch.bfloat16), "layer_causal")(IDS)
    assert loss.dtype == torch.float32
    assert torch.allclose(loss, expected, rtol=0.03)


@pytest.mark.parametrize(
    ("kind", "config"),
    [
        (CohereForCausalLM, CohereConfig(**SIZES)),
        (GraniteForCausalLM, GraniteConfig(**SIZES, logits_scaling=8.0)),
    ],
    ids=["logit_scale", "logits_scaling"],
)
def test_a_readout_that_is_more_than_modules_is_refused(kind: type[PreTrainedModel], config: Any) -> None:
    model = wrap("some/model", random_model(kind, config))
    with pytest.raises(LanguageModelError) as error:
        make_loss(model, "layer_causal")
    assert str(error.value) == (f"finetune.method=layer_causal: {kind.__name__} has no plain readout of its layers")
    make_loss(model, "gradient_descent")(torch.ones(1, 4, dtype=torch.long))
