import pytest
import scipy.optimize
import torch

from iclgd.data import LinearRegressionTask, RegressionBatch
from iclgd.models import GradientDescent, GradientDescentPlusPlus, Predictor
from iclgd.models.gd_plus_plus import _loss_of_steps, best_gd_plus_plus
from iclgd.models.learners import best_learning_rate
from tests.fixtures import assert_close, load_reference, problem

TASK = LinearRegressionTask(num_context=7, input_dim=4, output_dim=2)


def half_mse(learner: Predictor, batch: RegressionBatch) -> float:
    return (0.5 * (learner(*batch[:3]) - batch.target).square().sum(-1).mean()).item()


def published(learning_rate: float, num_context: int, num_steps: int) -> GradientDescentPlusPlus:
    """Return the learner of the published construction with this ``lr``."""
    return GradientDescentPlusPlus(
        (learning_rate / num_context,) * num_steps, (learning_rate / num_context**2,) * num_steps
    )


@pytest.mark.parametrize("name", ["A5_gdpp_L1", "A5_gdpp_L2", "A5_gdpp_L3_nonrec", "A5_gdpp_L5_rec", "A5_gd_L5_rec"])
def test_predictions_after_every_step_equal_published(name: str) -> None:
    arrays = load_reference(name)
    x, y, query = problem(arrays["tokens"])
    for num_steps, (prediction, loss) in enumerate(
        zip(arrays["stack"], arrays["stack_loss"].flatten(), strict=True), start=1
    ):
        learner = published(arrays["lr"].item(), x.shape[1], num_steps)
        if not arrays["lin_diag"]:
            learner = GradientDescentPlusPlus(learner.learning_rates, (0.0,) * num_steps)
        assert_close(learner(x, y, query)[:, 0], prediction)
        assert_close(0.5 * (learner(x, y, query)[:, 0] - arrays["target"]).square().mean(), loss)


def test_scan_of_two_steps_finds_the_published_rates() -> None:
    arrays = load_reference("A5_scan_L2")
    x, y, query = problem(arrays["tokens"])
    scan = torch.arange(0.001, 25, 0.1, dtype=torch.float64)

    def losses(curved: bool) -> torch.Tensor:
        learners = [published(rate, x.shape[1], 2) for rate in scan.tolist()]
        if not curved:
            learners = [GradientDescentPlusPlus(learner.learning_rates, (0.0, 0.0)) for learner in learners]
        batch = RegressionBatch(x, y, query, arrays["target"][:, None])
        return torch.tensor([half_mse(learner, batch) for learner in learners])

    for curved, suffix in ((False, "gd"), (True, "gdpp")):
        values = losses(curved)
        assert scan[values.argmin()].item() == pytest.approx(arrays[f"best_lr_{suffix}_f64"].item(), abs=1e-9)
        assert_close(values.min(), arrays[f"best_loss_{suffix}"])


def test_without_curvature_it_is_gradient_descent() -> None:
    x, y, query, _ = TASK.sample(5, torch.Generator().manual_seed(0), torch.float64)
    learner = GradientDescentPlusPlus((0.3, 0.3, 0.3), (0.0, 0.0, 0.0))
    assert_close(learner(x, y, query), GradientDescent(0.3, 3)(x, y, query), 1e-12)


def test_token_form_equals_eigenform() -> None:
    batch = TASK.sample(50, torch.Generator().manual_seed(0), torch.float64)
    rates, gammas = (0.3, 0.7, 0.2, 0.9), (0.1, 0.4, 0.2, 0.3)
    loss, _ = _loss_of_steps(*batch)
    eigenform = loss(torch.tensor((rates, gammas), dtype=torch.float64)).item()
    assert half_mse(GradientDescentPlusPlus(rates, gammas), batch) == pytest.approx(eigenform, rel=1e-12)


@pytest.mark.parametrize("num_steps", [2, 4])
def test_best_shared_pair_agrees_with_another_minimiser(num_steps: int) -> None:
    batch = TASK.sample(200, torch.Generator().manual_seed(1), torch.float64)
    best = best_gd_plus_plus(*batch, num_steps, shared=True)
    found = scipy.optimize.differential_evolution(
        lambda pair: half_mse(GradientDescentPlusPlus((pair[0],) * num_steps, (pair[1],) * num_steps), batch),
        bounds=[(0.0, 6.0), (0.0, 1.0)], rng=0, maxiter=25, popsize=8, tol=1e-6,
    )  # fmt: skip
    assert half_mse(best, batch) == pytest.approx(found.fun, rel=1e-4)
    assert half_mse(best, batch) <= found.fun * (1 + 1e-7)


def test_the_optimum_is_as_good_as_the_published_one() -> None:
    # Published, on other tasks: two recurrent GD++ layers 0.111576, two layers of their own 0.105114, GD 0.158827.
    batch = LinearRegressionTask().sample(10_000, torch.Generator().manual_seed(0))
    gradient_descent = best_learning_rate(*batch, 2).loss
    shared = best_gd_plus_plus(*batch, 2, shared=True)
    own = best_gd_plus_plus(*batch, 2, shared=False)
    assert 0.97 < half_mse(shared, batch) / gradient_descent / (0.111576 / 0.158827) < 1.005
    assert 0.95 < half_mse(own, batch) / gradient_descent / (0.105114 / 0.158827) < 1.005


def test_one_step_is_no_better_than_gradient_descent() -> None:
    batch = TASK.sample(500, torch.Generator().manual_seed(1), torch.float64)
    (rate,) = best_gd_plus_plus(*batch, 1, shared=False).learning_rates
    assert rate == pytest.approx(best_learning_rate(*batch).learning_rate, rel=1e-6)


def test_more_freedom_is_never_worse() -> None:
    batch = LinearRegressionTask(output_dim=2, input_range=3.0).sample(500, torch.Generator().manual_seed(1))
    gradient_descent = best_learning_rate(*batch, 3).loss
    shared = half_mse(best_gd_plus_plus(*batch, 3, shared=True), batch)
    own = half_mse(best_gd_plus_plus(*batch, 3, shared=False), batch)
    assert own <= shared * (1 + 1e-5)
    assert shared <= gradient_descent * (1 + 1e-5)


def test_unequal_numbers_of_steps_are_refused() -> None:
    with pytest.raises(ValueError, match="one gamma for each of its 2 learning rates, got 1"):
        GradientDescentPlusPlus((0.1, 0.1), (0.1,))
