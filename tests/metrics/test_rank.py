import math
import time

import numpy as np
import pytest
import torch
from scipy.stats import kendalltau
from torch import Tensor

from iclgd.metrics import demonstration_attention, example_sums, finetuned_scores, kendall_tau, rank, top_k_recall


def pairs(rows: int, length: int, levels: int | None = None) -> tuple[Tensor, Tensor]:
    """Correlated numbers; few levels make many ties."""
    generator = torch.Generator().manual_seed(length)
    first, noise = torch.randn(2, rows, length, dtype=torch.float64, generator=generator)
    second = first + noise
    return (first, second) if levels is None else ((first * levels / 4).round(), (second * levels / 4).round())


def by_scipy(first: Tensor, second: Tensor) -> list[float]:
    taus = [kendalltau(a, b).statistic for a, b in zip(first.numpy(), second.numpy(), strict=True)]
    return np.nan_to_num(taus).tolist()  # ours is 0 by rule where scipy has NaN


@pytest.mark.parametrize("levels", [None, 1, 3, 20])
@pytest.mark.parametrize("length", [2, 3, 4, 5, 9, 10, 17, 32, 100, 250, 901])
def test_kendall_tau_equals_scipy(length: int, levels: int | None) -> None:
    first, second = pairs(12, length, levels)
    assert kendall_tau(first, second).tolist() == pytest.approx(by_scipy(first, second), abs=1e-12)


def test_kendall_tau_with_ties_in_one_of_them() -> None:
    first, second = pairs(12, 40)
    for pair in ((first.round(), second), (first, second.round()), (-0.0 * first.round() + first.round(), second)):
        assert kendall_tau(*pair).tolist() == pytest.approx(by_scipy(*pair), abs=1e-12)


def test_kendall_tau_keeps_leading_dimensions_and_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = pairs(24, 30)
    whole = kendall_tau(first, second)
    assert torch.equal(kendall_tau(first.view(2, 3, 4, 30), second.view(2, 3, 4, 30)), whole.view(2, 3, 4))
    monkeypatch.setattr(rank, "CPU_CHUNK", 200)  # six rows at a time
    assert torch.equal(kendall_tau(first, second), whole)
    monkeypatch.setattr(rank, "CPU_CHUNK", 1)
    assert torch.equal(kendall_tau(first, second), whole)
    strided = first.T.contiguous().T
    assert torch.equal(kendall_tau(strided.requires_grad_(), second), whole)


def test_kendall_tau_of_the_longest_16_bit_rows() -> None:
    first, second = pairs(1, 181**2 + 5)  # places no longer fit 16 bits
    assert kendall_tau(first, second).tolist() == pytest.approx(by_scipy(first, second), abs=1e-12)


def test_kendall_tau_is_exactly_one_for_equal_ranks() -> None:
    first, _ = pairs(5, 77)
    assert torch.equal(kendall_tau(first, first.exp()), torch.ones(5, dtype=torch.float64))
    assert torch.equal(kendall_tau(first, -first), -torch.ones(5, dtype=torch.float64))


def test_kendall_tau_is_zero_by_rule() -> None:
    first, _ = pairs(3, 7)
    zeros = torch.zeros(3, dtype=torch.float64)
    assert torch.equal(kendall_tau(first, torch.ones_like(first)), zeros)
    assert torch.equal(kendall_tau(torch.zeros_like(first), first), zeros)
    assert torch.equal(kendall_tau(torch.zeros_like(first), torch.zeros_like(first)), zeros)
    for length in (0, 1):
        assert torch.equal(kendall_tau(first[:, :length], first[:, :length]), zeros)
    assert kendall_tau(first[:0], first[:0]).shape == (0,)


def test_kendall_tau_of_nan_is_nan() -> None:
    first, second = pairs(3, 7)
    expected = kendall_tau(first, second)
    first[1, 2] = math.nan
    taus = kendall_tau(first, second)
    assert taus[1].isnan()
    assert torch.equal(taus[[0, 2]], expected[[0, 2]])


@pytest.mark.slow
def test_kendall_tau_is_faster_than_scipy() -> None:
    first, second = pairs(300, 900)
    seconds = {}
    for name, function in (("here", kendall_tau), ("scipy", by_scipy)):
        function(first[:10], second[:10])
        start = time.perf_counter()
        function(first, second)
        seconds[name] = time.perf_counter() - start
    assert seconds["here"] < seconds["scipy"]


@pytest.mark.gpu
def test_rank_measures_on_a_gpu() -> None:
    for levels in (None, 3):
        first, second = pairs(5000, 1000, levels)
        taus = kendall_tau(first.cuda(), second.cuda())
        assert taus.is_cuda
        torch.testing.assert_close(taus.cpu(), kendall_tau(first, second), rtol=0, atol=1e-12)
    first, second = pairs(100, 50)
    recall = top_k_recall(first.cuda(), second.cuda(), 10).cpu()
    torch.testing.assert_close(recall, top_k_recall(first, second, 10), rtol=0, atol=1e-12)


def test_top_k_recall_counts_common_entries() -> None:
    first, second = pairs(8, 30)
    for k in (1, 7, 30):
        expected = [
            len(set(a.topk(k).indices.tolist()) & set(b.topk(k).indices.tolist())) / k
            for a, b in zip(first, second, strict=True)
        ]
        assert top_k_recall(first, second, k).tolist() == pytest.approx(expected)
    assert torch.equal(top_k_recall(first, second, 31), torch.ones(8, dtype=torch.float64))
    assert top_k_recall(first.view(2, 4, 30), second.view(2, 4, 30), 3).shape == (2, 4)


def test_example_sums_add_consecutive_stretches() -> None:
    weights = torch.arange(12).view(2, 6)
    expected = torch.tensor([[1, 9, 0, 5], [13, 27, 0, 11]]).double()
    sums = example_sums(weights, [2, 3, 0, 1])
    assert sums.dtype == torch.float64
    assert torch.equal(sums, expected)


def test_attention_keeps_ranks_that_single_precision_loses() -> None:
    scores = torch.linspace(0, -600, 50)
    attention = demonstration_attention(scores)
    assert attention.sum().item() == pytest.approx(1)
    assert kendall_tau(attention, scores.double()).item() == 1
    assert kendall_tau(scores.softmax(-1), scores).item() < 1


def test_finetuned_scores_are_inner_products() -> None:
    training, test = torch.randn(3, 5, 4), torch.randn(2, 3, 4)
    scores = finetuned_scores(training, test)
    assert scores.shape == (2, 3, 5)
    assert scores[1, 2, 4].item() == pytest.approx((training[2, 4].double() @ test[1, 2].double()).item(), abs=1e-11)


def test_equal_training_queries_have_equal_scores_in_every_batch() -> None:
    generator = torch.Generator().manual_seed(0)
    training = torch.randn(1, 50, 96, generator=generator).repeat_interleave(3, dim=1)[:, torch.randperm(150)]
    test = torch.randn(64, 1, 96, generator=generator)
    together = finetuned_scores(training, test)
    assert len(together[5, 0].unique()) == 50
    assert torch.equal(finetuned_scores(training, test[5:6]), together[5:6])


def test_errors_are_one_line() -> None:
    three, four = torch.ones(2, 3), torch.ones(2, 4)
    with pytest.raises(ValueError, match=r"^first and second must have one shape, got \(2, 3\) and \(2, 4\)$"):
        kendall_tau(three, four)
    with pytest.raises(ValueError, match=r"^first and second must have one shape"):
        top_k_recall(three, four, 1)
    with pytest.raises(ValueError, match=r"^k must be at least 1, got 0$"):
        top_k_recall(three, three, 0)
    for lengths in ([1, 1], [4, -1], []):
        with pytest.raises(ValueError, match=r"^lengths must be non-negative with the sum 3, got \["):
            example_sums(three, lengths)
    with pytest.raises(ValueError, match=r"^training_queries must have shape \(L, N, D\), got \(2, 3\)$"):
        finetuned_scores(three, three)
    with pytest.raises(ValueError, match=r"^test_queries must have shape \(B, L, D\) = \(B, 3, 4\), got \(2, 3, 5\)$"):
        finetuned_scores(torch.ones(3, 6, 4), torch.ones(2, 3, 5))


@pytest.mark.parametrize("levels", [None, 3])
def test_hidden_entries_do_not_count(levels: int | None) -> None:
    generator = torch.Generator().manual_seed(0)
    shape = (5, 3, 20)
    draws = [torch.rand(shape, generator=generator, dtype=torch.float64) for _ in range(2)]
    first, second = (draw if levels is None else (draw * levels).floor() for draw in draws)
    visible = torch.rand(shape, generator=generator) < torch.tensor([0.5, 0.9, 0.1])[:, None]
    visible[0] = torch.arange(20) < torch.tensor([0, 1, 20])[:, None]
    expected = torch.zeros(3, 5, 3, dtype=torch.float64)
    for place in np.ndindex(5, 3):
        one, other = (each[place][visible[place]] for each in (first, second))
        expected[0][place] = kendall_tau(one, other)
        expected[1][place] = top_k_recall(one, other, 4) if len(one) else 0.0
        attention = demonstration_attention(first, visible)[place]
        assert torch.allclose(attention[visible[place]], one.softmax(-1), rtol=1e-12, atol=0)
        assert not attention[~visible[place]].any()
    for nothing in (math.nan, math.inf, -math.inf, 1e300):
        hidden = [each.masked_fill(~visible, nothing) for each in (first, second)]
        assert torch.equal(kendall_tau(*hidden, visible), expected[0])
        if levels is None:  # which of several equal ones is taken is not specified
            assert torch.equal(top_k_recall(*hidden, 4, visible), expected[1])
        assert torch.equal(demonstration_attention(hidden[0], visible), demonstration_attention(first, visible))
    everywhere = torch.ones_like(visible)
    assert torch.equal(kendall_tau(first, second, everywhere), kendall_tau(first, second))
    assert torch.equal(top_k_recall(first, second, 4, everywhere), top_k_recall(first, second, 4))
    assert torch.equal(demonstration_attention(first, everywhere), demonstration_attention(first))
    with pytest.raises(ValueError, match=r"^visible must be boolean, got torch.int64$"):
        kendall_tau(first, second, visible.long())
    with pytest.raises(ValueError, match=r"^visible and first must have one shape, got \(3, 20\) and \(5, 3, 20\)$"):
        top_k_recall(first, second, 4, visible[0])
