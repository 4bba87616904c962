import numpy as np
import pytest
import scipy.optimize
import torch

from iclgd.data import LinearRegressionTask
from iclgd.models.learners import GradientDescent, LeastSquares, Ridge, best_learning_rate
from tests.fixtures import assert_close

TASK = LinearRegressionTask(num_context=7, input_dim=4, output_dim=2)


def half_mse(prediction: torch.Tensor, target: torch.Tensor) -> float:
    return (0.5 * (prediction - target).square().sum(-1).mean()).item()


def test_gradient_descent_follows_autograd() -> None:
    x, y, query, _ = TASK.sample(3, torch.Generator().manual_seed(0), torch.float64)
    weight = torch.ones(3, 2, 4, dtype=torch.float64, requires_grad=True)
    start = weight.detach()[0].clone()
    for _ in range(3):
        loss = 0.5 * (torch.einsum("bod,bnd->bno", weight, x) - y).square().sum()
        (gradient,) = torch.autograd.grad(loss, weight)
        weight = (weight - 0.1 * gradient).detach().requires_grad_()
    learner = GradientDescent(0.1, num_steps=3, initial_weight=start)
    assert_close(learner.weight(x, y), weight.detach(), 1e-12)
    assert_close(learner(x, y, query), torch.einsum("bod,bd->bo", weight.detach(), query), 1e-12)


@pytest.mark.parametrize("num_steps", [1, 2, 3, 5, 20, 50])
def test_best_learning_rate_agrees_with_a_numerical_minimiser(num_steps: int) -> None:
    x, y, query, target = TASK.sample(200, torch.Generator().manual_seed(1), torch.float64)
    rate, loss = best_learning_rate(x, y, query, target, num_steps)
    grid = np.linspace(0.0, 1.5, 76)
    values = [half_mse(GradientDescent(r, num_steps)(x, y, query), target) for r in grid]
    near = grid[int(np.argmin(values))]
    found = scipy.optimize.minimize_scalar(
        lambda r: half_mse(GradientDescent(r, num_steps)(x, y, query), target),
        bounds=(near - 0.02, near + 0.02), method="bounded", options={"xatol": 1e-10},
    )  # fmt: skip
    assert rate == pytest.approx(found.x, abs=1e-6)
    assert loss == pytest.approx(found.fun, rel=1e-10)
    assert loss == pytest.approx(half_mse(GradientDescent(rate, num_steps)(x, y, query), target), rel=1e-10)


def test_best_rate_of_one_step_is_the_vertex_of_the_parabola() -> None:
    x, y, query, target = TASK.sample(200, torch.Generator().manual_seed(1), torch.float64)
    unit = GradientDescent(1.0)(x, y, query)
    vertex = ((unit * target).sum() / unit.square().sum()).item()
    assert best_learning_rate(x, y, query, target).learning_rate == pytest.approx(vertex, rel=1e-12)


def test_where_learning_only_hurts_the_best_rate_is_zero() -> None:
    x, y, query, target = TASK.sample(200, torch.Generator().manual_seed(1), torch.float64)
    best = best_learning_rate(x, y, query, -target)
    assert best == (0.0, pytest.approx(half_mse(torch.zeros_like(target), target)))


def test_best_learning_rate_approaches_its_expectation() -> None:
    # For x ~ U(-1/2, 1/2)^d and w ~ N(0, I): variance v = 1/12, fourth moment m = 1/80, and
    # rate = v / (m + (d - 1) v^2 + (N - 1) v^2), loss = (d v - rate N d v^2) / 2.
    num_context = dim = 10
    variance, fourth = 1 / 12, 1 / 80
    expected = variance / (fourth + (dim - 1) * variance**2 + (num_context - 1) * variance**2)
    expected_loss = (dim * variance - expected * num_context * dim * variance**2) / 2
    assert (round(expected, 3), round(expected_loss, 4)) == (0.606, 0.2062)
    batch = LinearRegressionTask().sample(200_000, torch.Generator().manual_seed(0))
    rate, loss = best_learning_rate(*batch)
    assert rate == pytest.approx(expected, rel=0.01)
    assert loss == pytest.approx(expected_loss, rel=0.01)


def test_ridge_solves_the_normal_equations_of_numpy() -> None:
    x, y, query, _ = TASK.sample(5, torch.Generator().manual_seed(0), torch.float64)
    prediction = Ridge(0.3)(x, y, query).numpy()
    for task in range(5):
        inputs, targets = x[task].numpy(), y[task].numpy()
        # Ridge is least squares with sqrt(lambda) I appended to the inputs.
        stacked = np.vstack([inputs, np.sqrt(0.3) * np.eye(4)])
        weight, *_ = np.linalg.lstsq(stacked, np.vstack([targets, np.zeros((4, 2))]), rcond=None)
        assert prediction[task] == pytest.approx(query[task].numpy() @ weight, rel=1e-9)


@pytest.mark.parametrize("num_context", [2, 4, 9])
def test_least_squares_has_smallest_norm(num_context: int) -> None:
    task = LinearRegressionTask(num_context=num_context, input_dim=4, num_noise=num_context // 2)
    x, y, query, _ = task.sample(5, torch.Generator().manual_seed(0), torch.float64)
    prediction = LeastSquares()(x, y, query).numpy()
    for index in range(5):
        weight, *_ = np.linalg.lstsq(x[index].numpy(), y[index].numpy(), rcond=None)
        assert prediction[index] == pytest.approx(query[index].numpy() @ weight, rel=1e-8)


def test_least_squares_solves_the_noise_free_task() -> None:
    x, y, query, target = LinearRegressionTask(num_context=12).sample(100, torch.Generator().manual_seed(0))
    assert half_mse(LeastSquares()(x, y, query), target) < 1e-8
