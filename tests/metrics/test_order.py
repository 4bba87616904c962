"""Spreads over orders beside numpy in double precision."""

import itertools
import math

import numpy as np
import pytest
import torch

from iclgd.metrics import Bootstrap, OrderFlips, OrderSensitivity, Resampling, order_flips, order_sensitivity

B, P, V = 6, 4, 50


def log_probabilities() -> torch.Tensor:
    return torch.randn(B, P, V, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).log_softmax(-1)


def test_sensitivity_is_a_sum_of_standard_deviations() -> None:
    given = log_probabilities()
    expected = np.exp(given.numpy()).std(axis=1, ddof=1).sum(-1)
    np.testing.assert_allclose(order_sensitivity(given).numpy(), expected, rtol=0, atol=1e-14)
    np.testing.assert_allclose(order_sensitivity(given.flip(1)).numpy(), expected, rtol=0, atol=1e-14)
    assert order_sensitivity(given[:, :1].expand(-1, P, -1)).abs().max() < 1e-15


@pytest.mark.parametrize("num_orders", [2, 3, 9])
def test_sensitivity_is_at_most_the_square_root_of_the_number_of_orders(num_orders: int) -> None:
    different = torch.eye(num_orders, dtype=torch.float64)[None].log()
    assert order_sensitivity(different).item() == pytest.approx(math.sqrt(num_orders), abs=1e-14)


def test_flips_count_pairs_of_orders() -> None:
    choices = torch.randint(3, (40, 5), generator=torch.Generator().manual_seed(0))
    pairs = list(itertools.combinations(range(5), 2))
    expected = [sum(row[one] != row[other] for one, other in pairs) / len(pairs) for row in choices.tolist()]
    assert order_flips(choices).tolist() == pytest.approx(expected, abs=1e-15)


def test_what_is_not_there_is_nan() -> None:
    given, choices = log_probabilities(), torch.zeros(B, P, dtype=torch.long)
    given[2, 1], choices[2, 1] = math.nan, -1
    for found in (order_sensitivity(given), order_flips(choices)):
        assert found.isnan().nonzero().tolist() == [[2]]
    for metric, inputs in ((OrderSensitivity(), given), (OrderFlips(), choices)):
        wrapped = Bootstrap(metric, Resampling(10))
        wrapped.update(inputs)
        assert wrapped.compute().isnan().all()


def test_what_does_not_fit_is_refused_in_one_line() -> None:
    with pytest.raises(
        ValueError, match=r"^log_probabilities must have shape \(B, P, V\), P at least 2, got \(6, 1, 50\)$"
    ):
        order_sensitivity(log_probabilities()[:, :1])
    with pytest.raises(ValueError, match=r"^choices must have shape \(B, P\), P at least 2, got \(6, 1\)$"):
        order_flips(torch.zeros(6, 1, dtype=torch.long))
    with pytest.raises(ValueError, match=r"^choices must be whole numbers, got torch.float32$"):
        OrderFlips().update(torch.zeros(6, 2))
