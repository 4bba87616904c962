"""Baselines beside the published predictions, and beside plain loops."""

import numpy as np
import pytest
import torch
from torch import Tensor

from iclgd.models.every_position import Averaging, DiscreteMMSE, EveryPositionLearner, NearestNeighbors
from iclgd.models.learners import LeastSquares, Ridge
from tests.fixtures import assert_close
from tests.function_references import arrays

SIMPLE = ("linear", "noisy", "relu", "sparse", "subspace", "tree")
SHIFTS = ("standard", "random_quadrants", "opposite_quadrants", "orthogonal_train_test", "overlapping_train_test")
LEARNERS: dict[str, EveryPositionLearner] = {
    "averaging": Averaging(),
    "nearest_1": NearestNeighbors(1),
    "nearest_3": NearestNeighbors(3),
    "nearest_3_inverse_distance": NearestNeighbors(3, inverse_distance=True),
}


def prompts(num_points: int = 9, dim: int = 4, prompts: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x, query = torch.randn(2, prompts, num_points, dim, generator=generator, dtype=torch.float64)
    return x, torch.randn(prompts, num_points, generator=generator, dtype=torch.float64), query


def conditions(x: Tensor, rounding: float) -> Tensor:
    """Return for each prompt and position the largest over the smallest singular value that is no rounding error."""
    found = torch.ones(x.shape[:2], dtype=torch.float64)
    for position in range(1, x.shape[1]):
        values = torch.linalg.svdvals(x[:, :position])
        largest = values[:, :1]
        found[:, position] = (largest / values.masked_fill(values < rounding * largest, torch.inf)).amax(1)
    return found


@pytest.mark.parametrize("case", SIMPLE)
@pytest.mark.parametrize("name", LEARNERS)
def test_baselines_predict_as_published(case: str, name: str) -> None:
    stored = arrays(f"C4_simple_{case}")
    assert_close(LEARNERS[name].at_every_position(stored["xs"], stored["ys"]), stored[name], 2e-5)
    if f"{name}_inds" in stored:
        some = LEARNERS[name].at_every_position(stored["xs"], stored["ys"], positions=stored["inds"].tolist())
        assert_close(some, stored[f"{name}_inds"], 2e-5)


@pytest.mark.parametrize("case", SIMPLE)
def test_least_squares_predicts_as_published(case: str) -> None:
    stored = arrays(f"C4_simple_{case}")
    x, y = stored["xs"].float(), stored["ys"].float()  # the published inputs have this precision
    ours, theirs = LeastSquares().at_every_position(x, y), stored["least_squares"]
    # Rounding of the published single precision grows with the condition number of the examples.
    bound = 3e-6 * conditions(stored["xs"], 18 * torch.finfo(torch.float32).eps) * theirs.abs().max()
    assert ((ours - theirs).abs() <= bound).all()
    some = LeastSquares().at_every_position(x, y, positions=stored["inds"].tolist())
    assert torch.equal(some, ours[:, stored["inds"].long()])
    assert ((some - stored["least_squares_inds"]).abs() <= bound[:, stored["inds"].long()]).all()


@pytest.mark.parametrize("case", SHIFTS)
@pytest.mark.parametrize(("name", "learner"), [("least_squares", LeastSquares()), ("averaging", Averaging())])
def test_shifted_queries_have_the_published_errors(case: str, name: str, learner: EveryPositionLearner) -> None:
    stored = arrays(f"C3_{case}")
    x, query = stored["xs"].float(), stored.get("xs_query", stored["xs"]).float()
    weight = stored["w"]
    y, target = (x.double() @ weight).squeeze(-1), (query.double() @ weight).squeeze(-1)
    errors = (learner.at_every_position(x, y, query) - target).square()
    assert_close(errors, stored[f"squared_error_{name}"], 2e-4)


@pytest.mark.parametrize(("case", "name"), [("half", "half_subspace"), ("skewed", "skewed"), ("scale", "scale_x_3")])
def test_least_squares_follows_every_covariance(case: str, name: str) -> None:
    stored = arrays("C3_covariances")
    x, y, theirs = stored[f"xs_{name}"].float(), stored[f"ys_{name}"], stored[f"least_squares_{name}"]
    bound = 3e-6 * conditions(x.double(), 18 * torch.finfo(torch.float32).eps) * theirs.abs().max()
    assert ((LeastSquares().at_every_position(x, y) - theirs).abs() <= bound).all()


@pytest.mark.parametrize("num_neighbors", [2, 3])
def test_examples_that_are_the_query_count_alone(num_neighbors: int) -> None:
    stored = arrays("C4_nearest_duplicates")
    learner = NearestNeighbors(num_neighbors, inverse_distance=True)
    ours = learner.at_every_position(stored["xs"], stored["ys"])
    assert_close(ours, stored[f"nearest_{num_neighbors}_inverse_distance"], 2e-5)


@pytest.mark.parametrize("name", ["a", "b", "c", "scales"])
def test_ridge_and_dmmse_predict_as_published(name: str) -> None:
    stored = arrays(f"D1_regression_{name}")
    noise, dim = stored["noise_scale"].item(), int(stored["n_dims"])
    learners: dict[str, tuple[EveryPositionLearner, float]] = {"ridge": (Ridge(stored["lam"].item()), 3e-5)}
    assert stored["lam"].item() == pytest.approx(noise**2 / stored["task_scale"].item() ** 2)
    if "task_pool" in stored:
        learners["dmmse"] = DiscreteMMSE(stored["task_pool"].squeeze(-1), noise), 5e-4
    groups = {key.removesuffix(".xs") for key in stored if key.endswith(".xs")}
    assert len(groups) >= 4
    for group in groups:
        x, y, oracle = (stored[f"{group}.{key}"] for key in ("xs", "ys", "oracle"))
        assert_close((x @ stored[f"{group}.ws"]).squeeze(-1), oracle, 2e-5)
        assert_close(oracle + noise * stored[f"{group}.standard_noise"], y, 2e-5)
        predictions = {}
        for key, (learner, tolerance) in learners.items():
            predictions[key] = learner.at_every_position(x, y)
            assert_close(predictions[key], stored[f"{group}.{key}"], tolerance)
            error = (predictions[key] - oracle).square().mean(0) / dim
            assert_close(error, stored[f"{group}.{key}.mse_to_oracle_over_dims"], 2 * tolerance)
        if "dmmse" in predictions:
            apart = (predictions["ridge"] - predictions["dmmse"]).square().mean(0) / dim
            assert_close(apart, stored[f"{group}.delta_ridge_dmmse_per_position"], 5e-4)


@pytest.mark.parametrize(("regularization", "tolerance"), [("0.001", 1e-3), ("0.25", 3e-5), ("4.0", 3e-5)])
def test_ridge_of_other_penalties_predicts_as_published(regularization: str, tolerance: float) -> None:
    stored = arrays("D2_estimators")
    ours = Ridge(float(regularization)).at_every_position(stored["xs"], stored["ys"])
    assert_close(ours, stored[f"ridge_lambda_{regularization}"], tolerance)


@pytest.mark.parametrize("noise", ["0.05", "0.5", "2.0"])
def test_dmmse_of_other_noise_predicts_as_published(noise: str) -> None:
    stored = arrays("D2_estimators")
    learner = DiscreteMMSE(stored["task_pool"].squeeze(-1), float(noise))
    assert_close(learner.at_every_position(stored["xs"], stored["ys"]), stored[f"dmmse_noise_{noise}"], 5e-4)


def test_a_pool_of_one_task_is_that_task() -> None:
    assert not arrays("D2_estimators")["one_task_works"]
    x, y, query = prompts()
    pool = torch.tensor([[1.0, -2.0, 3.0, 0.5]])
    predictions = DiscreteMMSE(pool, 0.5).at_every_position(x, y, query)
    torch.testing.assert_close(predictions, query @ pool[0].double())


def test_dmmse_without_examples_is_the_mean_of_the_pool_and_survives_hopeless_evidence() -> None:
    x, y, query = prompts()
    pool = torch.randn(7, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    predictions = DiscreteMMSE(pool, 1e-4).at_every_position(x, 100 * y, query)
    torch.testing.assert_close(predictions[:, 0], query[:, 0] @ pool.mean(0))
    best = (100 * y[:, :-1, None] - x[:, :-1] @ pool.T).square().sum(1).argmin(1)
    torch.testing.assert_close(predictions[:, -1], (pool[best] * query[:, -1]).sum(-1))


def looped(x: Tensor, y: Tensor, query: Tensor, learner: str) -> Tensor:
    """Return what numpy predicts, one prompt and position after the other."""
    predictions = torch.zeros_like(y)
    for prompt in range(len(y)):
        for position in range(1, y.shape[1]):
            inputs, targets = x[prompt, :position].numpy(), y[prompt, :position].numpy()
            if learner == "ridge":
                inputs = np.vstack([inputs, np.sqrt(0.3) * np.eye(inputs.shape[1])])
                targets = np.concatenate([targets, np.zeros(x.shape[2])])
            weight = np.linalg.lstsq(inputs, targets, rcond=None)[0]
            predictions[prompt, position] = weight @ query[prompt, position].numpy()
    return predictions


@pytest.mark.parametrize("special", ["none", "repeated", "one_repeated", "zero", "subspace", "wide"])
@pytest.mark.parametrize(("name", "learner"), [("least_squares", LeastSquares()), ("ridge", Ridge(0.3))])
def test_recursions_are_numpys_solutions(name: str, learner: EveryPositionLearner, special: str) -> None:
    x, y, query = prompts(dim=12) if special == "wide" else prompts()
    match special:
        case "repeated":
            x[:, 1], x[0, 3], x[1, 4] = x[:, 0], x[0, 2], x[1, 0] + x[1, 2]
        case "one_repeated":
            x[1, 3] = x[1, 1]
        case "zero":
            x[:, 0], x[0, 4], x[..., 2] = 0, 0, 0
        case "subspace":
            x = x @ torch.tensor([1.0, 1.0, 0.0, 0.0], dtype=torch.float64).diag() @ torch.ones(4, 4).double()
    predictions = learner.at_every_position(x, y, query)
    torch.testing.assert_close(predictions, looped(x, y, query, name), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("smallest", [-4, 0])
def test_long_prompts_stay_exact(smallest: int) -> None:
    x, y, query = prompts(num_points=300, dim=6, prompts=2)
    x = x * torch.logspace(0, smallest, 6, dtype=torch.float64)
    expected = looped(x, y, query, "least_squares")
    torch.testing.assert_close(LeastSquares().at_every_position(x, y, query), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "learner",
    [
        Averaging(),
        LeastSquares(),
        Ridge(0.3),
        NearestNeighbors(2),
        NearestNeighbors(20, inverse_distance=True),
        DiscreteMMSE(torch.eye(4), 0.7),
    ],
)
def test_the_call_of_a_predictor_is_the_last_position(learner: EveryPositionLearner) -> None:
    x, y, query = prompts()
    everywhere = learner.at_every_position(x, y, query)
    for position in (1, 5):
        asked = learner(x[:, :position], torch.stack([y, -2 * y], -1)[:, :position], query[:, position])
        torch.testing.assert_close(asked[:, 0], everywhere[:, position])
        assert asked.shape == (3, 2)
    # Nothing looks at its own target, nor ahead; a batch is its prompts, one after the other.
    later = y.clone()
    later[:, 5:] = 1e3
    changed = learner.at_every_position(torch.cat([x[:, :5], -x[:, 5:]], 1), later, query)
    torch.testing.assert_close(changed[:, :6], everywhere[:, :6])
    torch.testing.assert_close(learner.at_every_position(x[1:2], y[1:2], query[1:2]), everywhere[1:2])
    torch.testing.assert_close(learner.at_every_position(x, y, query, positions=[5, 0, 8]), everywhere[:, [5, 0, 8]])
    single = learner.at_every_position(x.float(), y.float(), query.float())
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), everywhere, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("learner", [Averaging(), LeastSquares(), Ridge(0.3), DiscreteMMSE(torch.eye(4), 0.7)])
def test_gradients_by_the_query_are_weights(learner: EveryPositionLearner) -> None:
    x, y, query = prompts()
    query.requires_grad_()
    predictions = learner.at_every_position(x, y, query)
    (gradient,) = torch.autograd.grad(predictions.sum(), query)
    torch.testing.assert_close((gradient * query).sum(-1), predictions)


def test_bad_values_are_named() -> None:
    x, y, query = prompts()
    with pytest.raises(ValueError, match="positions must be from 0 to 8, got 9"):
        Averaging().at_every_position(x, y, positions=[0, 9])
    with pytest.raises(ValueError, match="positions must be from 0 to 8, got -1"):
        Averaging().at_every_position(x, y, positions=[-1])
    with pytest.raises(
        ValueError, match=r"x, y and query must have the shapes .*, got \(3, 9, 4\), \(3, 8\), \(3, 9, 4\)"
    ):
        Averaging().at_every_position(x, y[:, :8], query)
    with pytest.raises(ValueError, match="num_neighbors must be at least 1, got 0"):
        NearestNeighbors(0)
    with pytest.raises(ValueError, match=r"pool must have the shape \(M, D\) with M at least 1, got \(0, 3\)"):
        DiscreteMMSE(torch.zeros(0, 3), 1.0)
    with pytest.raises(ValueError, match=r"noise_std must be positive, got 0\.0"):
        DiscreteMMSE(torch.zeros(1, 3), 0.0)
