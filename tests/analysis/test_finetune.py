"""Finetuning of key and value projections beside plain stochastic gradient descent on a copy of the model."""

import copy
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from iclgd.analysis.attention_capture import capture_queries
from iclgd.analysis.finetune import METHODS, FinetuneConfig, Finetuned, make_loss, next_token_loss
from iclgd.models.language import LanguageModel
from tests.language_models import (
    ARCHITECTURES,
    HEAD_SIZE,
    HEADS,
    HIDDEN,
    LAYERS,
    VOCABULARY,
    architecture,
    random_tokens,
    tiny,
    tiny_double,
)

EXAMPLES = [tuple(random_tokens(length, seed=length).tolist()) for length in (7, 9, 5, 2)]
KEYS_AND_VALUES = ("k_proj", "v_proj", "c_attn", "query_key_value", "qkv_proj")
LEARNING_RATE = 0.1
IN_ONE = ("gpt2", "gpt_neox", "phi3", "bloom", "falcon", "falcon_alibi")  # keys and values in one matrix


def zero_queries(name: str, tensor: Tensor) -> Tensor:
    """Return a view of the part of a fused projection, or of its gradient, that makes queries; empty for others."""
    if "c_attn" in name:
        return tensor[..., :HIDDEN]
    if "qkv_proj" in name:
        return tensor[:HIDDEN]
    if "query_key_value" in name:
        num_groups = HEADS if len(tensor) == 3 * HIDDEN else 2  # each with its queries, a key and a value
        return tensor.view(num_groups, -1, HEAD_SIZE, *tensor.shape[1:])[:, :-2]
    return tensor[:0]


def is_changed(name: str) -> bool:
    """Say whether a parameter has keys or values of text."""
    return any(part in name for part in KEYS_AND_VALUES) and "vision_tower" not in name


def sgd(model: LanguageModel, examples: list[tuple[int, ...]], learning_rate: float) -> dict[str, Tensor]:
    """Return all weights of a copy that PyTorch trains."""
    twin = copy.deepcopy(model.model)
    named = {name: parameter.requires_grad_(True) for name, parameter in twin.named_parameters() if is_changed(name)}
    optimizer = torch.optim.SGD(named.values(), lr=learning_rate)
    for example in examples:
        ids = torch.tensor([example])
        optimizer.zero_grad()
        twin(input_ids=ids, labels=ids).loss.backward()
        for name, parameter in named.items():
            zero_queries(name, parameter.grad).zero_()
        optimizer.step()
    return {name: parameter.detach() for name, parameter in twin.named_parameters()}


def weights_of(model: LanguageModel) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in model.model.named_parameters()}


def finetune(model: LanguageModel, method: str = "gradient_descent", rate: float = LEARNING_RATE) -> Finetuned:
    finetuned = Finetuned(model)
    loss = make_loss(model, method)
    for example in EXAMPLES:
        finetuned.step(example, rate, loss)
    return finetuned


def parts_of(finetuned: Finetuned) -> Iterator[Tensor]:
    return (part for parts in finetuned.parts for part in parts)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_steps_are_those_of_torchs_sgd(name: str) -> None:
    model = tiny_double(name)
    before = weights_of(model)
    expected = sgd(model, EXAMPLES, LEARNING_RATE)
    with finetune(model).applied():
        actual = weights_of(model)
    assert actual.keys() == expected.keys()
    moved = 0
    for key, weight in expected.items():
        change, expected_change = actual[key] - before[key], weight - before[key]
        # Its loss is in single precision.
        assert (change - expected_change).abs().max() <= 1e-5 * max(expected_change.abs().max(), 1e-3)
        moved += bool(expected_change.abs().max() > 1e-4) and weight.ndim == 2
    assert moved == model.num_layers * (1 if architecture(name) in IN_ONE else 2)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_only_keys_and_values_move(name: str, method: str) -> None:
    model = tiny(name)
    before = weights_of(model)
    with finetune(model, method).applied():
        after = weights_of(model)
    for key, weight in after.items():
        if is_changed(key):
            queries = zero_queries(key, weight)
            assert torch.equal(queries, zero_queries(key, before[key]))
            if queries.numel():
                zero_queries(key, before[key]).zero_()
                queries.zero_()
            if weight.ndim == 2:  # a bias of keys moves little or not at all: it adds the same to all scores
                assert (weight != before[key]).float().mean() > 0.3, key
        else:
            assert torch.equal(weight, before[key]), key


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_base_model_is_untouched(name: str, method: str) -> None:
    model, ids = tiny(name), torch.tensor([EXAMPLES[0]])
    before = weights_of(model)
    pointers = [parameter.data_ptr() for parameter in model.model.parameters()]

    def logits() -> Tensor:
        with torch.no_grad():
            result: Tensor = model.model(input_ids=ids, use_cache=False).logits
        return result

    def assert_untouched() -> None:
        assert [parameter.data_ptr() for parameter in model.model.parameters()] == pointers
        assert all(torch.equal(parameter, before[key]) for key, parameter in model.model.named_parameters())
        assert not any(parameter.requires_grad for parameter in model.model.parameters())
        assert all(parameter.grad is None for parameter in model.model.parameters())
        assert torch.equal(logits(), base)

    base = logits()
    finetuned = finetune(model, method)
    assert_untouched()
    with finetuned.applied():
        assert not torch.allclose(logits(), base)
    assert_untouched()
    with pytest.raises(RuntimeError, match="within"), finetuned.applied():
        raise RuntimeError("within the block")
    assert_untouched()
    kept = [part.clone() for part in parts_of(finetuned)]

    def failing(_ids: Tensor) -> Tensor:
        raise RuntimeError("no loss")

    with pytest.raises(RuntimeError, match="no loss"):
        finetuned.step(EXAMPLES[0], LEARNING_RATE, failing)
    assert_untouched()
    assert all(torch.equal(one, other) for one, other in zip(kept, parts_of(finetuned), strict=True))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_step_shows_the_queries_before_it(name: str, method: str) -> None:
    model = tiny(name)
    finetuned, loss = Finetuned(model), make_loss(model, method)
    shown = []
    for example in EXAMPLES:
        with torch.no_grad(), finetuned.applied(), capture_queries(model) as expected:
            model.model(input_ids=torch.tensor([example]), use_cache=False)
        queries = finetuned.step(example, LEARNING_RATE, loss)
        shown.append(queries)
        for one, other in zip(queries, expected, strict=True):
            assert one.shape == (len(example), HIDDEN)
            assert torch.equal(one, other[0])
    later = finetuned.step(EXAMPLES[0], LEARNING_RATE, loss)
    assert torch.equal(later[0], shown[0][0])  # nothing before the first layer's queries has moved
    assert not torch.allclose(later[-1], shown[0][-1])


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_small_steps_are_proportional_to_the_learning_rate(name: str) -> None:
    model = tiny_double(name)
    base = [part.clone() for part in parts_of(Finetuned(model))]
    changes = []
    for rate in (1e-3, 2e-3):
        finetuned = Finetuned(model)
        finetuned.step(EXAMPLES[0], rate, make_loss(model, "gradient_descent"))
        changes.append([part - start for part, start in zip(parts_of(finetuned), base, strict=True)])
    for one, other in zip(*changes, strict=True):
        tolerance = 1e-9 if one.dtype == torch.float64 else 1e-6  # of weights around 1
        assert (2 * one - other).abs().max() <= tolerance * max(other.abs().max(), 1)
    ids = torch.tensor([EXAMPLES[0]])
    with torch.no_grad():
        expected = model.model(input_ids=ids, use_cache=False).logits
        with finetune(model, rate=1e-12).applied():
            logits = model.model(input_ids=ids, use_cache=False).logits
    assert torch.allclose(logits, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_steps_go_down(name: str) -> None:
    model, ids = tiny(name), torch.tensor([EXAMPLES[0]])
    finetuned, loss = Finetuned(model), make_loss(model, "gradient_descent")
    losses = []
    for _ in range(20):
        with torch.no_grad(), finetuned.applied():
            losses.append(loss(ids).item())
        finetuned.step(EXAMPLES[0], 0.01, loss)
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < losses[0] - 0.05


@pytest.mark.parametrize(("dtype", "rate"), [(torch.bfloat16, 1e-4), (torch.float16, 2e-5)], ids=str)
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_one_small_step_moves_a_model_in_half_precision(name: str, dtype: torch.dtype, rate: float) -> None:
    model = tiny(name, dtype=dtype)
    before = weights_of(model)
    for key, weight in before.items():
        assert weight.dtype == (torch.float32 if is_changed(key) else dtype), key
    finetuned = Finetuned(model)
    finetuned.step(EXAMPLES[0], rate, make_loss(model, "gradient_descent"))
    ids = torch.tensor([EXAMPLES[0]])
    with torch.no_grad(), finetuned.applied():
        after = weights_of(model)
        moved = model.model(input_ids=ids, use_cache=False).logits
    with torch.no_grad():
        still = model.model(input_ids=ids, use_cache=False).logits
    changed = [key for key, weight in after.items() if not torch.equal(weight, before[key]) and weight.ndim == 2]
    lost = sum(int((after[key].to(dtype) == before[key].to(dtype)).sum()) for key in changed)
    assert lost > 0.9 * sum(before[key].numel() for key in changed)  # which half precision would have left as it was
    assert not torch.equal(moved, still)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_small_steps_add_up_where_everything_is_in_bfloat16(name: str) -> None:
    model = tiny(name)
    model.model.bfloat16()  # as Lightning's bf16-true does
    before = weights_of(model)
    finetuned, loss = Finetuned(model), make_loss(model, "gradient_descent")
    start = [part.clone() for part in parts_of(finetuned)]
    assert all(part.dtype == torch.float32 for part in start)
    finetuned.step(EXAMPLES[0], 1e-6, loss)
    first = [part - base for part, base in zip(parts_of(finetuned), start, strict=True)]
    with finetuned.applied():  # rounded to what was there; but for weights that are almost 0
        rounded = weights_of(model)
    moved = sum(int((rounded[key] != weight).sum()) for key, weight in before.items())
    assert moved < 0.01 * sum(part.numel() for part in start)
    for _ in range(49):
        finetuned.step(EXAMPLES[0], 1e-6, loss)
    many = [part - base for part, base in zip(parts_of(finetuned), start, strict=True)]
    assert sum(change.abs().sum() for change in many) > 25 * sum(change.abs().sum() for change in first) > 0
    parameters = [parameter for layer in finetuned.parameters for parameter in layer.values()]
    assert all(parameter.dtype == torch.bfloat16 for parameter in parameters)


def test_finetuned_models_are_apart_from_one_another() -> None:
    model = tiny("gpt_neox")
    untouched, finetuned = Finetuned(model), finetune(model)
    fresh = Finetuned(model)
    for one, other, moved in zip(parts_of(untouched), parts_of(fresh), parts_of(finetuned), strict=True):
        assert torch.equal(one, other)
        assert one.data_ptr() != other.data_ptr()
        assert not torch.equal(one, moved)


def test_a_step_makes_no_products_for_what_stays() -> None:
    model = tiny("gpt2")
    finetuned, loss = Finetuned(model), make_loss(model, "gradient_descent")
    with FlopCounterMode(display=False) as counter:
        finetuned.step(EXAMPLES[0], LEARNING_RATE, loss)
    of_operations = counter.get_flop_counts()["Global"]
    found = sum(of_operations[each] for each in (torch.ops.aten.mm, torch.ops.aten.addmm, torch.ops.aten.bmm))
    length, projections = len(EXAMPLES[0]), 3 * HIDDEN**2
    others = HIDDEN**2 + 2 * HIDDEN * model.model.transformer.h[0].mlp.c_fc.nf
    head = HIDDEN * VOCABULARY * (length - 1)  # the last token has no loss
    forward = length * LAYERS * (projections + others) + head
    # No weight but those of keys and values gets a gradient (queries', in the same matrix, is thrown away), and no
    # activation below the first layer's projections.
    backward = head + length * LAYERS * others + length * (LAYERS - 1) * projections + length * LAYERS * projections
    assert found == 2 * (forward + backward)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_the_loss_is_the_mean_over_all_tokens_but_the_first(dtype: torch.dtype) -> None:
    logits, ids = torch.randn(1, 6, 11).to(dtype), torch.randint(11, (1, 6))
    expected = -logits[0, :-1].float().log_softmax(-1)[torch.arange(5), ids[0, 1:]].mean()
    assert torch.allclose(next_token_loss(logits[:, :-1], ids), expected)
    assert torch.allclose(expected, F.cross_entropy(logits[0, :-1].float(), ids[0, 1:]))


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"learning_rate": 0}, "finetune.learning_rate must be positive and finite, got 0"),
        ({"learning_rate": float("inf")}, "finetune.learning_rate must be positive and finite, got inf"),
        (
            {"learning_rate": 1, "method": "adam"},
            "finetune.method must be one of: gradient_descent, layer_causal; got 'adam'",
        ),
    ],
)
def test_unusable_settings_are_refused(keys: dict[str, object], expected: str) -> None:
    with pytest.raises(ValueError) as error:
        FinetuneConfig(**keys)  # type: ignore[arg-type]
    assert str(error.value) == expected
