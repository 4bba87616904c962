import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import GPT2Config, GPT2LMHeadModel

from iclgd.models import faster_modules
from iclgd.models.faster_modules import Faster, OneDNNConv1D, OneDNNLinear
from iclgd.vendors.transformers import Conv1D

IDS = torch.randint(600, (1, 11), generator=torch.Generator().manual_seed(0))
LARGE = faster_modules.FEWEST_WEIGHTS // 512


@pytest.fixture(scope="module")
def model() -> GPT2LMHeadModel:
    config = GPT2Config(vocab_size=600, n_positions=16, n_embd=512, n_layer=1, n_head=2, initializer_range=0.1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return GPT2LMHeadModel(config).eval()


def logits_and_gradients(model: GPT2LMHeadModel) -> list[Tensor]:
    parameters = [each for name, each in model.named_parameters() if "c_attn" in name or "c_proj" in name]
    model.requires_grad_(False)
    for parameter in parameters:
        parameter.requires_grad_(True)
    logits = model(IDS).logits
    return [logits.detach(), *torch.autograd.grad(F.cross_entropy(logits[0, :-1], IDS[0, 1:]), parameters)]


def test_results_and_gradients_are_the_same_to_rounding(model: GPT2LMHeadModel) -> None:
    exact, own = copy.deepcopy(model).double(), logits_and_gradients(model)
    with Faster(model).applied():
        assert isinstance(model.lm_head, OneDNNLinear)
        assert isinstance(model.transformer.h[0].attn.c_attn, OneDNNConv1D)
        assert "GELUTanh" in type(model.transformer.h[0].mlp.act).__name__
        faster = logits_and_gradients(model)
    for found, plain, expected in zip(faster, own, logits_and_gradients(exact), strict=True):
        largest, rounding = expected.abs().max(), (plain - expected).abs().max()
        assert (found - expected).abs().max() < max(4 * rounding, 1e-6 * largest)
    assert type(model.lm_head) is nn.Linear
    assert all(torch.equal(*each) for each in zip(logits_and_gradients(model), own, strict=True))


def test_in_other_precisions_the_modules_own_products_are_used(model: GPT2LMHeadModel) -> None:
    for dtype in (torch.float64, torch.bfloat16):
        other = copy.deepcopy(model).to(dtype)
        with torch.no_grad():
            own = other(IDS).logits
            with Faster(other).applied():
                logits = other(IDS).logits
        assert logits.dtype == dtype
        assert torch.allclose(logits, own, rtol=0, atol=1e-12 if dtype == torch.float64 else 0.1)


@pytest.mark.parametrize("has_bias", [True, False])
def test_linear_maps_take_any_number_of_axes(has_bias: bool) -> None:
    maps = nn.ModuleList([nn.Linear(512, LARGE, bias=has_bias), nn.Linear(512, LARGE - 1), Conv1D(LARGE, 512)])
    faster = Faster(maps)
    with faster.applied():
        assert [type(module) for module in maps] == [OneDNNLinear, nn.Linear, OneDNNConv1D]
    for shape in ((512,), (3, 512), (2, 3, 512), (0, 3, 512)):
        inputs = torch.randn(shape, requires_grad=True)
        for module in maps:
            if shape == (512,) and isinstance(module, Conv1D):  # which takes none such
                continue
            expected = module(inputs)
            with faster.applied():
                found = module(inputs)
            assert torch.allclose(found, expected, atol=1e-5)
            gradients = [torch.autograd.grad(result.square().sum(), inputs)[0] for result in (found, expected)]
            assert torch.allclose(*gradients, atol=1e-4)
