import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from iclgd.metrics import cosine, random_sim_aou, sim_am, sim_am_delta, sim_aou, update_similarity


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def assert_equal(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-12)


def test_cosine_equals_pytorch() -> None:
    first, second = numbers(4, 3, 7), numbers(4, 3, 7, seed=1)
    assert_equal(cosine(first, second), F.cosine_similarity(first, second, dim=-1))


@pytest.mark.parametrize("scale", [5e-324, 1e-320, 1e-200, 1e-20, 1.0, 1e200])
def test_cosine_does_not_depend_on_length(scale: float) -> None:
    first = torch.tensor([[0.0, scale, 0.0]], dtype=torch.float64)
    second = torch.tensor([[3.0, 4.0, 0.0]], dtype=torch.float64)
    assert_equal(cosine(first, second), torch.tensor([0.8], dtype=torch.float64))
    assert_equal(cosine(first, first), torch.ones(1, dtype=torch.float64))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_everything_is_computed_in_double_precision(dtype: torch.dtype) -> None:
    first, second = numbers(2, 3, 4, 5).to(dtype), numbers(2, 3, 4, 5, seed=1).to(dtype)
    result = update_similarity(first, second)
    assert result.dtype == torch.float64
    assert_equal(result, F.cosine_similarity(first.double(), second.double(), dim=-1).mean(-1))


def test_sim_aou_normalises_before_it_subtracts() -> None:
    zero_shot, in_context, finetuned = numbers(3, 5, 4, 8)
    start = F.normalize(zero_shot, dim=-1)
    updates = [F.normalize(each, dim=-1) - start for each in (in_context, finetuned)]
    expected = F.cosine_similarity(*updates, dim=-1)
    assert_equal(sim_aou(zero_shot, in_context, finetuned), expected)
    assert_equal(sim_aou(2 * zero_shot, 3 * in_context, 0.1 * finetuned), expected)


def test_random_sim_aou_normalises_the_outputs() -> None:
    zero_shot, in_context, updates = numbers(3, 5, 4, 8)
    update = F.normalize(in_context, dim=-1) - F.normalize(zero_shot, dim=-1)
    assert_equal(random_sim_aou(zero_shot, in_context, updates), F.cosine_similarity(update, updates, dim=-1))


@pytest.mark.parametrize("padding", [0.0, 3.0, float("inf"), float("-inf"), float("nan")])
def test_sim_am_does_not_see_padding(padding: float) -> None:
    first, second, mask = numbers(2, 3, 4, 6), numbers(2, 3, 4, 6, seed=1), torch.ones(2, 6, dtype=torch.bool)
    mask[1, :2] = False  # padded on the left
    expected = torch.stack(
        [
            F.cosine_similarity(first[0], second[0], dim=-1).mean(-1),
            F.cosine_similarity(first[1, ..., 2:], second[1, ..., 2:], dim=-1).mean(-1),
        ]
    )
    first[1, ..., :2] = second[1, ..., :2] = padding
    assert_equal(sim_am(first, second, mask), expected)
    assert_equal(sim_am_delta(torch.zeros_like(first), first, second, mask), expected)


def test_sim_am_delta_compares_changes() -> None:
    zero_shot, in_context, finetuned = numbers(3, 2, 3, 4, 6)
    mask = torch.ones(2, 6, dtype=torch.bool)
    expected = F.cosine_similarity(in_context - zero_shot, finetuned - zero_shot, dim=-1).mean(-1)
    assert_equal(sim_am_delta(zero_shot, in_context, finetuned, mask), expected)


def test_zero_vectors_have_cosine_zero() -> None:
    zero, other, mask = torch.zeros(2, 3, 4, 6), numbers(2, 3, 4, 6).float(), torch.ones(2, 6, dtype=torch.bool)
    nothing = torch.zeros(2, 3, dtype=torch.float64)
    assert torch.equal(cosine(zero, other), torch.zeros(2, 3, 4, dtype=torch.float64))
    assert torch.equal(cosine(zero, zero), torch.zeros(2, 3, 4, dtype=torch.float64))
    assert torch.equal(sim_am(zero, other, mask), nothing)
    assert torch.equal(sim_am(other, other, ~mask), nothing)
    assert torch.equal(sim_am_delta(other, other, zero, mask), nothing)
    assert torch.equal(update_similarity(zero, other), nothing)
    outputs = other[:, :, 0]
    assert torch.equal(sim_aou(outputs, outputs, outputs + 1), nothing)
    assert torch.equal(random_sim_aou(outputs, outputs, outputs + 1), nothing)


def test_a_zero_output_stays_zero() -> None:
    in_context = torch.eye(2)[:1, None]
    zero_shot, finetuned = torch.eye(2)[1:, None], torch.zeros(1, 1, 2)
    expected = torch.tensor([[0.5**0.5]], dtype=torch.float64)  # (1, -1) and (0, -1)
    assert_equal(sim_aou(zero_shot, in_context, finetuned), expected)


def test_errors_are_one_line() -> None:
    three, four, mask = torch.ones(2, 1, 3), torch.ones(2, 1, 4), torch.ones(2, 3, dtype=torch.bool)
    maps = torch.ones(2, 1, 5, 3)
    with pytest.raises(ValueError, match=r"^first and second must have one shape, got \(2, 1, 3\) and \(2, 1, 4\)$"):
        cosine(three, four)
    with pytest.raises(ValueError, match=r"^zero_shot and finetuned must have one shape"):
        sim_aou(three, three, four)
    with pytest.raises(ValueError, match=r"^zero_shot and updates must have one shape"):
        random_sim_aou(three, three, four)
    with pytest.raises(ValueError, match=r"^scores must have shape \(B, L, H, T\), got \(2, 1, 3\)$"):
        sim_am(three, three, mask)
    with pytest.raises(ValueError, match=r"^mask must have shape \(B, T\) = \(2, 3\), got \(1, 3\)$"):
        sim_am(maps, maps, mask[:1])
    with pytest.raises(ValueError, match=r"^mask must be boolean, got torch.int64$"):
        sim_am_delta(maps, maps, maps, mask.long())
    with pytest.raises(ValueError, match=r"^in_context must have shape \(B, L, H, E\), got \(2, 1, 3\)$"):
        update_similarity(three, three)


def test_every_layer_may_have_a_mask_of_its_own() -> None:
    first, second = torch.tensor([[1.0, 0.0, 5.0], [1.0, 1.0, -5.0]]).view(2, 1, 1, 1, 3).expand(2, 1, 2, 1, 3)
    mask = torch.tensor([[[True, True, False], [True, False, False]]])
    assert_equal(sim_am(first, second, mask), torch.tensor([[0.5**0.5, 1.0]], dtype=torch.float64))
    for index in range(2):
        alone = sim_am(first[:, index : index + 1], second[:, index : index + 1], mask[:, index])
        assert torch.equal(alone, sim_am(first, second, mask)[:, index : index + 1])
    with pytest.raises(ValueError, match=r"^mask must have shape \(B, L, T\) = \(1, 2, 3\), got \(1, 1, 3\)$"):
        sim_am(first, second, mask[:, :1])
