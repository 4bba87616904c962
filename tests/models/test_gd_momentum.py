import math

import pytest
import scipy.optimize
import torch

from iclgd.data import LinearRegressionTask, RegressionBatch
from iclgd.models import GradientDescent, GradientDescentMomentum, Predictor, best_learning_rate
from iclgd.models.gd_momentum import _loss_of_pair, best_gd_momentum
from tests.fixtures import assert_close

TASK = LinearRegressionTask(num_context=7, input_dim=4, output_dim=2)


def sample(num_tasks: int, task: LinearRegressionTask = TASK) -> RegressionBatch:
    return task.sample(num_tasks, torch.Generator().manual_seed(1), torch.float64)


def half_mse(learner: Predictor, batch: RegressionBatch) -> float:
    return (0.5 * (learner(*batch[:3]) - batch.target).square().sum(-1).mean()).item()


def test_it_follows_the_momentum_of_torchs_sgd() -> None:
    x, y, query, _ = sample(3)
    start = torch.randn(2, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    weight = start.expand(3, 2, 4).clone().requires_grad_()
    optimizer = torch.optim.SGD([weight], lr=0.2, momentum=0.7)
    for _ in range(6):
        optimizer.zero_grad()
        torch.autograd.backward(0.5 * (torch.einsum("bod,bnd->bno", weight, x) - y).square().sum())
        optimizer.step()
    learner = GradientDescentMomentum(0.2, 0.7, num_steps=6, initial_weight=start)
    assert_close(learner.weight(x, y), weight.detach(), 1e-13)
    assert_close(learner(x, y, query), torch.einsum("bod,bd->bo", weight.detach(), query), 1e-13)


@pytest.mark.parametrize(("momentum", "num_steps"), [(0.0, 4), (0.9, 1)])
def test_without_momentum_or_in_one_step_it_is_gradient_descent(momentum: float, num_steps: int) -> None:
    x, y, query, _ = sample(5)
    learner = GradientDescentMomentum(0.3, momentum, num_steps)
    assert_close(learner(x, y, query), GradientDescent(0.3, num_steps)(x, y, query), 1e-14)


@pytest.mark.parametrize("task", [TASK, LinearRegressionTask(num_context=2, input_dim=5, input_range=20.0)])
@pytest.mark.parametrize("num_steps", [2, 5, 30])
def test_the_loss_is_a_quadratic_form_in_values_at_few_points(task: LinearRegressionTask, num_steps: int) -> None:
    batch = sample(50, task)
    loss, largest = _loss_of_pair(*batch, num_steps)
    for rate, momentum in ((0.5 / largest, 0.9), (2.0 / largest, -0.3)):
        pair = torch.tensor((rate, momentum), dtype=torch.float64)
        assert loss(pair).item() == pytest.approx(
            half_mse(GradientDescentMomentum(rate, momentum, num_steps), batch), rel=1e-11
        )


@pytest.mark.parametrize("num_noise", [0, 2])
def test_the_best_of_two_steps_is_a_least_squares_fit(num_noise: int) -> None:
    # After two steps the weight is Y^T X ((2 + beta) eta - eta^2 X^T X): any line in the curvature that falls.
    batch = sample(200, LinearRegressionTask(num_context=7, input_dim=4, num_noise=num_noise))
    correlation, gram = batch.y.mT @ batch.x, batch.x.mT @ batch.x
    columns = [torch.einsum("bod,bd->bo", each, batch.query).flatten() for each in (correlation, correlation @ gram)]
    offset, slope = torch.linalg.lstsq(torch.stack(columns, 1), batch.target.flatten()[:, None]).solution[:, 0].tolist()
    rate = math.sqrt(-slope)
    best = best_gd_momentum(*batch, num_steps=2)
    assert (best.learning_rate, best.momentum) == pytest.approx((rate, offset / rate - 2), abs=1e-9)
    assert best.loss == pytest.approx(half_mse(GradientDescentMomentum(rate, offset / rate - 2, 2), batch), rel=1e-12)


@pytest.mark.parametrize(("num_steps", "num_noise"), [(3, 0), (3, 3), (7, 0)])
def test_the_best_pair_agrees_with_another_minimiser(num_steps: int, num_noise: int) -> None:
    batch = sample(150, LinearRegressionTask(num_context=7, input_dim=4, num_noise=num_noise))

    def loss(pair: tuple[float, float]) -> float:
        return half_mse(GradientDescentMomentum(*pair, num_steps), batch)

    anywhere = scipy.optimize.differential_evolution(
        loss, bounds=[(0.0, 3.0), (-1.0, 1.5)], rng=0, maxiter=12, popsize=10, polish=False
    )
    found = scipy.optimize.minimize(
        loss, anywhere.x, method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-16, "maxiter": 400}
    )
    best = best_gd_momentum(*batch, num_steps)
    assert (best.learning_rate, best.momentum) == pytest.approx(tuple(found.x), abs=1e-5)
    assert best.loss == pytest.approx(found.fun, rel=1e-10)
    assert best.loss == pytest.approx(loss(best[:2]), rel=1e-11)


@pytest.mark.parametrize(
    ("num_steps", "rate", "momentum"), [(2, 0.5, 0.4), (3, 0.3, 0.9), (5, 0.6, -0.25), (12, 0.4, 0.7)]
)
def test_rates_are_recovered_from_the_learners_own_answers(num_steps: int, rate: float, momentum: float) -> None:
    x, y, query, _ = sample(100)
    best = best_gd_momentum(x, y, query, GradientDescentMomentum(rate, momentum, num_steps)(x, y, query), num_steps)
    assert (best.learning_rate, best.momentum) == pytest.approx((rate, momentum), abs=1e-9)
    assert best.loss < 1e-20


@pytest.mark.parametrize("num_noise", [0, 3, 7])
@pytest.mark.parametrize("input_range", [1e-3, 1e3])
def test_it_is_never_worse_than_gradient_descent(num_noise: int, input_range: float) -> None:
    batch = sample(60, LinearRegressionTask(num_context=7, input_dim=4, input_range=input_range, num_noise=num_noise))
    for num_steps in (2, 6):
        best = best_gd_momentum(*batch, num_steps)
        assert best.loss <= best_learning_rate(*batch, num_steps).loss * (1 + 1e-12)
        assert math.isfinite(best.learning_rate)
        assert math.isfinite(best.momentum)


def test_a_single_step_has_no_momentum_to_be_found() -> None:
    with pytest.raises(ValueError, match="momentum needs at least 2 steps, got 1"):
        best_gd_momentum(*sample(5), num_steps=1)
