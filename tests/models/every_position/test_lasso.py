"""The Lasso beside the published coefficients, and beside what makes a minimiser one."""

import pytest
import sklearn.linear_model
import torch
from torch import Tensor

from iclgd.models.every_position import Lasso
from tests.fixtures import assert_close
from tests.function_references import arrays

ALPHAS = ("1", "0.1", "0.01", "0.001", "0.0001")


def objectives(x: Tensor, y: Tensor, weights: Tensor, alpha: float) -> Tensor:
    """Return what the Lasso minimises at each position, (B, N); position 0 has no examples."""
    found = torch.zeros_like(y)
    for position in range(1, y.shape[1]):
        weight = weights[:, position]
        residuals = y[:, :position] - (x[:, :position] @ weight[..., None]).squeeze(-1)
        found[:, position] = residuals.square().mean(1) / 2 + alpha * weight.abs().sum(1)
    return found


def optimality(x: Tensor, y: Tensor, weights: Tensor, alpha: float) -> Tensor:
    """Return how far each weight is from the subgradient condition, relative to alpha; zero at the minimum."""
    found = torch.zeros_like(weights)
    for position in range(1, y.shape[1]):
        weight, inputs = weights[:, position], x[:, :position]
        residuals = y[:, :position] - (inputs @ weight[..., None]).squeeze(-1)
        gradient = (inputs.mT @ residuals[..., None]).squeeze(-1) / position
        free = (gradient - alpha * weight.sign()).abs()
        found[:, position] = torch.where(weight != 0, free, (gradient.abs() - alpha).clamp(min=0)) / alpha
    return found


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("case", ["sparse", "noisy"])
def test_the_minimum_is_below_the_published_one_and_near(case: str, alpha: str) -> None:
    stored = arrays("C4_lasso")
    x, y, theirs = stored[f"{case}_xs"], stored[f"{case}_ys"], stored[f"{case}_alpha_{alpha}_coefficients"]
    learner, number = Lasso(float(alpha)), float(alpha)
    ours = learner.weights(x, y)
    best, published = objectives(x, y, ours, number), objectives(x, y, theirs, number)
    means = torch.stack([y[:, : max(1, position)].square().mean(1) for position in range(y.shape[1])], 1)
    assert ((best - published) <= 1e-8 * means).all()
    assert ((published - best) <= 1.1e-4 * means).all()
    assert optimality(x, y, ours, number).max() < 1e-2 * (1e-3 / number + 1)
    predictions = learner.at_every_position(x, y)
    assert_close(predictions, (ours * x).sum(-1), 1e-12)
    if number >= 0.01:
        # At 0.01 the published ones, too, stopped early where examples are fewer than dimensions.
        first = 0 if number > 0.01 else x.shape[2]
        assert_close(predictions[:, first:], stored[f"{case}_alpha_{alpha}"][:, first:], 1e-2)


@pytest.mark.parametrize("alpha", [0.01, 0.001])
def test_scikit_learn_run_to_the_end_has_the_same_weights(alpha: float) -> None:
    stored = arrays("C4_lasso")
    x, y = stored["noisy_xs"], stored["noisy_ys"]
    ours = Lasso(alpha).weights(x, y)
    for prompt, position in [(3, 2), (4, 3), (0, 1), (1, 5), (2, 6), (5, 9)]:
        model = sklearn.linear_model.Lasso(alpha=alpha, fit_intercept=False, max_iter=1_000_000, tol=1e-13)
        model.fit(x[prompt, :position].numpy(), y[prompt, :position].numpy())
        assert_close(ours[prompt, position], torch.from_numpy(model.coef_), 1e-4)


def test_chosen_positions_come_in_their_order() -> None:
    stored = arrays("C4_lasso")
    some = Lasso(0.1).at_every_position(stored["sparse_xs"], stored["sparse_ys"], positions=stored["inds"].tolist())
    assert_close(some, stored["sparse_alpha_01_inds"], 1e-2)


def test_inputs_that_are_always_zero_and_targets_of_zero_have_no_weight() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 8, 4, dtype=torch.float64, generator=generator)
    y = torch.randn(2, 8, dtype=torch.float64, generator=generator)
    x[..., 2], y[1] = 0, 0
    weights = Lasso(0.01).weights(x, y)
    assert weights.isfinite().all()
    assert not weights[..., 2].any()
    assert not weights[1].any()
    assert optimality(x, y, weights, 0.01).max() < 1e-3


def test_a_vanishing_penalty_is_least_squares() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 9, 4, dtype=torch.float64, generator=generator)
    y = torch.randn(2, 9, dtype=torch.float64, generator=generator)
    expected = torch.linalg.lstsq(x[:, :8], y[:, :8, None]).solution.squeeze(-1)
    assert_close(Lasso(1e-9).weights(x, y)[:, 8], expected, 1e-6)


def test_a_looser_tolerance_stops_earlier() -> None:
    stored = arrays("C4_lasso")
    x, y = stored["noisy_xs"], stored["noisy_ys"]
    exact, loose = (objectives(x, y, Lasso(0.001, tolerance).weights(x, y), 0.001) for tolerance in (1e-10, 1e-2))
    assert (loose >= exact - 1e-9).all()
    assert (loose > exact + 1e-6).any()


def test_bad_values_are_named() -> None:
    with pytest.raises(ValueError, match=r"alpha must be positive, got 0\.0"):
        Lasso(0.0)
    with pytest.raises(ValueError, match=r"tolerance must be positive, got -1\.0"):
        Lasso(0.1, -1.0)
